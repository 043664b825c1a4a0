"""One file made of another, and of nothing, by what the publisher found out."""

from __future__ import annotations

import gzip
import random
import subprocess
import zlib
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman.packs import differences
from rootman.packs.differences import Candidate, Made
from rootman.packs.format import Role
from rootman.packs.gzipped import EXPANDED_LIMIT, HEAD_LIMIT, by_gzip, by_zlib, expand
from rootman.packs.recipe import Memory, Method, Recipe, added, compressed, made
from rootman.packs.streams import Damaged, Streams
from tests.packing import Feed, header, lzma2

RANDOM = random.Random(5)
NOISE = RANDOM.randbytes(40_000)
_WORDS = [RANDOM.randbytes(RANDOM.randrange(1, 9)).hex().encode() for _ in range(3000)]
# So long that zlib and gzip divide it in other ways.
LONG = b" ".join(RANDOM.choice(_WORDS) for _ in range(20_000))
TEXT = b"".join(b"line %d of a text that is long enough\n" % number for number in range(900))


class _Feeds:
    """The streams of one file."""

    def __init__(self, streams: dict[Role, bytes]) -> None:
        empty = {role: Feed(b"") for role in Role}
        self._feeds = {**empty, **{role: Feed(lzma2(data)) for role, data in streams.items()}}

    def take(self, role: Role) -> bytes:
        return self._feeds[role].take(role)


def streams_of(one: Made) -> Streams:
    return Streams(_Feeds(one.streams), header(), "pack")


def remade(one: Made, old: bytes | None) -> bytes:
    """Return what a reader makes of a recipe, and see that no stream has more."""
    source = old or b""
    if one.recipe.method & Method.EXPANDED:
        source = expand(source) or b""
    streams = streams_of(one)
    content = b"".join(made(one.recipe, Memory(source), streams))
    if one.recipe.zipped:
        content = compressed(one.recipe, content)
    for role in Role:
        with pytest.raises(Damaged, match="ends too early"):
            streams[role].read(1)
    assert Method.possible(one.recipe.method)
    return content


def best(new: bytes, old: bytes | None = None, source: bytes = b"") -> Made:
    """Return the best way to make ``new``, of another or of none."""
    return differences.best(new, [] if old is None else [Candidate(source, old)])


def delta(old: bytes, new: bytes) -> Made:
    """Return how ``new`` is made of ``old``, also where another way is better."""
    return Made(Recipe(Method.DELTA, len(new), b"old"), differences._delta(old, new))


