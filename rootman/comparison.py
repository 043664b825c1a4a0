"""Manifests as streams of raw sorted lines: compare two, look lines up in one.

Equal stretches are skipped with ``memcmp`` and never cut into lines, so the cost
of a comparison is that of reading, and memory does not grow with the tree. Pure:
a stream is any iterable of ``bytes``, cut anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.errors import InvalidManifest
from rootman.manifest import HEADER, MAX_LINE, line_path, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LEAST_BLOCK: Final = 1 << 12
_MOST_BLOCK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Change:
    """A path to be seen to: ``old`` is None where it is added, ``new`` where it is removed.

    ``field`` is the encoded path field. The indices count entry lines from 0; on the
    absent side the index is that of the line before which the path would stand.
    ``untrusted`` says that what stands at the path now is not what ``old`` says; with
    no line at all it is an extra path, in neither manifest.
    """

    field: bytes
    old: bytes | None
    new: bytes | None
    old_index: int
    new_index: int
    untrusted: bool = False

    @property
    def growth(self) -> int:
        """How many lines more the manifest has by this."""
        return (self.new is not None) - (self.old is not None)


class _Cursor:
    """A position in a stream of lines."""

    __slots__ = ("_chunks", "_previous", "buffer", "eof", "index", "position")

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._chunks = iter(stream)
        self.buffer = b""
        self.position = 0
        self.index = 0
        self.eof = False
        self._previous = b""
        self._skip_header()

    def _skip_header(self) -> None:
        self.fill(len(HEADER))
        if not self.buffer.startswith(HEADER):
            raise InvalidManifest("not a manifest: the first line is not #mtree")
        self.position = len(HEADER)

    def fill(self, size: int) -> int:
        """Have ``size`` bytes ahead unless the stream ends; return how many there are."""
        ahead = len(self.buffer) - self.position
        while ahead < size and not self.eof:
            chunk = next(self._chunks, None)
            if chunk is None:
                self.eof = True
                if self.buffer and not self.buffer.endswith(b"\n"):
                    raise InvalidManifest(f"line {self.index + 2}: the manifest is cut off")
                break
            self.buffer = self.buffer[self.position :] + chunk
            self.position = 0
            ahead = len(self.buffer)
        return ahead

    def line(self) -> bytes | None:
        """Return the line ahead without passing it, None at the end."""
        size = 4096
        while True:
            ahead = self.fill(size)
            if not ahead:
                return None
            end = self.buffer.find(b"\n", self.position)
            if end >= 0:
                return self.buffer[self.position : end + 1]
            if ahead > MAX_LINE:
                raise InvalidManifest(f"line {self.index + 2}: longer than {MAX_LINE} bytes")
            size = ahead + 1

    def advance(self, line: bytes) -> None:
        """Pass the line ahead; it must come after the one before (MF-2)."""
        field = line_path(line)
        if field <= self._previous:
            problem = "twice" if field == self._previous else "out of order"
            raise InvalidManifest(f"line {self.index + 2}: {printable(field)} stands {problem}")
        self._previous = field
        self.position += len(line)
        self.index += 1

    def count(self, size: int) -> int:
        """Return the number of lines in the next ``size`` bytes."""
        return self.buffer.count(b"\n", self.position, self.position + size)

    def skip(self, size: int, lines: int) -> None:
        """Pass ``size`` bytes, ``lines`` whole lines that are known to be in order."""
        end = self.position + size
        start = self.buffer.rfind(b"\n", self.position, end - 1) + 1
        self._previous = line_path(self.buffer[max(start, self.position) : end])
        self.index += lines
        self.position = end


def compare(old: Iterable[bytes], new: Iterable[bytes]) -> Iterator[Change]:
    """Yield what turns the manifest ``old`` into ``new``, in path order.

    ``old`` is trusted to be in order. Of ``new``, every line that is not also in
    ``old`` is checked to stand in order, which makes the whole of it ordered.

    Raises:
        InvalidManifest: a stream is no manifest, is cut off, or ``new`` has lines
            out of order or twice.
    """
    left, right = _Cursor(old), _Cursor(new)
    block = _LEAST_BLOCK
    while True:
        block = _skip_equal(left, right, block)
        ours, theirs = left.line(), right.line()
        if ours is None and theirs is None:
            return
        order = _order(ours, theirs)
        removed = ours if order <= 0 else None
        added = theirs if order >= 0 else None
        field = line_path(added or removed or b"")
        change = Change(field, removed, added, left.index, right.index)
        if order <= 0 and ours is not None:
            left.advance(ours)
        if order >= 0 and theirs is not None:
            right.advance(theirs)
        # Lines one by one find their way back into step here, so equal ones do occur.
        if change.old != change.new:
            yield change


def _order(ours: bytes | None, theirs: bytes | None) -> int:
    """Return -1 where our line comes first, 1 where theirs does, 0 for one path."""
    if ours is None or theirs is None:
        return 1 if ours is None else -1
    mine, other = line_path(ours), line_path(theirs)
    return (mine > other) - (mine < other)


def _skip_equal(left: _Cursor, right: _Cursor, block: int) -> int:
    """Pass the lines that both streams have next; return the block size to try next."""
    while True:
        size = min(left.fill(block), right.fill(block), block)
        if not size:
            return _LEAST_BLOCK
        if _same(left, right, size):
            whole = left.buffer.rfind(b"\n", left.position, left.position + size) + 1
            length = whole - left.position
            if length <= 0:  # one line longer than the block
                return min(block * 4, _MOST_BLOCK)
            _skip_both(left, right, length)
            block = min(block * 4, _MOST_BLOCK)
            continue
        length = _common_lines(left, right, size)
        if length:
            _skip_both(left, right, length)
        return _LEAST_BLOCK


def _skip_both(left: _Cursor, right: _Cursor, size: int) -> None:
    """Pass ``size`` bytes that are whole lines and the same in both."""
    lines = left.count(size)
    left.skip(size, lines)
    right.skip(size, lines)


def _same(left: _Cursor, right: _Cursor, size: int) -> bool:
    return (
        left.buffer[left.position : left.position + size]
        == right.buffer[right.position : right.position + size]
    )


def _common_lines(left: _Cursor, right: _Cursor, size: int) -> int:
    """Return the length of the whole lines both streams share within ``size`` bytes."""
    low, high = 0, size  # the first ``low`` bytes are equal, the first ``high`` are not
    while high - low > 1:
        middle = (low + high) // 2
        if (
            left.buffer[left.position + low : left.position + middle]
            == right.buffer[right.position + low : right.position + middle]
        ):
            low = middle
        else:
            high = middle
    end = left.buffer.rfind(b"\n", left.position, left.position + low) + 1
    return max(end - left.position, 0)


def lines(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the entry lines of a manifest, checked to be in order.

    Raises:
        InvalidManifest: as for ``compare``.
    """
    cursor = _Cursor(stream)
    while (line := cursor.line()) is not None:
        cursor.advance(line)
        yield line


