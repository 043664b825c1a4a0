"""The log of every write to a disk, in the format of the kernel's dm-log-writes.

In scope: reading it, and cutting it into what may be lost alone. The format is that of
Documentation/admin-guide/device-mapper/log-writes.rst. Out of scope: making the log
(``recorder``).
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK: Final = 4096
"""What a disk writes whole, or not at all; also the page of the kernel's block cache."""
SECTOR: Final = 512
"""The least that any disk writes whole."""

_MAGIC: Final = 0x6A736677736872
_VERSION: Final = 1
_SUPER: Final = struct.Struct("<QQQI")
_ENTRY: Final = struct.Struct("<QQQQ")
_FLUSH: Final = 1
_FUA: Final = 2
_DISCARD: Final = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """What of one write falls into one block."""

    block: int
    offset: int
    data: bytes

    def over(self, old: bytes) -> bytes:
        """Return the block after the write, where it was ``old``."""
        if len(self.data) == BLOCK:
            return self.data
        return old[: self.offset] + self.data + old[self.offset + len(self.data) :]


@dataclass(frozen=True, slots=True)
class Write:
    """One write. ``flushed`` says that all before it was made durable first."""

    flushed: bool
    start: int
    """In bytes."""
    data: bytes

    def pieces(self) -> Iterator[Piece]:
        """Yield the write block by block."""
        at = 0
        while at < len(self.data):
            block, offset = divmod(self.start + at, BLOCK)
            size = min(BLOCK - offset, len(self.data) - at)
            yield Piece(block, offset, self.data[at : at + size])
            at += size


def count_log(path: Path) -> int:
    """Return how many writes and flushes are in a log that somebody writes."""
    with path.open("rb") as file:
        _, _, entries, _ = _SUPER.unpack(file.read(_SUPER.size))
    return int(entries)


def read_log(path: Path) -> Iterator[Write]:
    """Yield what is in the log; a flush is a write of nothing.

    Raises:
        ValueError: it is no log, or has what no rebuilt disk could show: a write that
            was durable by itself, or a discard.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as log:
        magic, version, entries, sector = _SUPER.unpack_from(log, 0)
        if (magic, version) != (_MAGIC, _VERSION):
            raise ValueError(f"{path} is no log of writes")
        at = sector
        for _ in range(entries):
            start, count, flags, _ = _ENTRY.unpack_from(log, at)
            # A loop device takes neither: it flushes after a write instead, and
            # filesystems here are made and mounted so that they do not discard.
            if flags & (_FUA | _DISCARD):
                raise ValueError(f"{path} has an entry with the flags {flags}")
            at += sector
            yield Write(bool(flags & _FLUSH), start * sector, log[at : at + count * sector])
            at += count * sector
