"""The operations of a delta, a batch at a time, as they stand in a pack (PK-10). Pure.

The numbers of a batch are a column for each kind, all of one width, and in a column all
lowest bytes come first: so they are read at once, whatever Python takes for one.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from rootman.packs.format import Role, number
from rootman.packs.streams import Damaged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootman.packs.streams import Streams

OPERATIONS: Final = 1 << 14
"""In a batch, at most."""
BYTES: Final = 1 << 20
"""That a batch makes, at most."""

COLUMNS: Final = (Role.COPY, Role.ADD, Role.INSERT, Role.SEEK)
_TYPES: Final = "BHIQ"  # of one, two, four and eight bytes
_SIGNED: Final = "bhiq"
_POWER_BITS: Final = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """Some operations: ``columns`` are their numbers, in the order of ``COLUMNS``.

    ``diff`` are the bytes that they add, ``inserted`` those that they insert, ``size`` is
    how many they make.
    """

    columns: tuple[Sequence[int], ...]
    diff: bytes
    inserted: bytes
    size: int


def read_batch(streams: Streams, literal: Role, left: int) -> Batch:
    """Return the next batch of a file that lacks ``left`` bytes; ``literal`` has its inserts.

    Raises:
        Damaged: it is none that can be.
    """
    files = streams[Role.FILES]
    count, powers = files.number(), files.number()
    if not 0 < count <= OPERATIONS:
        raise Damaged(f"{streams.what}: damaged: too many operations, or none")
    columns: list[Sequence[int]] = []
    for place, role in enumerate(COLUMNS):
        power = powers >> place * _POWER_BITS & 3
        columns.append(_numbers(streams[role].read(count << power), power))
    copies, adds, inserts = map(sum, columns[:3])
    size = copies + adds + inserts
    if not 0 < size <= min(left, BYTES):
        raise Damaged(f"{streams.what}: damaged: operations that make too much, or nothing")
    diff, inserted = streams[Role.DIFF].read(adds), streams[literal].read(inserts)
    return Batch(tuple(columns), diff, inserted, size)


def written(columns: Sequence[Sequence[int]]) -> dict[Role, bytes]:
    """Return how a batch of such numbers stands in ``FILES`` and in the stream of each column."""
    powers, found = 0, dict[Role, bytes]()
    for place, (role, column) in enumerate(zip(COLUMNS, columns, strict=True)):
        width = max(max(column).bit_length() + 7 >> 3, 1)
        power = (width - 1).bit_length()
        powers |= power << place * _POWER_BITS
        found[role] = _column(column, power)
    return {Role.FILES: number(len(columns[0])) + number(powers), **found}


def signed(column: Sequence[int]) -> Sequence[int]:
    """Return the whole numbers that those of a column of ``SEEK`` stand for (PK-10).

    All at once: for Python the column is one large number, so that C calculates with it.
    """
    data = memoryview(cast("bytes | array[int]", column))
    width, order = data.itemsize, sys.byteorder
    whole = int.from_bytes(data.cast("B"), order)
    odd = whole & int.from_bytes((b"\1" + bytes(width - 1)) * len(data), "little")
    # Those that are odd are below 0: all bits of them are turned over.
    whole = (whole ^ odd) >> 1 ^ odd * ((1 << 8 * width) - 1)
    found = array(_SIGNED[width.bit_length() - 1])
    found.frombytes(whole.to_bytes(data.nbytes, order))
    return found


def _column(values: Sequence[int], power: int) -> bytes:
    found = array(_TYPES[power], values)
    if sys.byteorder == "big":
        found.byteswap()
    data = found.tobytes()
    return b"".join(data[place :: 1 << power] for place in range(1 << power))


def _numbers(data: bytes, power: int) -> Sequence[int]:
    """Return the numbers of a column, each of two to the ``power`` bytes."""
    if not power:
        return data
    width, count = 1 << power, len(data) >> power
    mixed = bytearray(len(data))
    for place in range(width):
        mixed[place::width] = data[place * count : (place + 1) * count]
    found = array(_TYPES[power])
    found.frombytes(mixed)
    if sys.byteorder == "big":
        found.byteswap()
    return found
