"""Rebuilt disks, one after the other on one loop device."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.crash.configurations import BY_NAME as CONFIGURATIONS
from tests.crash.writelog import BLOCK
from tests.loopdevices import LoopDevice, mount, unmount

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.crash.cuts import Cut
    from tests.crash.recording import Blocks, Recording


class Replica:
    """A disk in memory that becomes what a cut says."""

    def __init__(self, home: Path, recording: Recording) -> None:
        self.image = home / "replica"
        self.image.touch()
        self._size = recording.size
        os.truncate(self.image, self._size)
        self._fd = os.open(self.image, os.O_RDWR)
        self._loop = LoopDevice(self.image)
        self._mounted = home / "mnt"
        self._mounted.mkdir(exist_ok=True)
        self._configuration = CONFIGURATIONS[recording.filesystem]
        self._epoch = -1
        self._extents: list[tuple[int, bytes]] = []

    def become(self, cut: Cut) -> None:
        """Be the disk of ``cut``, to the last byte."""
        if cut.epoch != self._epoch:
            self._epoch = cut.epoch
            self._extents = list(_extents(cut.base))
        # What the kernel wrote to the disk before goes, and the memory with it.
        os.ftruncate(self._fd, 0)
        os.ftruncate(self._fd, self._size)
        for offset, data in self._extents:
            os.pwrite(self._fd, data, offset)
        for block, data in cut.changes.items():
            os.pwrite(self._fd, data, block * BLOCK)
        self._loop.forget()

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Mount the disk, which recovers it; what is written then goes with the next cut.

        Raises:
            OSError: it cannot be mounted.
        """
        configuration = self._configuration
        mount(self._loop.path, self._mounted, configuration.kind, configuration.copy_options)
        try:
            yield self._mounted
        finally:
            unmount(self._mounted)

    def close(self) -> None:
        """Give the device and the memory back."""
        self._loop.close()
        os.close(self._fd)
        self.image.unlink()


def _extents(blocks: Blocks) -> Iterator[tuple[int, bytes]]:
    """Yield the blocks in as few writes as can be: offset and data."""
    start, run = 0, list[bytes]()
    for block in sorted(blocks):
        if run and block != start + len(run):
            yield start * BLOCK, b"".join(run)
            run = []
        if not run:
            start = block
        run.append(blocks[block])
    if run:
        yield start * BLOCK, b"".join(run)
