"""The plug is pulled: what a power cut leaves of a disk whose writes a machine logged.

All that was written before a flush is there. Of what was written after the last one, any
block of 4 KiB may be there or not: that is what a disk with a write cache loses.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.boot.qemu import Machine
from tests.boot.system import booted, copy_disk, on_host, opened
from tests.crash.writelog import read_log

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The disk of a machine that upgraded itself and went back and forth, and its writes."""

    disk: Path
    log: Path


def record_upgrade(system: Path, home: Path) -> Upgraded:
    """Boot version 1 in the mode ro, upgrade to version 2, and roll back and forth."""
    after = Upgraded(home / "upgraded.img", home / "log")
    copy_disk(system, after.disk)
    with Machine(after.disk, log=after.log) as machine:
        assert booted(machine) == ("olpc.1", "of the loader", "ro")
        for place in ("/dev/null", "/proc/self", "/sys/block", "/run/rootman", "/rootfs/current"):
            machine.run(f"test -e {place}")
        assert machine.try_run("touch /etc/mine")[0] != 0
        machine.run("rootman upgrade /run/rootman/disk/2.rootman")
        assert "olpc.2 boots next (current)" in machine.run("rootman boot status")
        machine.run("rootman rollback && rootman rollback")
    return after


def cut_power(before: Path, log: Path, after: Path, random: Random) -> str:
    """Make ``after`` of the disk ``before`` by a cut at a random moment; say which that was."""
    writes = list(read_log(log))
    flushes = [number for number, write in enumerate(writes) if write.flushed]
    # Few flushes or many writes between two: each such time is as likely.
    which = random.randrange(len(flushes) - 1)
    durable, end = flushes[which], flushes[which + 1]
    copy_disk(before, after)
    survived = lost = 0
    with after.open("r+b") as disk:
        for write in writes[:durable]:
            disk.seek(write.start)
            disk.write(write.data)
        for write in writes[durable:end]:
            at = write.start
            for piece in write.pieces():
                if random.random() < 0.5:
                    disk.seek(at)
                    disk.write(piece.data)
                    survived += 1
                else:
                    lost += 1
                at += len(piece.data)
    return f"after flush {which} of {len(flushes)}, {lost} of {survived + lost} blocks lost"


def pull_the_plug(system: Path, log: Path, disk: Path, random: Random) -> str:
    """Have one power cut, look at what boots, then at the disk, and upgrade again.

    Return which cut it was, and what came of it.

    Raises:
        AssertionError: it is not as it must be.
    """
    what = cut_power(system, log, disk, random)
    with Machine(disk) as machine:
        tree, why, mode = booted(machine)
        assert (machine.boots, tree in ("olpc.1", "olpc.2")) == (1, True), what
        assert (why, mode) == ("of the loader", "ro"), what
    with opened(disk) as root:
        on_host(root, "verify", tree.partition(".")[2])
        on_host(root, "upgrade", root / "2.rootman", "--retry-bad")
        status = json.loads(on_host(root, "status", "--json"))
        assert status["problems"] == [], what
        assert status["current"] == 2, what
    return f"{what}: {tree}"
