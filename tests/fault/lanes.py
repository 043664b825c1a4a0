"""A filesystem that is put back to what it was in a few milliseconds, thousands of times.

Copying a store would give its files other inode numbers than its seal records have, so
the image below the filesystem is restored instead. Each lane is a process with a mount
namespace and images in memory of its own: whatever becomes of it, nothing is left behind.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from tests.fault.ahead import read_nothing_ahead
from tests.fault.faulty import Forked
from tests.filesystems import run
from tests.loopdevices import LoopDevice, enter_namespace, mount, unmount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZE: Final = 16 << 20
_MKFS: Final = (
    *("mkfs.ext4", "-q", "-F", "-b", "1024", "-N", "2048", "-O", "^has_journal"),
    *("-E", "lazy_itable_init=0"),
)

Told = TypeVar("Told")
Found = TypeVar("Found")
Extents = list[tuple[int, bytes]]


@dataclass(frozen=True)
class Template(Generic[Told]):
    """A filesystem to begin from: what is in its image, and what its maker told of it."""

    extents: Extents
    told: Told


class Lane:
    """The mounted filesystem of one lane; ``path`` is where."""

    def __init__(self, home: Path) -> None:
        # Not the same in two lanes: who uses a tree is found by path.
        self.path = home / f"lane{os.getpid()}"
        self.path.mkdir()
        image = home / "image"
        image.touch()
        os.truncate(image, SIZE)
        self._image = os.open(image, os.O_RDWR)
        self._device = LoopDevice(image)
        self._mounted = False

    def make(self) -> None:
        """Make an empty filesystem."""
        run(*_MKFS, self._device.path)
        self.mount()

    def mount(self) -> None:
        """Mount it."""
        mount(self._device.path, self.path, "ext4")
        self._mounted = True

    def unmount(self) -> None:
        """Unmount it; what still holds it open is a finding."""
        if self._mounted:
            unmount(self.path)
            self._mounted = False

    def restore(self, extents: Extents) -> None:
        """Have it as it was when ``extents`` were taken; what was free then may be anything."""
        self.unmount()
        for offset, data in extents:
            os.pwrite(self._image, data, offset)
        self._device.forget()
        self.mount()

    def extents(self) -> Extents:
        """Unmount it and return what is in the image."""
        self.unmount()
        os.fsync(self._device.fd)
        found: Extents = []
        offset = 0
        while True:
            try:
                offset = os.lseek(self._image, offset, os.SEEK_DATA)
            except OSError:
                return found
            end = os.lseek(self._image, offset, os.SEEK_HOLE)
            found.append((offset, os.pread(self._image, end - offset, offset)))
            offset = end


@contextmanager
def _lane(scratch: Path) -> Iterator[Lane]:
    """Go into a mount namespace of this process's own, with a lane in it, for good."""
    enter_namespace(scratch, size="128m")
    read_nothing_ahead()
    lane = Lane(scratch)
    yield lane
    lane.unmount()


def make_template(scratch: Path, prepare: Callable[[Path], Told]) -> Template[Told]:
    """Return an ext4 that ``prepare`` made something in, with what it returned."""

    def work() -> Template[Told]:
        with _lane(scratch) as lane:
            lane.make()
            told = prepare(lane.path)
            return Template(lane.extents(), told)

    return Forked(work).surely()


def in_lanes(
    scratch: Path, template: Template[Told], work: Callable[[Lane, int, int], list[Found]]
) -> list[Found]:
    """Return what ``work`` returns in all lanes; it gets the lane's number and how many there are.

    There is a lane for each processor.
    """
    count = len(os.sched_getaffinity(0))

    def one(index: int) -> list[Found]:
        with _lane(scratch) as lane:
            lane.restore(template.extents)
            return work(lane, index, count)

    lanes = [Forked(partial(one, index)) for index in range(count)]
    return [found for lane in lanes for found in lane.surely()]