def known_lines(
    stream: Iterable[bytes], start: int = 0, stop: int | None = None
) -> Iterator[bytes]:
    """Yield entry lines ``start`` to ``stop`` of a manifest that was checked before."""
    index = -1  # the header is no entry
    for block in _whole_lines(stream):
        count = block.count(b"\n")
        if index + count > start:
            for line in block.splitlines(keepends=True)[max(start - index, 0) :]:
                if stop is not None and max(index, start) >= stop:
                    return
                yield line
                index = max(index, start) + 1
            continue
        index += count


def lines_within(
    stream: Iterable[bytes], fields: Iterable[bytes], alone: Iterable[bytes] = ()
) -> Iterator[tuple[int, bytes]]:
    """Yield number and line of what is at the path ``fields`` of a known manifest, or below them.

    Of what is ``alone`` that is not told which is below. The rest is passed over in blocks.
    """
    # What is below a path does not follow it: a-b comes before a/b (MF-2). Of two ranges one
    # is within the other, which begins first, or they have nothing in common.
    fields = tuple(fields)
    ranges = sorted(
        [(field, field + b"\0") for field in (*fields, *alone)]
        + [(field + b"/", field + b"0") for field in fields]
    )
    index = -1  # the header is no entry
    for block in _whole_lines(stream):
        if line_path(block[block.rfind(b"\n", 0, -1) + 1 :]) >= ranges[0][0]:
            for number, line in enumerate(block.splitlines(keepends=True), index):
                field = line_path(line)
                while field >= ranges[0][1]:
                    ranges.pop(0)
                    if not ranges:
                        return
                if field >= ranges[0][0]:
                    yield number, line
        index += block.count(b"\n")


def _whole_lines(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the stream cut at the ends of lines."""
    rest = b""
    for chunk in stream:
        data = rest + chunk
        cut = data.rfind(b"\n") + 1
        rest = data[cut:]
        if cut:
            yield data[:cut]


def select(stream: Iterable[bytes], fields: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield (field, line) for those of the sorted path ``fields`` that the manifest has.

    Raises:
        InvalidManifest: the stream is no manifest or is cut off.
    """
    cursor = _Cursor(stream)
    for field in fields:
        if not _reach(cursor, field):
            return
        line = _find(cursor, field)
        if line is not None:
            yield field, line


def _reach(cursor: _Cursor, field: bytes) -> bool:
    """Have the place of ``field`` in the buffer; return False where the manifest ends first."""
    wanted = _MOST_BLOCK
    while cursor.fill(wanted):
        end = cursor.buffer.rfind(b"\n", cursor.position) + 1
        if end:
            start = cursor.buffer.rfind(b"\n", cursor.position, end - 1) + 1
            start = max(start, cursor.position)
            if line_path(cursor.buffer[start:end]) >= field:
                return True
            size = end - cursor.position
            cursor.skip(size, cursor.count(size))
        if cursor.eof:
            return False
        ahead = len(cursor.buffer) - cursor.position
        if ahead > MAX_LINE:
            raise InvalidManifest(f"line {cursor.index + 2}: longer than {MAX_LINE} bytes")
        wanted = max(_MOST_BLOCK, ahead + 1)
    return False


def _find(cursor: _Cursor, field: bytes) -> bytes | None:
    """Return the line of ``field``, known to be in the buffer if anywhere."""
    start = cursor.position
    if not cursor.buffer.startswith(field + b" ", start):
        newline = cursor.buffer.find(b"\n" + field + b" ", start)
        if newline < 0:
            return None
        start = newline + 1
    return cursor.buffer[start : cursor.buffer.index(b"\n", start) + 1]


def any_below(stream: Iterable[bytes], directories: Iterable[bytes]) -> bytes | None:
    """Return the path field of a line below one of the ``directories``, if there is any.

    Raises:
        InvalidManifest: the stream is no manifest or is cut off.
    """
    cursor = _Cursor(stream)
    # In this order: what is below a-b comes before what is below a (MF-2).
    for below in sorted(directory + b"/" for directory in directories):
        if not _reach(cursor, below):
            return None
        if cursor.buffer.startswith(below, cursor.position):
            return line_path(cursor.buffer[cursor.position :])
        newline = cursor.buffer.find(b"\n" + below, cursor.position)
        if newline >= 0:
            return line_path(cursor.buffer[newline + 1 :])
    return None
