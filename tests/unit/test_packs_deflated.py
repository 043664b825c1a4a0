"""Where the blocks of deflated streams end."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman.packs.deflated import block_sizes
from rootman.packs.gzipped import by_gzip, expand

_RANDOM = random.Random(6)
_WORDS = [_RANDOM.randbytes(_RANDOM.randrange(1, 7)).hex().encode() for _ in range(500)]
TEXT = b" ".join(_RANDOM.choice(_WORDS) for _ in range(30_000))


def deflated(parts: list[bytes], level: int, strategy: int) -> bytes:
    """Return a stream in which a block ends with each of the parts."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    found = b"".join(deflate.compress(part) + deflate.flush(zlib.Z_BLOCK) for part in parts)
    return found + deflate.flush()


_PART = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.tuples(st.integers(0, len(TEXT) - 1), st.integers(1, 9000)).map(
        lambda one: TEXT[one[0] : one[0] + one[1]]
    ),
    st.integers(1, 5000).map(bytes),
)
_STRATEGIES = [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE]


@given(st.lists(_PART, max_size=6), st.integers(0, 9), st.sampled_from(_STRATEGIES))
def test_blocks_are_found_where_they_were_ended(
    parts: list[bytes], level: int, strategy: int
) -> None:
    """PK-9: of any kind: stored, with the fixed codes, and with codes of their own."""
    found = list(block_sizes(deflated(parts, level, strategy)))

    assert sum(found) == sum(map(len, parts))
    ends = {sum(found[:number]) for number in range(len(found) + 1)}
    assert ends >= {sum(map(len, parts[:number])) for number in range(len(parts) + 1)}


@pytest.mark.parametrize("level", range(10))
def test_a_long_stream_has_many_blocks(level: int) -> None:
    """PK-9."""
    found = list(block_sizes(deflated([TEXT * 3], level, zlib.Z_DEFAULT_STRATEGY)))

    assert sum(found) == 3 * len(TEXT)
    assert len(found) > 1


def test_a_block_ends_where_it_is_said() -> None:
    """PK-9: so a reader makes the blocks of the program gzip."""
    ends = (1000, 20_000, 3)
    head = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03"
    made = by_gzip(TEXT[:40_000], head, ends)

    assert expand(made) == TEXT[:40_000]
    assert tuple(block_sizes(made[len(head) :])) == (*ends, 40_000 - sum(ends))
