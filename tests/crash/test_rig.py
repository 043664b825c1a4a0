"""The rig itself: what it rebuilds is what was on the disk, and it tells disks apart."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.crash.configurations import CONFIGURATIONS as ALL
from tests.crash.configurations import Configuration
from tests.crash.cuts import count_cuts, cuts
from tests.crash.disk import Disk
from tests.crash.recorder import record
from tests.crash.recording import Epoch, Recording, apply, split_epochs
from tests.crash.replica import Replica
from tests.crash.scenarios import BY_NAME as SCENARIOS
from tests.crash.trials import look_again, pack, unpack
from tests.crash.writelog import BLOCK, Piece, Write, read_log
from tests.fault.faulty import Forked
from tests.loopdevices import enter_namespace, mount

EXT4: Final = ALL[0]
MARKS_AT: Final = 1 << 20


def piece(block: int, letter: str) -> Piece:
    return Piece(block, 0, letter.encode() * BLOCK)


def recording(*epochs: Epoch) -> Recording:
    return Recording("ext4", "rollback", 1, 2 << 20, {7: b"o" * BLOCK}, epochs, None)


def test_a_write_is_lost_block_by_block() -> None:
    write = Write(flushed=False, start=BLOCK - 512, data=bytes(512) + b"x" * BLOCK + b"y" * 512)

    pieces = list(write.pieces())

    assert [(one.block, one.offset, len(one.data)) for one in pieces] == [
        (0, BLOCK - 512, 512),
        (1, 0, BLOCK),
        (2, 0, 512),
    ]
    assert pieces[2].over(b"o" * BLOCK) == b"y" * 512 + b"o" * (BLOCK - 512)


def test_what_is_flushed_before_the_mark_is_durable() -> None:
    def write(block: int, letter: str) -> Write:
        return Write(flushed=False, start=block * BLOCK, data=letter.encode() * BLOCK)

    flush = Write(flushed=True, start=0, data=b"")
    mark = Write(flushed=False, start=MARKS_AT, data=b"power cut rig: begun".ljust(BLOCK, b"\0"))
    log = [write(1, "a"), flush, write(2, "b"), mark, write(3, "c"), flush, write(1, "d")]

    base, epochs = split_epochs(log, MARKS_AT)

    assert base == {1: b"a" * BLOCK}
    assert [[one.block for one in epoch.pieces] for epoch in epochs] == [[2, 3], [1]]
    assert [epoch.phases for epoch in epochs] == [
        ["prepared", "begun", "begun"],
        ["begun", "begun"],
    ]


def test_cuts_are_every_prefix_every_loss_and_every_survivor() -> None:
    pieces = [piece(1, "a"), piece(2, "b"), piece(1, "c")]
    found = recording(Epoch(pieces, ["begun"] * 4))

    seen = [cut.changes for cut in cuts(found, range(1, count_cuts(found) + 1))]

    a, b, c = (one.data for one in pieces)
    for wanted in ({}, {1: a}, {1: a, 2: b}, {1: c, 2: b}, {1: c}, {2: b}):
        assert seen.count(wanted) == 1


def test_the_same_disk_is_looked_at_once_and_has_one_number_for_ever() -> None:
    first = Epoch([piece(1, "a"), piece(7, "n")], ["begun"] * 3)
    second = Epoch([piece(2, "b"), piece(2, "b")], ["begun"] * 3)
    found = recording(first, second)
    everything = range(1, count_cuts(found) + 1)

    disks: list[dict[int, bytes]] = []
    numbers: list[int] = []
    for cut in cuts(found, everything):
        disks.append({**cut.base, **cut.changes})
        numbers.append(cut.number)

    assert all(disks.count(disk) == 1 for disk in disks)
    again = [
        {**cut.base, **cut.changes}
        for number in numbers
        for cut in cuts(unpack(pack(found)), [number])
    ]
    assert again == disks


@pytest.mark.crash
@pytest.mark.parametrize("configuration", ALL, ids=str)
def test_the_whole_log_gives_the_disk_byte_for_byte(
    scratch: Path, configuration: Configuration
) -> None:
    Forked(partial(_compare, scratch, configuration)).result()


def _compare(scratch: Path, configuration: Configuration) -> None:
    enter_namespace(scratch, size="2g")
    found = record(scratch, configuration, SCENARIOS["upgrade, the first"], seed=2)
    blocks = dict(found.base)
    for epoch in found.epochs:
        apply(blocks, epoch.pieces)
    disk = (scratch / "disk").read_bytes()

    # Of the marks nothing is rebuilt.
    for block in range(configuration.marks_at // BLOCK):
        assert blocks.get(block, bytes(BLOCK)) == disk[block * BLOCK : (block + 1) * BLOCK]
    flushes = sum(write.flushed for write in read_log(scratch / "log"))
    assert flushes > len(found.epochs) > 5
    # And the same by the way that every state goes: the last prefix of the last epoch.
    last = count_cuts(found) - 4 * len(found.epochs[-1].pieces)
    replica = Replica(scratch, found)
    (cut,) = cuts(found, [last])
    replica.become(cut)
    size = configuration.marks_at
    assert replica.image.read_bytes()[:size] == disk[:size]
    replica.close()


@pytest.mark.crash
def test_a_disk_that_cannot_be_mounted_comes_with_what_the_kernel_says(scratch: Path) -> None:
    nothing = recording(Epoch([piece(1, "a")], ["begun"] * 2))

    (trial,) = Forked(partial(look_again, scratch, nothing, 1)).surely()

    assert any(one.startswith("unreadable: S4: OSError") for one in trial.wrong)
    assert any("tests/crash/replica.py" in one for one in trial.wrong)
    assert any(one.startswith("kernel: EXT4-fs") for one in trial.wrong)


@pytest.mark.crash
def test_what_is_killed_leaves_nothing(scratch: Path) -> None:
    told, tell = os.pipe()
    home = scratch / "killed"  # where nothing of other tests is
    home.mkdir()

    def work() -> None:
        enter_namespace(home, size="256m")
        disk = Disk(home, EXT4.size)
        EXT4.make(disk.loop.path)
        mounted = home / "mnt"
        mounted.mkdir()
        mount(disk.loop.path, mounted, "ext4")
        os.write(tell, b"mounted")
        (mounted / "file").write_bytes(bytes(1 << 20))
        signal.pause()

    process = Forked(work)
    assert os.read(told, 10) == b"mounted"
    process.kill()

    # The kernel takes a moment; the test has a timeout.
    while _remains(home):
        time.sleep(0.01)
    os.close(told)
    os.close(tell)


def _remains(home: Path) -> list[str]:
    """Return the devices and the processes that have to do with files in ``home``."""
    found: list[str] = []
    for kind in ("block/loop*/loop/backing_file", "../proc/[0-9]*/cmdline"):
        for path in Path("/sys").glob(kind):
            with contextlib.suppress(OSError):
                if os.fsencode(home) in path.read_bytes():
                    found.append(str(path))
    return found
