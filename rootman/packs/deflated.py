"""Where the blocks of a deflated stream (RFC 1951) end (the publisher's side). Pure.

zlib expands a stream, and does not tell. So its symbols are walked over once more, and
their lengths added up. Out of scope: streams that are not known to be sound.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STORED, _FIXED = 0, 1
_END: Final = 256
_LENGTH_BITS: Final = (*(0,) * 8, *(bits for bits in range(1, 6) for _ in range(4)), 0)
_LENGTHS: Final = (
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115,
    131, 163, 195, 227, 258,
)  # fmt: skip
_CODE_LENGTHS: Final = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
_FIXED_LITERALS: Final = (8,) * 144 + (9,) * 112 + (7,) * 24 + (8,) * 8
_FIXED_DISTANCES: Final = (5,) * 30
_REFILL: Final = 64  # bits
_MOST: Final = 48  # bits of a symbol with all that belongs to it

_Table = tuple[list[int], int]
"""The symbol and its bits, ``symbol << 4 | bits``, for all next bits that the mask leaves."""


class _Bits:
    """A string of bits, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0  # of the next byte that is not in the buffer
        self.buffer = 0
        self.count = 0

    def take(self, count: int) -> int:
        """Return the next bits as a number."""
        self.fill()
        found = self.buffer & ((1 << count) - 1)
        self.buffer >>= count
        self.count -= count
        return found

    def fill(self) -> None:
        """Have as many bits ahead as are looked at together; behind the end are zeros."""
        if self.count < _MOST:
            more = self.data[self.at : self.at + _REFILL // 8]
            self.buffer |= int.from_bytes(more, "little") << self.count
            self.at += _REFILL // 8
            self.count += _REFILL

    def symbol(self, table: _Table) -> int:
        """Return the next symbol."""
        self.fill()
        found = table[0][self.buffer & table[1]]
        self.take(found & 15)
        return found >> 4

    def skip_stored(self) -> int:
        """Pass over a block that is not compressed; return its bytes."""
        self.take(self.count % 8)
        size = self.take(16)
        self.take(16)
        self.at += size - self.count // 8
        self.buffer = self.count = 0
        return size


def block_sizes(stream: bytes) -> Iterator[int]:
    """Yield the bytes of content of each block of a sound stream, the last one's too."""
    bits = _Bits(stream)
    is_last = 0
    while not is_last:
        is_last, kind = bits.take(1), bits.take(2)
        if kind == _STORED:
            yield bits.skip_stored()
        elif kind == _FIXED:
            yield _skip(bits, _table(_FIXED_LITERALS), _table(_FIXED_DISTANCES))
        else:
            literals, distances = _lengths(bits)
            yield _skip(bits, _table(literals), _table(distances))


def _skip(bits: _Bits, literals: _Table, distances: _Table) -> int:
    """Pass over a compressed block; return its bytes of content.

    Nearly all of the work is here: so on local names, and with nothing called.
    """
    (symbols, symbol_mask), (places, place_mask) = literals, distances
    data, at, buffer, count = bits.data, bits.at, bits.buffer, bits.count
    size = 0
    while True:
        if count < _MOST:
            buffer |= int.from_bytes(data[at : at + 8], "little") << count
            at += 8
            count += _REFILL
        found = symbols[buffer & symbol_mask]
        used, symbol = found & 15, found >> 4
        if symbol < _END:
            size += 1
        elif symbol == _END:
            break
        else:
            extra = _LENGTH_BITS[symbol - _END - 1]
            size += _LENGTHS[symbol - _END - 1] + (buffer >> used & ((1 << extra) - 1))
            used += extra
            found = places[buffer >> used & place_mask]
            used += (found & 15) + max((found >> 5) - 1, 0)
        buffer >>= used
        count -= used
    bits.at, bits.buffer, bits.count = at, buffer >> used, count - used
    return size


def _lengths(bits: _Bits) -> tuple[list[int], list[int]]:
    """Return the lengths of the codes of a block: of literals and lengths, and of distances."""
    literals, distances, count = bits.take(5) + 257, bits.take(5) + 1, bits.take(4) + 4
    own = [0] * len(_CODE_LENGTHS)
    for place in _CODE_LENGTHS[:count]:
        own[place] = bits.take(3)
    table, found = _table(own), list[int]()
    while len(found) < literals + distances:
        match bits.symbol(table):
            case 16:
                found += found[-1:] * (3 + bits.take(2))
            case 17:
                found += [0] * (3 + bits.take(3))
            case 18:
                found += [0] * (11 + bits.take(7))
            case length:
                found.append(length)
    return found[:literals], found[literals:]


def _table(lengths: Sequence[int]) -> _Table:
    """Return the symbols of codes with these lengths, by the bits that come next."""
    most = max(*lengths, 1)
    table, code = [0] * (1 << most), 0
    ordered = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
    for (length, symbol), (following, _) in pairwise([*ordered, (most, 0)]):
        first = int(f"{code:0{length}b}"[::-1], 2)
        table[first :: 1 << length] = [symbol << 4 | length] * (1 << most - length)
        code = code + 1 << following - length
    return table, (1 << most) - 1
