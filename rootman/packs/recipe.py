"""How one file is made of another: operations on its source, and what was gzip before.

An operation copies some bytes of the source, then adds bytes to some more of them,
then inserts others, then moves the place in the source (C. Percival, Naive
differences of executable code, 2003; the copy, which is an addition of nothing,
keeps long runs of zeros out of the pack). Where the result is a gzip file, the
operations make what is in it, and it is compressed again.
"""

from __future__ import annotations

import subprocess
import zlib
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Final, Protocol

from rootman.packs.format import Role
from rootman.packs.streams import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.packs.streams import Streams

EXPANDED_LIMIT: Final = 16 << 20
"""Bytes of a gzip file's content: one and its source's are in memory at a time."""

HEAD_LIMIT: Final = 1 << 12
"""Bytes of the header of a gzip file; it may have a name and a comment."""

_GZIP: Final = b"\x1f\x8b\x08"
_PIECE: Final = 1 << 18
_FURTHEST: Final = 1 << 62  # into a source; so the sum of two places is still one
_GZIP_FIXED: Final = 10  # bytes of a header without a name
_LEVEL: Final = 9


class Method(IntFlag):
    """How a file is made; plain content where none is set."""

    DELTA = 1
    """Of a source, by operations."""
    ZLIB = 2
    """What is made is compressed by zlib."""
    GZIP = 4
    """What is made is compressed by the program gzip, whose work is another than zlib's."""
    EXPANDED = 8
    """The source is what is in a gzip file."""
    PROGRAM = 16
    """What is inserted comes from ``CODE``."""

    @property
    def possible(self) -> bool:
        """Whether it is one: no file is compressed twice, and what is expanded is a source."""
        both, alone = Method.ZLIB | Method.GZIP, Method.EXPANDED
        return self & both != both and self & (alone | Method.DELTA) != alone

    @property
    def compressed(self) -> bool:
        """Whether the file is a gzip file that is compressed again."""
        return bool(self & (Method.ZLIB | Method.GZIP))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a file is made.

    ``source`` is the decoded path of its source, ``operations`` how many there are,
    ``size`` the bytes they make, ``head`` the header of the gzip file.
    """

    method: Method
    size: int
    source: bytes = b""
    operations: int = 0
    head: bytes = b""


class Source(Protocol):
    """The bytes of an old file."""

    def read(self, size: int, offset: int) -> bytes:
        """Return ``size`` bytes at ``offset``: zeros where the file has none.

        So a file that is not the one that the pack was made for gives wrong bytes,
        which the hash of the result shows, and the streams stay in step.
        """
        ...


class Memory:
    """A source in memory."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, size: int, offset: int) -> bytes:
        """Return ``size`` bytes at ``offset``, zeros where there are none."""
        return self._content[offset : offset + size].ljust(size, b"\0")


def made(recipe: Recipe, source: Source, streams: Streams) -> Iterator[bytes]:
    """Yield the file's content. It has to be read to its end, for the streams to be in step.

    Raises:
        Damaged: the operations make more or less than they should.
    """
    if recipe.method & Method.DELTA:
        pieces = _operated(recipe, source, streams)
    else:
        pieces = _inserted(streams, _literal(recipe), recipe.size)
    pieces = _gathered(pieces)
    if not recipe.method.compressed:
        return pieces
    compress = by_zlib if recipe.method & Method.ZLIB else by_gzip
    return iter([compress(b"".join(pieces), recipe.head)])


def _literal(recipe: Recipe) -> Role:
    return Role.CODE if recipe.method & Method.PROGRAM else Role.LITERAL


def _operated(recipe: Recipe, source: Source, streams: Streams) -> Iterator[bytes]:
    copies, additions, insertions, moves = (
        streams[role] for role in (Role.COPY, Role.ADD, Role.INSERT, Role.SEEK)
    )
    literal, left, place = _literal(recipe), recipe.size, 0
    for _ in range(recipe.operations):
        copy, add, insert = copies.number(), additions.number(), insertions.number()
        left -= copy + add + insert
        if left < 0 or not 0 <= place <= _FURTHEST:
            raise Damaged(f"{streams.what}: damaged: an operation leads out of a file")
        for size in _steps(copy):
            yield source.read(size, place)
            place += size
        for size in _steps(add):
            yield added(source.read(size, place), streams[Role.DIFF].read(size))
            place += size
        if insert:
            yield from _inserted(streams, literal, insert)
        place += moves.offset()
    if left:
        raise Damaged(f"{streams.what}: damaged: a file ends too early")


def _steps(size: int) -> Iterator[int]:
    """Yield numbers of bytes that fit in memory, ``size`` in all."""
    while size > _PIECE:
        yield _PIECE
        size -= _PIECE
    if size:
        yield size


def _inserted(streams: Streams, role: Role, size: int) -> Iterator[bytes]:
    return (streams[role].read(step) for step in _steps(size))


def added(one: bytes, other: bytes) -> bytes:
    """Return the sums of the bytes, modulo 256, of two strings of one length."""
    size = len(one)
    # The highest bits are added apart, so that nothing is carried from byte to byte.
    low, high = (int.from_bytes(bits * size, "little") for bits in (b"\x7f", b"\x80"))
    left, right = int.from_bytes(one, "little"), int.from_bytes(other, "little")
    total = ((left & low) + (right & low)) ^ ((left ^ right) & high)
    return total.to_bytes(size, "little")


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in fewer pieces: operations can make them one by one."""
    waiting, size = list[bytes](), 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def by_zlib(content: bytes, head: bytes) -> bytes:
    """Return the gzip file with the header ``head`` that zlib makes of ``content``."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    tail = zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    return head + deflate.compress(content) + deflate.flush() + tail


def by_gzip(content: bytes, head: bytes) -> bytes:
    """Return the gzip file with the header ``head`` that gzip(1) makes of ``content``.

    Where there is no such program, it is another one.
    """
    command = ["gzip", "-n", f"-{_LEVEL}", "-c"]
    try:
        made = subprocess.run(command, input=content, capture_output=True, check=False)
    except OSError:
        return b""
    return head + made.stdout[_GZIP_FIXED:]


def expand(content: bytes) -> bytes | None:
    """Return what is in a gzip file (RFC 1952) of one member, None where it is none."""
    if not content.startswith(_GZIP) or len(content) > EXPANDED_LIMIT:
        return None
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        expanded = inflate.decompress(content, EXPANDED_LIMIT)
    except zlib.error:
        return None
    return expanded if inflate.eof and not inflate.unused_data else None
