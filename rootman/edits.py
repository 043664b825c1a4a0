"""Edits: what makes one manifest of another, as a short list of changes.

The record of a tree keeps the manifest of a tree that it descends from, shared with
that tree's record, and its own edits to it. So neither the writing of a record nor the
comparison of two that descend from one manifest costs what a manifest costs. Pure:
edits are ``Change`` in path order, their ``old`` lines those of the first manifest.
The file they are kept in is specified in spec/10-layout.md (ST-19).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rootman.comparison import Change
from rootman.errors import InvalidManifest
from rootman.manifest import line_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_REMOVED: Final = b"-"
_ADDED: Final = b"+"
_MOST_DIGITS: Final = 18  # of the number of a line; Python refuses to read thousands
_DAMAGED: Final = "the edits do not fit the manifest"


def compose(first: Iterable[Change], second: Iterable[Change]) -> Iterator[Change]:
    """Yield the edits from A to C, given those from A to B and from B to C."""
    ours, theirs = iter(first), iter(second)
    one, two = next(ours, None), next(theirs, None)
    behind, ahead = 0, 0  # how far the lines of B are ahead of those of A, and C's of B's
    while one is not None or two is not None:
        if one is not None and two is not None and one.field == two.field:
            if one.old != two.new:
                yield Change(one.field, one.old, two.new, one.old_index, two.new_index)
            behind += one.growth
            ahead += two.growth
            one, two = next(ours, None), next(theirs, None)
        elif one is not None and (two is None or one.field < two.field):
            yield replace(one, new_index=one.new_index + ahead)
            behind += one.growth
            one = next(ours, None)
        elif two is not None:
            yield replace(two, old_index=two.old_index - behind)
            ahead += two.growth
            two = next(theirs, None)


def inverted(edits: Iterable[Change]) -> Iterator[Change]:
    """Yield the edits from B to A, given those from A to B."""
    for one in edits:
        yield Change(one.field, one.new, one.old, one.new_index, one.old_index)


def edited(base: Iterable[bytes], edits: Iterable[Change]) -> Iterator[bytes]:
    """Yield the manifest, as a stream cut anywhere, that ``edits`` make of the stream ``base``.

    Raises:
        InvalidManifest: the edits are those to another manifest.
    """
    pending = iter(edits)
    ahead = next(pending, None)
    index, rest = -1, b""  # the header is no entry
    for chunk in base:
        data = rest + chunk
        cut = data.rfind(b"\n") + 1
        block, rest = data[:cut], data[cut:]
        end = index + block.count(b"\n")
        made, at, line = list[bytes](), 0, index
        while ahead is not None and ahead.old_index < end:
            place = _place(block, at, ahead.old_index - line, ahead.old)
            made += (block[at:place], ahead.new or b"")
            at = place + len(ahead.old or b"")
            line = ahead.old_index + (ahead.old is not None)
            ahead = next(pending, None)
        yield b"".join((*made, block[at:])) if made else block
        index = end
    yield rest
    while ahead is not None:  # after the last line
        if ahead.old is not None or ahead.old_index != index:
            raise InvalidManifest(_DAMAGED)
        yield ahead.new or b""
        ahead = next(pending, None)


def _place(block: bytes, start: int, lines: int, old: bytes | None) -> int:
    """Return where the line is that comes ``lines`` after that at ``start``; it must be ``old``.

    A line that is known is found faster than lines are counted. It is looked for with the
    end of the line before it: ``./b`` is also how ``./a./b`` goes on.
    """
    if lines < 0:
        raise InvalidManifest(_DAMAGED)
    if old is None:
        for _ in range(lines):
            start = block.index(b"\n", start) + 1
        return start
    if lines == 0 and block.startswith(old, start):
        return start
    place = block.find(b"\n" + old, start) + 1
    if place == 0 or block.count(b"\n", start, place) != lines:
        raise InvalidManifest(_DAMAGED)
    return place


def serialise(edits: Iterable[Change]) -> bytes:
    """Return the content of the file of edits: for each line its sign, its number and itself."""
    parts: list[bytes] = []
    for one in edits:
        if one.old is not None:
            parts += (b"%b%d " % (_REMOVED, one.old_index), one.old)
        if one.new is not None:
            parts += (b"%b%d " % (_ADDED, one.new_index), one.new)
    return b"".join(parts)


def parse(data: bytes) -> Iterator[Change]:
    """Yield the edits that ``serialise`` wrote.

    Raises:
        InvalidManifest: ``data`` is something else.
    """
    growth = 0
    removed: Change | None = None
    for raw in data.splitlines(keepends=True):
        sign, number, line = _cut(raw)
        field = line_path(line)
        if removed is not None and not (sign == _ADDED and removed.field == field):
            yield removed
            growth -= 1
            removed = None
        if sign == _REMOVED:
            removed = Change(field, line, None, number, number + growth)
        elif removed is not None:
            yield replace(removed, new=line)
            removed = None
        else:
            yield Change(field, None, line, number - growth, number)
            growth += 1
    if removed is not None:
        yield removed


def _cut(raw: bytes) -> tuple[bytes, int, bytes]:
    number, _, line = raw[1:].partition(b" ")
    is_number = number.isdigit() and len(number) <= _MOST_DIGITS
    if raw[:1] not in (_REMOVED, _ADDED) or not is_number or not line.endswith(b"\n"):
        raise InvalidManifest("the file of edits is damaged")
    return raw[:1], int(number), line
