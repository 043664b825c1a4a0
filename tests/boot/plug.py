"""The plug is pulled: what a power cut leaves of a disk whose writes a machine logged.

All that was written before a flush is there. Of what was written after the last one, any
block of 4 KiB may be there or not: that is what a disk with a write cache loses. What the
machine did meanwhile is a story (``lives``); what boots is looked at here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.boot.disks import copy_disk, opened
from tests.boot.qemu import Machine
from tests.boot.system import DATABASE, booted, on_host
from tests.crash.writelog import count_log, read_log

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random


@dataclass(slots=True)
class Recording:
    """A machine: its disk, all that it wrote to a copy of it, and what it did meanwhile.

    ``ends`` are the numbers of writes with which that ended, by its names, in its order, ``rows``
    the rows of the database that were acknowledged by then.
    """

    mode: str
    before: Path
    log: Path
    ends: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def end(self, phase: str, rows: int) -> None:
        """Note that ``phase`` is over, and what of the database is there for good."""
        self.ends[phase] = count_log(self.log)
        self.rows[phase] = rows

    def rows_before(self, phase: str) -> int:
        """Return how many rows were there for good when ``phase`` began."""
        names = list(self.ends)
        return self.rows[names[names.index(phase) - 1]]

    def writes_of(self, phase: str) -> range:
        """Return the numbers of what was written in ``phase``."""
        bounds = [0, *self.ends.values()]
        which = list(self.ends).index(phase)
        return range(bounds[which], bounds[which + 1])


def cut_power(recording: Recording, phase: str, after: Path, random: Random) -> str:
    """Make the disk ``after`` that a cut somewhere in ``phase`` leaves; say where it is."""
    writes = list(read_log(recording.log))
    flushes = [number for number, write in enumerate(writes) if write.flushed]
    ends = [*flushes[1:], len(writes)]
    there = recording.writes_of(phase)
    # Few flushes or many writes between two: each such time is as likely.
    times = [
        (start, min(end, there.stop))
        for start, end in zip(flushes, ends, strict=True)
        if start < there.stop and end > there.start
    ]
    which = random.randrange(len(times))
    durable, end = times[which]
    copy_disk(recording.before, after)
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
    where = f"{phase}, after flush {which} of {len(times)}"
    return f"{where}, {lost} of {survived + lost} blocks lost"


def pull_the_plug(recording: Recording, phase: str, disk: Path, random: Random) -> str:
    """Have one power cut in ``phase``, look at what boots, then at the disk, and upgrade again.

    Return which cut it was, and what came of it.

    Raises:
        AssertionError: it is not as it must be.
    """
    what = cut_power(recording, phase, disk, random)
    with Machine(disk) as machine:
        tree, why, mode = booted(machine)
        assert machine.boots == 1, f"{what}: {machine.said}"
        assert tree in ("olpc.1", "olpc.2"), what
        assert (why, mode) == ("of the loader", recording.mode), what
        rows = int(machine.run(f"/{DATABASE} check"))
        assert rows >= recording.rows_before(phase), what
        assert machine.run("cat /var/before") == "before\n", what
    with opened(disk) as root:
        status = json.loads(on_host(root, "status", "--json"))
        trees = [one["name"].partition(".")[2] for one in status["trees"]]
        assert tree.partition(".")[2] in trees, what
        for number in trees:
            on_host(root, "verify", number)
        on_host(root, "upgrade", root / "2.rootman", "--retry-bad")
        status = json.loads(on_host(root, "status", "--json"))
        assert status["problems"] == [], what
        assert status["current"] == 2, what
    disk.unlink()
    return f"{what}: {tree}"
