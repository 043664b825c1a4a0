"""How one file is made of another: operations on its source, and what was gzip before.

An operation copies some bytes of the source, then adds bytes to some more of them,
then inserts others, then moves the place in the source (C. Percival, Naive
differences of executable code, 2003; the copy, which is an addition of nothing,
keeps long runs of zeros out of the pack). Where the result is a gzip file, the
operations make what is in it, and it is compressed again.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import accumulate, chain, repeat
from typing import TYPE_CHECKING, Any, Final, Protocol

from rootman.packs.batches import BYTES, read_batch, signed
from rootman.packs.format import Role
from rootman.packs.gzipped import by_gzip, by_zlib
from rootman.packs.streams import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
    SIBLING: Final = 32
    """The source is a file that the pack made before."""

    ZIPPED: Final = ZLIB | GZIP

    @staticmethod
    def possible(method: int) -> bool:
        """Whether it is one: no file is compressed twice, and of sources is said what they are."""
        if not 0 <= method < 2 * Method.SIBLING or method & Method.ZIPPED == Method.ZIPPED:
            return False
        return bool(method & Method.DELTA) or not method & (Method.EXPANDED | Method.SIBLING)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a file is made.

    ``source`` is the decoded path of its source, or its SHA-256 with ``Method.SIBLING``;
    ``size`` the bytes that its operations make, or what is inserted; ``head`` the header of
    the gzip file, ``ends`` the bytes of content in each of its blocks but the last where
    those are not zlib's.
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
    """The bytes of an old file, as those of an open one; it may have fewer than are asked for.

    A file that is not the one that the pack was made for gives wrong bytes, which the hash of
    the result shows, and the streams stay in step.
    """

    def seek(self, place: int, /) -> object:
        """Read from ``place`` on, which may be behind the end."""
        ...

    def read(self, size: int, /) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end."""
        ...


Memory = BytesIO
"""A source in memory."""


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
        except (_Astray, OverflowError):  # a place that this machine has no number for
            raise Damaged(f"{streams.what}: damaged: an operation leads out of a file") from None
        yield piece


class _Astray(Exception):
    """An operation begins where no file is."""


def _applied(batch: Batch, source: Source, place: int) -> tuple[bytes, int]:
    """Return what a batch makes, which begins at ``place`` of the source, and where it ends.

    Each step is done for all operations at once, and by C: a loop over them would take most
    of the time.
    """
    copies, adds, inserts, moves = batch.columns
    steps = map(operator.add, map(operator.add, copies, adds), signed(moves))
    *begins, end = accumulate(steps, initial=place)
    if min(begins) < 0 or max(begins) > _FURTHEST:
        raise _Astray
    read = source.read
    turns = zip(map(source.seek, begins), map(read, copies), map(read, adds), strict=True)
    parts: list[Any] = list(chain.from_iterable(turns))
    under = b"".join(parts[2::3])
    if len(under) < len(batch.diff):
        under = b"".join(_filled(parts[2::3], adds))
    parts[::3] = parts[1::3]
    parts[1::3] = _cut(added(under, batch.diff), adds)
    parts[2::3] = _cut(batch.inserted, inserts)
    made = b"".join(parts)
    if len(made) < batch.size:
        parts[::3] = _filled(parts[::3], copies)
        made = b"".join(parts)
    return made, end


def _filled(pieces: Iterable[bytes], sizes: Sequence[int]) -> Iterable[bytes]:
    """Return the pieces with zeros for what the source has not (PK-10)."""
    return map(bytes.ljust, pieces, sizes, repeat(b"\0"))


def _cut(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Yield ``data`` in pieces of these sizes."""
    return map(BytesIO(data).read, sizes)


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
