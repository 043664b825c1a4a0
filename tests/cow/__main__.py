"""Stress of the guard for as long as one likes: ``python -m tests.cow SECONDS``.

A guard of the first version stays for the whole time, with writers at work in it; its memory
must stay what it was. Round after round a new version is installed while writers are at work
in the current one, too; its guard is unmounted or killed, and mounted again. No version that
nobody changes may ever change. Out of scope: single operations (``test_matrix``).
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.commands import Machine
from tests.cow.guarding import Guard, end, mount, snapshot
from tests.cow.writers import at_work, tree_of
from tests.filesystems import loop_filesystem, scratch_directory

if TYPE_CHECKING:
    from tests.cow.guarding import Snapshot

_SIZE_MIB: Final = 4096
_WARM: Final = 3
"""Rounds after which the guard knows everything that there is in the tree."""
_GROWTH: Final = 1.2
_KIB: Final = 1024


@dataclass
class Soak:
    """The state of a soak: what was seen of the trees that nobody changes, and of memory."""

    machine: Machine
    seen: dict[int, Snapshot] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)

    def mount(self, version: int, name: str) -> Guard:
        mnt = self.machine.home / name
        return mount(
            "--rootfs", self.machine.store, "mount", str(version),
            tree=self.machine.tree(version), mnt=mnt,
        )  # fmt: skip

    def install(self, version: int) -> None:
        """Publish a version and upgrade to it."""
        self.machine.publish(version, tree_of(version))
        shutil.rmtree(self.machine.source(version))
        self.machine.attempt("prune", "--keep", "2")  # what is guarded stays
        done = self.machine.attempt("upgrade", self.machine.release(version))
        assert done.code == 0, done.err

    def round(self, version: int, first: Guard) -> None:
        """Upgrade from ``version - 1`` to ``version`` under writers, then look at everything."""
        home, kills = self.machine.home, version % 2 == 0
        guard = self.mount(version - 1, "current")
        try:
            with at_work(first.mnt, home / "stop-first"):
                # What was seen of it is void now: it is changed.
                self.seen.pop(version - 1, None)
                with at_work(guard.mnt, home / "stop", until_killed=kills):
                    self.install(version)
                    self.seen[version] = snapshot(self.machine.tree(version))
                    if kills:
                        guard.kill()
                guard = self.mount(version - 1, "current") if kills else guard
                (guard.mnt / "version").write_text("after the writers")
            guard.unmount()
        finally:
            end(guard)
        self._look(first)

    def _look(self, first: Guard) -> None:
        litter = list((self.machine.store / ".rootman/guard").glob("[!1]*"))
        assert litter == [], litter
        for version, was in self.seen.items():
            if self.machine.tree(version).exists():
                assert snapshot(self.machine.tree(version)) == was, version
                assert self.machine.document("verify", version)["verdict"] == "pristine"
        self.memory.append(_resident(first.process.pid))
        if len(self.memory) > _WARM:
            assert self.memory[-1] < _GROWTH * self.memory[_WARM - 1], self.memory


def _resident(pid: int) -> int:
    """Return the KiB of memory that a process has."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has ended")


def main(budget: float) -> None:
    """Go on for ``budget`` seconds; the round that was begun is finished."""
    until = time.monotonic() + budget
    with (
        scratch_directory() as scratch,
        # Who verifies reads symlinks, and would move their access times.
        loop_filesystem(scratch, size_mib=_SIZE_MIB, options="noatime") as filesystem,
    ):
        soak = Soak(Machine(filesystem.path))
        soak.machine.run("init")
        soak.install(1)
        soak.machine.run("pin", 1)
        soak.install(2)
        first = soak.mount(1, "first")
        try:
            for version in count(3):
                soak.round(version, first)
                print(f"{version - 2:5} rounds, guard {soak.memory[-1] / _KIB:.1f} MiB", flush=True)
                if time.monotonic() > until:
                    break
            first.unmount()
        finally:
            end(first)


if __name__ == "__main__":
    main(float(sys.argv[1]))
