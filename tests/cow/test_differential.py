"""Random operations in the mount and on a plain copy do the same (issue 4, line 2).

One mount serves many examples, each in a directory of its own whose files are all linked
with another tree; an unmount or a kill of the guard may come between any two operations.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.cow.differential import Side, furnish, picture, programs
from tests.cow.guarding import Guard, end, mount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cow.differential import Operation
    from tests.filesystems import LoopFilesystem

_BATCH: Final = 100
_EXAMPLES: Final = 300
_INTERRUPTIONS: Final = (*(None,) * 28, "unmounted", "killed")


class Rig:
    """A guarded tree with a directory for each example, what it is linked with, a plain copy."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._batch = -1
        self._left: list[str] = []
        self._guard: Guard | None = None
        self.operations = 0

    def _place(self, kind: str) -> Path:
        return self._home / f"{kind}{self._batch}"

    def next(self) -> str:
        """Return the name of a directory that no example has used."""
        if not self._left:
            self.unmount()
            for kind in ("one", "other", "plain"):
                shutil.rmtree(self._place(kind), ignore_errors=True)
            self._batch += 1
            names = [f"{number:03}" for number in range(_BATCH)]
            one = self._place("one")
            one.mkdir()
            for name in names:
                furnish(one / name)
            subprocess.run(("cp", "-al", one, self._place("other")), check=True)
            subprocess.run(("cp", "-a", one, self._place("plain")), check=True)
            self.mount()
            self._left = names
        return self._left.pop()

    def mount(self) -> None:
        one = self._place("one")
        self._guard = mount("mount", "--tree", one, tree=one, mnt=self._home / "mnt")

    def unmount(self) -> None:
        if self._guard is not None:
            guard, self._guard = self._guard, None
            try:
                guard.unmount()
            finally:
                end(guard)
            assert not [*self._home.glob(".*.rootman-guard")]

    def interrupt(self, how: str) -> None:
        """End the guard and mount again."""
        assert self._guard is not None
        if how == "killed":
            self._guard.kill()
            end(self._guard)
        else:
            self.unmount()
        self.mount()

    def sides(self, name: str) -> tuple[Side, Side]:
        return Side(self._place("plain") / name), Side(self._home / "mnt" / name)

    def check(self, name: str) -> None:
        """See that both sides have one tree, below as well, and that the other is what it was."""
        expected = picture(self._place("plain") / name, links=True)
        assert picture(self._home / "mnt" / name, links=True) == expected
        below = picture(self._place("one") / name, links=False)
        assert below == picture(self._place("plain") / name, links=False)
        assert picture(self._place("other") / name, links=False) == self.untouched

    @property
    def untouched(self) -> dict[str, tuple[object, ...]]:
        """Return what ``furnish`` makes."""
        path = self._home / "furnished"
        if not path.exists():
            furnish(path)
        return picture(path, links=False)

    def close(self) -> None:
        if self._guard is not None:
            end(self._guard)


@pytest.fixture(scope="module")
def rig(ext4: LoopFilesystem) -> Iterator[Rig]:
    with tempfile.TemporaryDirectory(dir=ext4.path, ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        found = Rig(Path(name))
        yield found
        try:
            found.unmount()
        finally:
            found.close()


@settings(
    max_examples=_EXAMPLES,
    suppress_health_check=list(HealthCheck),
    phases=set(Phase) - {Phase.explain},
)
@given(
    program=programs(),
    interruption=st.sampled_from(_INTERRUPTIONS),
    at=st.integers(3, 20),
)
def test_as_a_plain_copy(
    rig: Rig, program: list[Operation], interruption: str | None, at: int
) -> None:
    name = rig.next()
    plain, mounted = rig.sides(name)
    try:
        for number, operation in enumerate(program):
            if number == at and interruption is not None:
                plain.close_all()
                mounted.close_all()
                rig.interrupt(interruption)
                note(f"the guard was {interruption}")
            expected = plain.do(operation)
            note(f"{operation} -> {expected}")
            assert mounted.do(operation) == expected
            rig.operations += 1
        rig.check(name)
    finally:
        plain.close_all()
        mounted.close_all()
