"""How one file is made of another: operations on its source, and what was gzip before.

An operation copies some bytes of the source, then adds bytes to some more of them,
then inserts others, then moves the place in the source (C. Percival, Naive
differences of executable code, 2003; the copy, which is an addition of nothing,
keeps long runs of zeros out of the pack). Where the result is a gzip file, the
operations make what is in it, and it is compressed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol

from rootman.packs.batches import BYTES, read_batch
from rootman.packs.format import Role
from rootman.packs.gzipped import by_gzip, by_zlib
from rootman.packs.streams import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.packs.batches import Batch
    from rootman.packs.streams import Streams

_PIECE: Final = 1 << 18
_FURTHEST: Final = 1 << 62  # into a source; so the sum of two places is still one


class Method:
    """How a file is made: the sum of these. Plain numbers: an enumeration takes microseconds."""

    PLAIN: Final = 0
    """Content as it is."""
    DELTA: Final = 1
    """Of a source, by operations."""
    ZLIB: Final = 2
    """What is made is compressed as zlib does."""
    GZIP: Final = 4
    """What is made is compressed as the program gzip does."""
    EXPANDED: Final = 8
    """The source is what is in a gzip file."""
    PROGRAM: Final = 16
    """What is inserted comes from ``CODE``."""

    ZIPPED: Final = ZLIB | GZIP

    @staticmethod
    def possible(method: int) -> bool:
        """Whether it is one: no file is compressed twice, and what is expanded is a source."""
        if not 0 <= method < 2 * Method.PROGRAM or method & Method.ZIPPED == Method.ZIPPED:
            return False
        return method & (Method.EXPANDED | Method.DELTA) != Method.EXPANDED


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a file is made.

    ``source`` is the decoded path of its source, ``size`` the bytes that its operations
    make, or what is inserted; ``head`` the header of the gzip file, ``ends`` the bytes of
    content in each of its blocks but the last where those are not zlib's.
    """

    method: int
    size: int
    source: bytes = b""
    head: bytes = b""
    ends: tuple[int, ...] = ()

    @property
    def zipped(self) -> bool:
        """Whether the file is a gzip file that is compressed again."""
        return bool(self.method & Method.ZIPPED)


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
    """Yield what is in the file, which may be to be ``compressed`` yet.

    It has to be read to its end, for the streams to be in step.

    Raises:
        Damaged: the operations make more or less than they should.
    """
    if recipe.method & Method.DELTA:
        return _operated(recipe, source, streams)
    return _inserted(streams, _literal(recipe), recipe.size)


def compressed(recipe: Recipe, content: bytes) -> bytes:
    """Return the gzip file of a recipe for one."""
    if recipe.method & Method.ZLIB:
        return by_zlib(content, recipe.head)
    return by_gzip(content, recipe.head, recipe.ends)


def _literal(recipe: Recipe) -> Role:
    return Role.CODE if recipe.method & Method.PROGRAM else Role.LITERAL


def _inserted(streams: Streams, role: Role, size: int) -> Iterator[bytes]:
    while size:
        step = min(size, _PIECE)
        yield streams[role].read(step)
        size -= step


def _operated(recipe: Recipe, source: Source, streams: Streams) -> Iterator[bytes]:
    literal, left, place = _literal(recipe), recipe.size, 0
    while left:
        batch = read_batch(streams, literal, left)
        left -= batch.size
        try:
            piece, place = _applied(batch, source, place)
        except _Astray:
            raise Damaged(f"{streams.what}: damaged: an operation leads out of a file") from None
        yield piece


class _Astray(Exception):
    """An operation begins where no file is."""


def _applied(batch: Batch, source: Source, place: int) -> tuple[bytes, int]:
    """Return what a batch makes, which begins at ``place`` of the source, and where it ends."""
    copies, adds, inserts, moves = batch.columns
    read = source.read
    copied, under = list[bytes](), list[bytes]()
    for copy, add, move in zip(copies, adds, moves, strict=True):
        if not 0 <= place <= _FURTHEST:
            raise _Astray
        copied.append(read(copy, place) if copy else b"")
        place += copy
        if add:
            under.append(read(add, place))
        place += add + ((move >> 1) ^ -(move & 1))
    sums, inserted = added(b"".join(under), batch.diff), batch.inserted
    parts = list[bytes]()
    at = taken = 0
    for one, add, insert in zip(copied, adds, inserts, strict=True):
        parts += one, sums[at : at + add], inserted[taken : taken + insert]
        at += add
        taken += insert
    return b"".join(parts), place


def added(one: bytes, other: bytes) -> bytes:
    """Return the sums of the bytes, modulo 256, of two strings of one length, up to a batch's."""
    low, high = _masks()
    # The highest bits are added apart, so that nothing is carried from byte to byte.
    left, right = int.from_bytes(one, "little"), int.from_bytes(other, "little")
    total = ((left & low) + (right & low)) ^ ((left ^ right) & high)
    return total.to_bytes(len(one), "little")


@cache
def _masks() -> tuple[int, int]:
    """Return the low bits of all bytes, and the highest."""
    low, high = (int.from_bytes(bits * BYTES, "little") for bits in (b"\x7f", b"\x80"))
    return low, high
