"""How a new file is made of an old one in the fewest bytes (the publisher's side).

bsdiff4 finds what two files have in common. It needs some 17 bytes of memory for
each of the old file, so large files are compared piece by piece.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Final

from rootman.packs.batches import BYTES, COLUMNS, OPERATIONS, written
from rootman.packs.deflated import block_sizes
from rootman.packs.format import Role, zigzag
from rootman.packs.gzipped import ENDS_LIMIT, HEAD_LIMIT, by_gzip, by_zlib, expand
from rootman.packs.recipe import Method, Recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# A copy for a run of this many zeros costs less than the zeros.
_RUN: Final = re.compile(rb"\0{128,}")
# An operation is four numbers, some four bytes in the pack; a byte that is equal saves a third of
# one against its insertion, one that differs costs more than that.
_EQUAL: Final = 24
_DIFFERENT: Final = 2
_PIECE: Final = 32 << 20
_MARGIN: Final = 8 << 20
_CONTROL: Final = struct.Struct("<QQQ")
_SIGN: Final = 1 << 63
# Flags of RFC 1952 that add to the header: extra field, name, comment, checksum.
_EXTRA, _NAME, _COMMENT, _CHECKSUM = 4, 8, 16, 2
_MACHINES_X86: Final = (3, 62)  # e_machine of i386 and x86-64


@dataclass(slots=True)
class Made:
    """A recipe, and what it takes from the streams besides its record in ``FILES``."""

    recipe: Recipe
    streams: dict[Role, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a file may be made of: ``source`` is how a recipe names it (``Recipe``)."""

    source: bytes
    content: bytes
    is_new: bool = False


def best(new: bytes, candidates: Iterable[Candidate] = ()) -> Made:
    """Return how to make ``new``, of the best of the ``candidates`` or of none."""
    content, plain = _expanded_again(new)
    ways = [_literal(content, plain), *(_of(one, content, plain) for one in candidates)]
    return ways[0] if len(ways) == 1 else min(ways, key=_cost)


def _of(candidate: Candidate, new: bytes, plain: Recipe) -> Made:
    """Return how to make what is ``new`` of one candidate."""
    old, method = candidate.content, plain.method | Method.DELTA
    if plain.zipped and (expanded := expand(old)) is not None:
        old, method = expanded, method | Method.EXPANDED
    if candidate.is_new:
        method |= Method.SIBLING
    recipe = replace(plain, method=method, source=candidate.source)
    return Made(recipe, _delta(old, new))


def _literal(content: bytes, recipe: Recipe) -> Made:
    role = Role.LITERAL
    if not recipe.method and is_x86(content):
        recipe, role = replace(recipe, method=Method.PROGRAM), Role.CODE
    return Made(recipe, {role: content})


def is_x86(content: bytes) -> bool:
    """Whether it is an ELF file (elf(5)) of x86 machine code."""
    return content[:4] == b"\x7fELF" and int.from_bytes(content[18:20], "little") in _MACHINES_X86


def _cost(made: Made) -> int:
    """Return about how many bytes it takes in a pack."""
    import zstandard

    return len(zstandard.ZstdCompressor(level=3).compress(b"".join(made.streams.values())))


def _delta(old: bytes, new: bytes) -> dict[Role, bytes]:
    """Return what of each stream makes ``new`` of ``old``."""
    streams = {role: bytearray() for role in _STREAMS}
    for batch in _batches(_operations(old, new)):
        numbers = [(copy, len(add), len(insert), zigzag(seek)) for copy, add, insert, seek in batch]
        for role, data in written(list(zip(*numbers, strict=True))).items():
            streams[role] += data
        streams[Role.DIFF] += b"".join(add for _, add, _, _ in batch)
        streams[Role.LITERAL] += b"".join(insert for _, _, insert, _ in batch)
    return {role: bytes(data) for role, data in streams.items()}


_Operation = tuple[int, bytes, bytes, int]
"""Copy, addition, insertion and move."""
_STREAMS: Final = (Role.FILES, *COLUMNS, Role.DIFF, Role.LITERAL)


def _batches(operations: Iterator[_Operation]) -> Iterator[list[_Operation]]:
    """Yield the operations in batches, each of which makes a byte at least (PK-10)."""
    batch, size = list[_Operation](), 0
    for operation in chain.from_iterable(map(_cut, operations)):
        more = _made(operation)
        if size + more > BYTES or len(batch) == OPERATIONS:
            yield batch
            batch, size = [], 0
        batch.append(operation)
        size += more
    if size:
        yield batch


