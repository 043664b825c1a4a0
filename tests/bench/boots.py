"""The boot of a tree in each mode, against the same tree on an ext4 of its own.

Each boot is one of a whole machine in QEMU: SeaBIOS, GRUB, Debian's kernel and initramfs, to the
first process of the system. The machine is emulated, so that ratios are what counts.
"""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from tests.bench.table import Row
from tests.boot.disks import copy_disk, opened
from tests.boot.qemu import Machine
from tests.boot.system import (
    CONFIGURED,
    EVERYTHING,
    make_plain,
    on_host,
    set_mode,
    system_disk,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.sections import Bench

PLAIN: Final = "ext4"
GUARD: Final = "guard"
MODES: Final = ("ro", "overlay", "rw", GUARD)
CONFIG: Final = "ro, /etc guarded"
_MEMORY: Final = "grep VmRSS /proc/$(busybox pidof rootman)/status"


def boot(bench: Bench) -> Iterator[Row]:
    """Compare the modes with plain ext4, and measure the memory that the guard takes."""
    home = bench.images.scratch / "boot"
    home.mkdir()
    try:
        yield from _measure(home, bench.rounds)
    finally:
        shutil.rmtree(home)


def _measure(home: Path, rounds: int) -> Iterator[Row]:
    disks = _disks(home)
    seconds, memory = defaultdict[str, list[float]](list), list[float]()
    for number in range(rounds):
        names = list(disks)
        for name in names if number % 2 == 0 else reversed(names):
            disk = home / "copy"
            copy_disk(disks[name], disk)
            began = time.monotonic()
            with Machine(disk) as machine:
                machine.boot()
                seconds[name].append(time.monotonic() - began)
                if name == GUARD:
                    memory.append(int(machine.run(_MEMORY).split()[1]) / 1024)
            print(f"  round {number + 1}: {name}: {seconds[name][-1]:.2f} s", flush=True)
    for name in (*MODES, CONFIG):
        yield Row(f"boot to the first process: {name} / {PLAIN}", seconds[name], seconds[PLAIN])
    yield Row("  RSS of the guard then", memory, unit="MiB")


def _disks(home: Path) -> dict[str, Path]:
    """Make the disks of all modes, each of which has been booted once."""
    system = home / "system"  # one that may be mounted
    copy_disk(system_disk(), system)
    disks = {name: home / name.partition("/")[0] for name in (PLAIN, *MODES, CONFIG)}
    make_plain(system, disks[PLAIN])
    for mode in MODES:
        copy_disk(system, disks[mode])
        with opened(disks[mode]) as root:
            set_mode(root, mode)
    copy_disk(system, disks[CONFIG])
    with opened(disks[CONFIG]) as root:
        on_host(root, "upgrade", root / EVERYTHING / f"releases/{CONFIGURED}.json")
        on_host(root, "boot", "mark-good", str(CONFIGURED))
    for disk in disks.values():
        # The first boot makes the state, and what it wrote is in the journal.
        with Machine(disk) as machine:
            machine.boot()
            machine.run("sync")
        with opened(disk):
            pass
    return disks
