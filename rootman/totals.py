"""What the lines of a manifest add up to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rootman.manifest import HARDLINK, HEADER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SIZE: Final = b" size="


def content_size(line: bytes) -> int:
    """Return the bytes of content of the file of this manifest line, 0 where it is no file."""
    start = line.find(_SIZE)
    return int(line[start + len(_SIZE) :].split(b" ", 1)[0]) if start >= 0 else 0


class Totals:
    """A sum over manifest lines that are added one by one.

    ``entries`` counts them, but for the header, ``bytes`` is what they are long with it;
    ``size`` is the content of their files, each hardlink group once.
    """

    def __init__(self) -> None:
        self.entries = 0
        self.bytes = 0
        self.size = 0
        self._groups: set[bytes] = set()

    def add(self, line: bytes) -> None:
        """Count ``line``."""
        self.bytes += len(line)
        if line == HEADER:
            return
        self.entries += 1
        group = HARDLINK.search(line)
        if group is None:
            self.size += content_size(line)
        elif group[1] not in self._groups:
            self._groups.add(group[1])
            self.size += content_size(line)


def counted(lines: Iterable[bytes], sums: Totals) -> Iterator[bytes]:
    """Yield ``lines``, added to ``sums`` on the way."""
    for line in lines:
        sums.add(line)
        yield line
