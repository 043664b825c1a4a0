"""How a new file is made of an old one in the fewest bytes (the publisher's side).

bsdiff4 finds what two files have in common. It needs some 17 bytes of memory for
each of the old file, so large files are compared piece by piece.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rootman.packs.format import Role, number, zigzag
from rootman.packs.recipe import HEAD_LIMIT, Method, Recipe, by_gzip, by_zlib, expand

if TYPE_CHECKING:
    from collections.abc import Iterator

# A copy for a run of this many zeros costs less than the zeros.
_RUN: Final = re.compile(rb"\0{128,}")
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


def best(path: bytes, new: bytes, source: bytes, old: bytes | None) -> Made:
    """Return how to make ``new``, which is to be at ``path``, with or without its ``source``."""
    content, method, head = _expanded_again(new)
    plain = _literal(content, method, head)
    if old is None:
        return plain
    if method.compressed and (expanded := expand(old)) is not None:
        old, method = expanded, method | Method.EXPANDED
    found = _delta(old, content)
    found.recipe = Recipe(
        method | Method.DELTA,
        len(content),
        b"" if source == path else source,
        found.recipe.operations,
        head,
    )
    return min(plain, found, key=_cost)


def _literal(content: bytes, method: Method, head: bytes) -> Made:
    role = Role.LITERAL
    if not method and is_x86(content):
        method, role = Method.PROGRAM, Role.CODE
    return Made(Recipe(method, len(content), head=head), {role: content})


def is_x86(content: bytes) -> bool:
    """Whether it is an ELF file (elf(5)) of x86 machine code."""
    return content[:4] == b"\x7fELF" and int.from_bytes(content[18:20], "little") in _MACHINES_X86


def _cost(made: Made) -> int:
    """Return about how many bytes it takes in a pack."""
    import zstandard

    return len(zstandard.ZstdCompressor(level=3).compress(b"".join(made.streams.values())))


def _delta(old: bytes, new: bytes) -> Made:
    columns = {role: bytearray() for role in _COLUMNS}
    count = 0
    for copy, add, insert, seek in _operations(old, new):
        count += 1
        columns[Role.COPY] += number(copy)
        columns[Role.ADD] += number(len(add))
        columns[Role.INSERT] += number(len(insert))
        columns[Role.SEEK] += number(zigzag(seek))
        columns[Role.DIFF] += add
        columns[Role.LITERAL] += insert
    return Made(
        Recipe(Method.DELTA, len(new), operations=count),
        {role: bytes(column) for role, column in columns.items()},
    )


_Operation = tuple[int, bytes, bytes, int]
"""Copy, addition, insertion and move."""
_COLUMNS: Final = (Role.COPY, Role.ADD, Role.INSERT, Role.SEEK, Role.DIFF, Role.LITERAL)


def _operations(old: bytes, new: bytes) -> Iterator[_Operation]:
    """Yield the operations, of which all but the first make a byte at least (PK-10)."""
    last: _Operation | None = None
    for copy, add, insert, seek in _of_pieces(old, new):
        if last is not None and not (copy or add or insert):
            last = (*last[:3], last[3] + seek)
            continue
        if last is not None:
            yield last
        last = (copy, add, insert, seek)
    if last is not None:
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

    if ahead:
        yield 0, b"", b"", ahead
    control, diff, extra = core.diff(old, new)
    at = taken = 0
    for fields in _CONTROL.iter_unpack(control):
        size, insert, seek = map(_signed, fields)
        copy = done = 0
        part = diff[at : at + size]
        for run in _RUN.finditer(part):
            if run.start() > done or copy:
                yield copy, part[done : run.start()], b"", 0
            copy, done = run.end() - run.start(), run.end()
        yield copy, part[done:], extra[taken : taken + insert], seek
        at += size
        taken += insert


def _signed(value: int) -> int:
    """Return a number of bsdiff, which has its sign in the highest bit."""
    return value if value < _SIGN else _SIGN - value


def _expanded_again(new: bytes) -> tuple[bytes, Method, bytes]:
    """Return what to make of a file: its content if it is gzip that we can write, else itself."""
    content = expand(new)
    if content is not None and len(head := new[: _head_size(new)]) <= HEAD_LIMIT:
        for method, compress in ((Method.ZLIB, by_zlib), (Method.GZIP, by_gzip)):
            if compress(content, head) == new:
                return content, method, head
    return new, Method(0), b""


def _head_size(member: bytes) -> int:
    """Return the bytes of the header of a gzip file that is known to be sound."""
    flags, at = member[3], 10
    if flags & _EXTRA:
        at += 2 + int.from_bytes(member[at : at + 2], "little")
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            at = member.index(b"\0", at) + 1
    return at + 2 if flags & _CHECKSUM else at