@st.composite
def edited(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return two strings of bytes: the second is pieces of the first in any order, and others."""
    old = draw(st.one_of(st.binary(max_size=200), st.just(NOISE[:5000]), st.just(bytes(700))))
    parts = []
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(old)))
        part = old[start : start + draw(st.integers(0, 2000))]
        match draw(st.sampled_from(("kept", "added", "other", "zeros"))):
            case "kept":
                parts.append(part)
            case "added":
                every = draw(st.integers(1, 50))
                parts.append(bytes((b + (i % every == 0)) & 255 for i, b in enumerate(part)))
            case "other":
                parts.append(draw(st.binary(max_size=100)))
            case "zeros":
                parts.append(bytes(draw(st.integers(0, 600))))
    return old, b"".join(parts)


@given(edited())
def test_a_file_is_made_of_any_other(pair: tuple[bytes, bytes]) -> None:
    """PK-9, PK-10."""
    old, new = pair

    assert remade(best(new, old, b"old"), old) == new
    assert remade(delta(old, new), old) == new
    assert remade(best(new), None) == new


@given(edited(), st.integers(1, 300), st.integers(1, 100))
def test_large_files_are_compared_piece_by_piece(
    pair: tuple[bytes, bytes], piece: int, margin: int
) -> None:
    """PK-10: as with 32 MiB, so with less; there are never more operations than bytes and one."""
    old, new = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differences, "_PIECE", piece)
        patch.setattr(differences, "_MARGIN", margin)

        assert remade(delta(old, new), old) == new


def test_a_large_file_finds_itself_again() -> None:
    """The window goes along, so that what moved a little is not sent."""
    new = NOISE[:9000] + b"inserted" * 20 + NOISE[9000:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differences, "_PIECE", 4096)
        patch.setattr(differences, "_MARGIN", 1024)

        found = delta(NOISE, new)

    assert remade(found, NOISE) == new
    assert len(found.streams[Role.LITERAL]) < 1000
    assert not any(found.streams[Role.DIFF])


@given(st.binary(), st.binary())
def test_bytes_are_added_modulo_256(one: bytes, other: bytes) -> None:
    """PK-10."""
    size = min(len(one), len(other))
    one, other = one[:size], other[:size]

    assert added(one, other) == bytes((a + b) & 255 for a, b in zip(one, other, strict=True))


def test_a_source_is_used_where_it_helps() -> None:
    similar = TEXT[:5000] + b"changed" + TEXT[5007:]

    assert best(similar, TEXT).recipe.method == Method.DELTA
    assert best(similar, TEXT).recipe.source == b""
    assert best(similar, TEXT, b"b").recipe.source == b"b"
    plain = best(TEXT, NOISE, b"b")
    assert (plain.recipe.method, plain.recipe.source) == (Method.PLAIN, b"")
    assert plain.streams == {Role.LITERAL: TEXT}


def test_long_runs_that_stay_are_copied() -> None:
    """PK-10: what is copied takes no byte of any stream but its number."""
    new = NOISE[:20_000] + b"x" + NOISE[20_001:]

    found = delta(NOISE, new)

    assert found.streams[Role.COPY]
    assert len(found.streams[Role.DIFF]) < 200
    assert remade(found, NOISE) == new


def test_a_short_likeness_is_not_worth_an_operation() -> None:
    """Of words of 20 bytes in another order, each between others, none is taken from the source."""
    places = list(range(0, 20_000, 200))
    RANDOM.shuffle(places)
    scraps = b"".join(NOISE[at : at + 20] + RANDOM.randbytes(20) for at in places)
    new = NOISE[20_000:30_000] + scraps + NOISE[30_000:]

    found = delta(NOISE, new)

    assert remade(found, NOISE) == new
    assert found.streams[Role.LITERAL] == scraps
    assert len(found.streams[Role.SEEK]) < 10


@pytest.mark.parametrize("machine", [3, 62])
def test_programs_go_into_their_own_stream(machine: int) -> None:
    """PK-9: where they are not made of another."""
    program = b"\x7fELF" + bytes(14) + bytes([machine, 0]) + NOISE[:3000]

    found = best(program)

    assert found.recipe.method == Method.PROGRAM
    assert set(found.streams) == {Role.CODE}
    assert remade(found, None) == program


@pytest.mark.parametrize(
    "content", [b"\x7fELF", b"\x7fELF" + bytes(14) + b"\xb7\0" + bytes(99), b"ELF" * 9]
)
def test_others_do_not(content: bytes) -> None:
    found = best(content)

    assert set(found.streams) == {Role.LITERAL}
    assert remade(found, None) == content


def gzipped(content: bytes, how: str) -> bytes:
    if how == "zlib":
        return gzip.compress(content, 9, mtime=5)
    command = ["gzip", "-9c"] if how == "gzip" else ["gzip", "-9nc"]
    return subprocess.run(command, input=content, stdout=subprocess.PIPE, check=True).stdout


HEADS = {
    "name": b"\x1f\x8b\x08\x08\0\0\0\0\x02\x03changelog\0",
    "comment": b"\x1f\x8b\x08\x10\0\0\0\0\x02\x03said\0",
    "extra": b"\x1f\x8b\x08\x04\0\0\0\0\x02\x03\x03\0abc",
    "all": b"\x1f\x8b\x08\x1e\0\0\0\0\x02\x03\x01\0ename\0comment\0",
}


@pytest.mark.parametrize("how", ["zlib", "gzip", "gzip -n"])
@pytest.mark.parametrize("content", [b"", b"x", TEXT, NOISE], ids=["empty", "x", "text", "noise"])
def test_gzip_files_are_made_again(how: str, content: bytes) -> None:
    """PK-9: of what is in them, or of what is in another."""
    new = gzipped(content, how)
    old = gzipped(TEXT + b"the end\n", "gzip")

    for source in (None, old, TEXT, b"\x1f\x8b\x08no gzip"):
        found = best(new, source, b"b")
        assert found.recipe.zipped
        assert remade(found, source) == new
    assert best(gzipped(TEXT, how), old, b"b").recipe.method & Method.EXPANDED


@pytest.mark.parametrize(
    ("how", "method"), [("zlib", Method.ZLIB), ("gzip", Method.GZIP), ("gzip -n", Method.GZIP)]
)
def test_zlib_and_gzip_are_told_apart(how: str, method: int) -> None:
    """PK-9."""
    new = gzipped(LONG, how)

    found = best(new, gzipped(LONG[:90_000] + b"!" + LONG[90_000:], "gzip"))

    assert found.recipe.method == method | Method.DELTA | Method.EXPANDED
    assert remade(found, gzipped(LONG[:90_000] + b"!" + LONG[90_000:], "gzip")) == new


def test_blocks_that_gzip_ends_early() -> None:
    """PK-9: as it does where few matches make a file much smaller."""
    phrase = b"what stands everywhere in the file"
    mixed = b"".join(phrase + RANDOM.randbytes(3) for _ in range(8000))
    new = gzipped(mixed, "gzip")

    found = best(new)

    assert found.recipe.method == Method.GZIP
    assert found.recipe.ends[0] < len(mixed) // 4
    assert remade(found, None) == new


@pytest.mark.parametrize("flags", HEADS)
def test_gzip_headers_are_kept(flags: str) -> None:
    """PK-9."""
    head = HEADS[flags]
    if flags == "all":
        head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    for new in (by_zlib(TEXT, head), by_gzip(TEXT, head, ())):
        assert gzip.decompress(new) == TEXT
        found = best(new)
        assert (found.recipe.head, found.recipe.size) == (head, len(TEXT))
        assert remade(found, None) == new


@pytest.mark.parametrize(
    "new",
    [
        gzip.compress(TEXT, 1),
        gzip.compress(TEXT) + b"\0",
        gzip.compress(TEXT) * 2,
        gzip.compress(TEXT)[:-1],
        gzip.compress(TEXT)[:300] + b"?" + gzip.compress(TEXT)[301:],
        b"\x1f\x8b\x08",
        b"\x1f\x8b",
        by_zlib(TEXT, HEADS["name"][:-1] + b"n" * HEAD_LIMIT + b"\0"),
    ],
    ids=["level", "zero", "two", "cut", "wrong", "start", "magic", "head"],
)
def test_other_gzip_files_are_bytes_like_any(new: bytes) -> None:
    """PK-9."""
    for old in (None, gzip.compress(TEXT + b"x"), new[:200]):
        found = best(new, old, b"b")
        assert not found.recipe.zipped
        assert remade(found, old) == new


def test_what_is_in_a_gzip_file_has_a_limit() -> None:
    """PK-9, PK-12: what its reader would not expand, the publisher does not."""
    most = bytes(EXPANDED_LIMIT - 1)

    assert expand(gzip.compress(most, 1)) == most
    assert expand(gzip.compress(most + b"12", 1)) is None
    stored = gzip.compress(random.Random(1).randbytes(EXPANDED_LIMIT - 1), 0)
    assert len(stored) > EXPANDED_LIMIT
    assert expand(stored) is None


def test_blocks_that_end_elsewhere_make_another_file() -> None:
    """PK-2: which its hash shows."""
    new = gzipped(LONG, "gzip -n")
    recipe = best(new).recipe

    assert remade(Made(recipe, {Role.LITERAL: LONG}), None) == new
    assert len(recipe.ends) > 0
    other = replace(recipe, ends=(*recipe.ends[:-1], recipe.ends[-1] + 1))
    assert gzip.decompress(remade(Made(other, {Role.LITERAL: LONG}), None)) == LONG
    assert remade(Made(other, {Role.LITERAL: LONG}), None) != new


def test_equal_files_and_empty_ones() -> None:
    assert remade(best(NOISE, NOISE, b"b"), NOISE) == NOISE
    assert len(best(NOISE, NOISE, b"b").streams[Role.DIFF]) == 0
    halves = NOISE[:10_000] * 2
    assert remade(best(halves, NOISE[:10_000], b"b"), NOISE[:10_000]) == halves
    assert remade(delta(b"", NOISE), b"") == NOISE
    assert remade(delta(NOISE, b""), NOISE) == b""


def test_sizes_of_streams_are_as_they_were_measured() -> None:
    """What a delta of a small change costs, so that a worse one is noticed."""
    sizes: dict[Role, int] = defaultdict(int)
    new = bytearray(TEXT)
    for at in range(0, len(new), 3000):
        new[at] ^= 1
    for role, data in delta(TEXT, bytes(new)).streams.items():
        sizes[role] += len(data)

    assert sizes[Role.LITERAL] + sizes[Role.DIFF] < 600
