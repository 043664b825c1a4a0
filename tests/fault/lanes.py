"""A filesystem that is put back to what it was in a few milliseconds, thousands of times.

Copying a store would give its files other inode numbers than its seal records have, so
the image below the filesystem is restored instead. Each lane is a process with a mount
namespace and images in memory of its own: whatever becomes of it, nothing is left behind.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from tests.fault.faulty import Forked
from tests.filesystems import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZE: Final = 16 << 20
_MKFS: Final = (
    *("mkfs.ext4", "-q", "-F", "-b", "1024", "-N", "2048", "-O", "^has_journal"),
    *("-E", "lazy_itable_init=0"),
)
_CLONE_NEWNS: Final = 0x00020000
_MS_REC_PRIVATE: Final = 0x4000 | (1 << 18)
_BLKFLSBUF: Final = 0x1261
_PATIENCE: Final = 2.0  # seconds until a busy filesystem is a finding

_libc: Final = ctypes.CDLL(None, use_errno=True)

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
        self._device = run("losetup", "--find", "--show", str(image)).strip()
        self._block = os.open(self._device, os.O_RDONLY)
        # It goes when its last descriptor does, however this process ends.
        run("losetup", "--detach", self._device)
        self._mounted = False

    def make(self) -> None:
        """Make an empty filesystem."""
        run(*_MKFS, self._device)
        self.mount()

    def mount(self) -> None:
        """Mount it."""
        source, target = self._device.encode(), os.fsencode(self.path)
        _check(_libc.mount(source, target, b"ext4", 0, b""))
        self._mounted = True

    def unmount(self) -> None:
        """Unmount it; what still holds it open is a finding."""
        deadline = time.monotonic() + _PATIENCE
        while self._mounted:
            try:
                _check(_libc.umount2(os.fsencode(self.path), 0))
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                gc.collect()
            else:
                self._mounted = False

    def restore(self, extents: Extents) -> None:
        """Have it as it was when ``extents`` were taken; what was free then may be anything."""
        self.unmount()
        for offset, data in extents:
            os.pwrite(self._image, data, offset)
        fcntl.ioctl(self._block, _BLKFLSBUF, 0)
        self.mount()

    def extents(self) -> Extents:
        """Unmount it and return what is in the image."""
        self.unmount()
        os.fsync(self._block)
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
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None))
    _check(_libc.mount(b"none", os.fsencode(scratch), b"tmpfs", 0, b"size=128m"))
    lane = Lane(scratch)
    yield lane
    lane.unmount()


def _check(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


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