def _made(operation: _Operation) -> int:
    """Return how many bytes it makes."""
    copy, add, insert, _ = operation
    return copy + len(add) + len(insert)


def _cut(operation: _Operation) -> list[_Operation]:
    """Return operations that do the same, each of which fits into a batch."""
    if _made(operation) <= BYTES:
        return [operation]
    copy, add, insert, seek = operation
    parts: list[_Operation] = [
        *((min(BYTES, copy - at), b"", b"", 0) for at in range(0, copy, BYTES)),
        *((0, add[at : at + BYTES], b"", 0) for at in range(0, len(add), BYTES)),
        *((0, b"", insert[at : at + BYTES], 0) for at in range(0, len(insert), BYTES)),
    ]
    parts[-1] = (*parts[-1][:3], seek)
    return parts


def _operations(old: bytes, new: bytes) -> Iterator[_Operation]:
    """Yield the operations, of which all but the first make a byte at least (PK-10)."""
    last: _Operation = 0, b"", b"", 0
    for operation in _of_pieces(old, new):
        if any(operation[:3]):
            if any(last):
                yield last
            last = operation
        else:
            last = (*last[:3], last[3] + operation[3])
    if any(last):
        yield last


def _of_pieces(old: bytes, new: bytes) -> Iterator[_Operation]:
    place = 0  # where the reader will be in the old file
    for start in range(0, len(new), _PIECE):
        low, high = _window(start, len(old), len(new))
        piece = new[start : start + _PIECE]
        for copy, add, insert, seek in _of_piece(old[low:high], piece, low - place):
            yield copy, add, insert, seek
            place += copy + len(add) + seek


def _window(start: int, old_size: int, new_size: int) -> tuple[int, int]:
    """Return the part of the old file that a piece of the new one is looked for in."""
    if old_size <= _PIECE + 2 * _MARGIN:
        return 0, old_size
    middle = start * old_size // new_size
    low = max(min(middle - _MARGIN, old_size - _PIECE - 2 * _MARGIN), 0)
    return low, low + _PIECE + 2 * _MARGIN


def _of_piece(old: bytes, new: bytes, ahead: int) -> Iterator[_Operation]:
    """Yield the operations of one comparison, whose old file begins ``ahead`` of the reader."""
    from bsdiff4 import core

    control, diff, _ = core.diff(old, new)
    part, end, move = b"", 0, ahead  # of the operation before, and where its part ends in new
    at = taken = 0
    for fields in _CONTROL.iter_unpack(control):
        size, insert, seek = map(_signed, fields)
        following = diff[taken : taken + size]
        if _pays(following):
            yield from _without_runs(part, new[end:at], move)
            part, end, move = following, at + size, seek
        else:
            move += size + seek
        taken += size
        at += size + insert
    yield from _without_runs(part, new[end:at], move)


def _pays(part: bytes) -> bool:
    """Whether to add these bytes costs less than to insert what they make."""
    equal = part.count(0)
    return equal - _DIFFERENT * (len(part) - equal) >= _EQUAL


def _without_runs(part: bytes, insert: bytes, seek: int) -> Iterator[_Operation]:
    """Yield the operations that add ``part``, of which long runs of zeros are copies instead."""
    copy = done = 0
    for run in _RUN.finditer(part):
        if run.start() > done or copy:
            yield copy, part[done : run.start()], b"", 0
        copy, done = run.end() - run.start(), run.end()
    yield copy, part[done:], insert, seek


def _signed(value: int) -> int:
    """Return a number of bsdiff, which has its sign in the highest bit."""
    return value if value < _SIGN else _SIGN - value


def _expanded_again(new: bytes) -> tuple[bytes, Recipe]:
    """Return what to make of a file, and how: its content if it is gzip that we can write."""
    content = expand(new)
    if content is not None and (size := _head_size(new)) <= HEAD_LIMIT:
        head, total = new[:size], len(content)
        if by_zlib(content, head) == new:
            return content, Recipe(Method.ZLIB, total, head=head)
        ends = tuple(block_sizes(new[size:]))[:-1]
        if len(ends) <= ENDS_LIMIT and by_gzip(content, head, ends) == new:
            return content, Recipe(Method.GZIP, total, head=head, ends=ends)
    return new, Recipe(Method.PLAIN, len(new))


def _head_size(member: bytes) -> int:
    """Return the bytes of the header of a gzip file that is known to be sound."""
    flags, at = member[3], 10
    if flags & _EXTRA:
        at += 2 + int.from_bytes(member[at : at + 2], "little")
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            at = member.index(b"\0", at) + 1
    return at + 2 if flags & _CHECKSUM else at
