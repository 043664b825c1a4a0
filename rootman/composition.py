"""The manifest of a tree with bundles: put together of its parts, and taken apart again.

The manifest of ``base`` is that of a whole tree, that of another bundle the lines that it
adds to it (spec/39-bundles.md). Base is large and the others are not: its lines pass in
blocks, and only where another line stands between them is a block cut. Pure: streams are
iterables of ``bytes``, cut anywhere; memory does not grow with them. That a composed
manifest is that of a tree is for whoever reads it to see (``delta.vet``).
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from rootman.comparison import lines
from rootman.errors import InvalidManifest
from rootman.manifest import MAX_LINE, line_path, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    # A block, the place in it where a line belongs, the line; how many bytes of the block it
    # takes the place of, and what comes there.
    Splice = Callable[[bytes, int, bytes], tuple[int, bytes]]


def merged(parts: Sequence[Iterable[bytes]]) -> Iterator[bytes]:
    """Yield the entry lines of several manifests in order, those that are equal once.

    Raises:
        InvalidManifest: two have different lines for one path (BU-6), or one is no manifest,
            cut off, or not in order.
    """
    last = b""
    for line in heapq.merge(*map(lines, parts), key=line_path):
        if line == last:
            continue
        if line_path(line) == line_path(last):
            raise _conflict(line)
        last = line
        yield line


def composed(base: Iterable[bytes], more: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the manifest ``base``, cut anywhere, with the sorted lines ``more`` in their places.

    Raises:
        InvalidManifest: base has a line for the path of one of them (BU-6), or is cut off.
    """
    return _spliced(base, more, _put)


def without(whole: Iterable[bytes], lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the manifest ``whole``, cut anywhere, without the sorted ``lines``: the inverse.

    Raises:
        InvalidManifest: one of them is not there.
    """
    return _spliced(whole, lines, _take)


def _put(block: bytes, place: int, line: bytes) -> tuple[int, bytes]:
    end = block.find(b"\n", place) + 1
    if line_path(block[place:end]) == line_path(line):
        raise _conflict(line)
    return 0, line


def _take(block: bytes, place: int, line: bytes) -> tuple[int, bytes]:
    if not block.startswith(line, place):
        raise InvalidManifest(
            f"{printable(line_path(line))}: the whole has not this line of a part"
        )
    return len(line), b""


def _conflict(line: bytes) -> InvalidManifest:
    return InvalidManifest(f"{printable(line_path(line))}: two bundles do not agree on it")


def _spliced(stream: Iterable[bytes], changes: Iterator[bytes], splice: Splice) -> Iterator[bytes]:
    """Yield ``stream`` with a splice at the place of each of the sorted lines ``changes``."""
    ahead = next(changes, None)
    rest = b""
    for chunk in stream:
        data = rest + chunk
        cut = data.rfind(b"\n") + 1
        block, rest = data[:cut], data[cut:]
        if len(rest) > MAX_LINE:
            raise InvalidManifest(f"a line is longer than {MAX_LINE} bytes")
        made, at = list[bytes](), 0
        last = _field(block, block.rfind(b"\n", 0, -1) + 1) if block else b""
        while ahead is not None and line_path(ahead) <= last:
            place = _place(block, at, line_path(ahead))
            gone, new = splice(block, place, ahead)
            made += (block[at:place], new)
            at = place + gone
            ahead = next(changes, None)
        yield b"".join((*made, block[at:])) if made else block
    if rest:
        raise InvalidManifest("the manifest is cut off")
    while ahead is not None:  # after the last line
        yield splice(b"", 0, ahead)[1]
        ahead = next(changes, None)


def _place(block: bytes, low: int, field: bytes) -> int:
    """Return where the first line from ``low`` on begins whose path field is not before ``field``.

    The lines of ``block`` are in order, its header as well.
    """
    high = len(block)
    while low < high:
        start = block.rfind(b"\n", low, (low + high) // 2) + 1 or low
        if _field(block, start) < field:
            low = block.index(b"\n", start) + 1
        else:
            high = start
    return low


def _field(block: bytes, start: int) -> bytes:
    """Return the path field of the line that begins at ``start``."""
    return line_path(block[start : block.index(b"\n", start) + 1])
