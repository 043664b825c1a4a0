"""Operations in batches, and the numbers of each in columns."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman.packs import differences
from rootman.packs.batches import BYTES, COLUMNS, OPERATIONS, read_batch, written
from rootman.packs.format import Role
from rootman.packs.streams import Streams
from tests.packing import Feed, header, lzma2, numbers

_NUMBER = st.one_of(st.integers(0, 300), st.integers(0, 2**17), st.integers(0, 2**63 - 1))


class _Feeds:
    def __init__(self, streams: dict[Role, bytes]) -> None:
        self._feeds = {role: Feed(lzma2(streams.get(role, b""))) for role in Role}

    def take(self, role: Role) -> bytes:
        return self._feeds[role].take(role)


def _streams(found: dict[Role, bytes]) -> Streams:
    return Streams(_Feeds(found), header(), "pack")


@given(st.lists(st.tuples(st.integers(0, 40), _NUMBER), min_size=1, max_size=60))
def test_a_batch_is_read_as_it_was_written(rows: list[tuple[int, int]]) -> None:
    """PK-10: each column as wide as its largest number."""
    copies, moves = zip(*rows, strict=True)
    nothing = (0,) * len(rows)
    adds, inserts = (1, *nothing[1:]), (2, *nothing[1:])
    found = written([copies, adds, inserts, moves])

    batch = read_batch(
        _streams({**found, Role.DIFF: b"d", Role.CODE: b"in"}), Role.CODE, 3 + sum(copies)
    )

    assert [tuple(column) for column in batch.columns] == [copies, adds, inserts, moves]
    assert (batch.diff, batch.inserted, batch.size) == (b"d", b"in", 3 + sum(copies))
    for role, column in zip(COLUMNS, (copies, adds, inserts, moves), strict=True):
        width = next(one for one in (1, 2, 4, 8) if max(column) < 1 << 8 * one)
        assert len(found[role]) == width * len(rows)


def test_numbers_stand_byte_by_byte() -> None:
    """PK-10: the lowest bytes of all come first."""
    found = written([(1, 0x302), (0, 0), (0, 0xFFFF), (0x0A0B0C0D, 5)])

    assert found == {
        Role.FILES: numbers(2, 0b10_01_00_01),
        Role.COPY: b"\x01\x02\x00\x03",
        Role.ADD: b"\0\0",
        Role.INSERT: b"\x00\xff\x00\xff",
        Role.SEEK: b"\x0d\x05\x0c\x00\x0b\x00\x0a\x00",
    }


def test_large_operations_are_cut() -> None:
    """PK-10: what a publisher writes fits into batches."""
    old = random.Random(8).randbytes(3000)
    size = 2 * BYTES + 5
    operations: list[differences._Operation] = [
        (size, b"", b"", 7),
        (0, b"a" * size, b"b" * size, -3),
        *[(0, b"", b"x", 1)] * (OPERATIONS + 1),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differences, "_operations", lambda _old, _new: iter(operations))
        found = differences._delta(old, b"")

    streams, left = _streams(found), 3 * size + OPERATIONS + 1
    moves = 0
    while left:
        batch = read_batch(streams, Role.LITERAL, left)
        moves += sum((move >> 1) ^ -(move & 1) for move in batch.columns[3])
        left -= batch.size
    assert moves == 7 - 3 + OPERATIONS + 1
