"""Packs that are damaged or made to do damage: refused, or of no use, in bounded memory."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING, Final

import pytest
import zstandard

from rootman.manifest import MAX_LINE
from rootman.packs import streams
from rootman.packs.batches import BYTES, OPERATIONS
from rootman.packs.format import CHUNK, Codec, Coding, Role, chunk
from rootman.packs.gzipped import ENDS_LIMIT, EXPANDED_LIMIT, HEAD_LIMIT
from rootman.packs.recipe import Method, Recipe, made
from rootman.packs.revision import revise
from rootman.packs.streams import Damaged, PackFile, Stream, Streams
from tests.builders import directory, file
from tests.fuzz.model import manifest_of
from tests.packing import (
    Feed,
    Read,
    batch,
    crafted,
    files_of,
    header,
    lzma2,
    numbers,
    read,
)

if TYPE_CHECKING:
    from tests.builders import Tree

MIB: Final = 1 << 20
RANDOM = random.Random(3)
SOURCE: Final = RANDOM.randbytes(300)
OLD: Final[Tree] = {".": directory(), "s": file(SOURCE)}


def attempt(content: bytes, record: bytes, *batches: dict[Role, bytes], **streams: bytes) -> Read:
    """Read a pack whose one file, ``content`` at ``f``, has this record and these streams."""
    old, new = manifest_of(OLD), manifest_of({".": directory(), "f": file(content)})
    found = {
        Role.MANIFEST: b"".join(revise([old], [new])),
        Role.FILES: numbers(1, 1) + record,
    }
    for one in (*batches, {Role[name.upper()]: data for name, data in streams.items()}):
        for role, data in one.items():
            found[role] = found.get(role, b"") + data
    return read(crafted(found, old, new), old, new, files_of(OLD))


def delta(source: bytes = b"s") -> bytes:
    """Return what a record has besides the lines that it skips."""
    return numbers(Method.DELTA, len(source)) + source


# --- PK-6, PK-7: chunks ----------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"\x09\1\0x",
        b"\xff\1\0x",
        b"\0\1\x80" + bytes(CHUNK + 1),
        b"\1\0\0" * 2,
        b"\1\0\0\1\1\0x",
        b"\0",
        b"\0\1",
        b"\0\2\0x",
    ],
    ids=["9", "255", "long", "ended twice", "ended", "cut in head", "cut", "cut in data"],
)
def test_what_is_no_chunk_is_refused(body: bytes) -> None:
    """PK-6."""
    with pytest.raises(Damaged, match=r"^pack: (damaged: not a chunk|cut off)$"):
        PackFile(io.BytesIO(header().serialise() + body), "pack").take(Role.MANIFEST)


def test_a_chunk_without_data_is_the_end() -> None:
    """PK-6: whatever comes later, and at the end of the file all have ended."""
    body = chunk(Role.FILES, b"x") + chunk(Role.FILES, b"") + chunk(Role.MANIFEST, b"y")
    found = PackFile(io.BytesIO(header().serialise() + body), "pack")

    assert [found.take(Role.FILES) for _ in range(3)] == [b"x", b"", b""]
    assert [found.take(Role.MANIFEST) for _ in range(3)] == [b"y", b"", b""]
    found = PackFile(io.BytesIO(header().serialise() + body), "pack")
    assert found.take(Role.MANIFEST) == b"y"
    assert [found.take(Role.FILES) for _ in range(3)] == [b"x", b"", b""]


@pytest.mark.parametrize("size", [CHUNK, 1000, 2])
def test_chunks_may_be_early_up_to_a_limit(size: int) -> None:
    """PK-7."""
    early = chunk(Role.CODE, b"e" * size) * (MIB // size)
    rest = chunk(Role.DIFF, b"e" * (MIB % size)) if MIB % size else b""
    wanted = chunk(Role.MANIFEST, b"now")

    found = PackFile(io.BytesIO(header().serialise() + early + rest + wanted), "pack")
    assert found.take(Role.MANIFEST) == b"now"
    code = b"".join(iter(lambda: found.take(Role.CODE), b""))
    assert code == b"e" * (MIB // size * size)
    again = header().serialise() + early + rest + chunk(Role.ADD, b"e") + wanted
    with pytest.raises(Damaged, match=r"^pack: damaged: not in the order of use$"):
        PackFile(io.BytesIO(again), "pack").take(Role.MANIFEST)


@pytest.mark.parametrize("codec", ["lzma2", "zstd"])
def test_what_nothing_comes_of_is_refused(monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    """PK-7: empty streams, or a frame that is to be skipped; a little of them is no harm."""
    monkeypatch.setattr(streams, "_BARREN_LIMIT", 10_000)
    coding = Coding(codec, 4096)
    good = lzma2(b"good") if codec == "lzma2" else zstandard.compress(b"good")

    def of(barren: bytes) -> Stream:
        return Stream(Feed(barren + good), Role.DIFF, coding, "pack")

    def nothing(size: int) -> bytes:
        return (
            bytes(size)
            if codec == "lzma2"
            else b"\x50\x2a\x4d\x18" + size.to_bytes(4, "little") + bytes(size)
        )

    assert of(nothing(9_000)).read(4) == b"good"
    with pytest.raises(Damaged, match=r"^stream diff: damaged: nothing comes of it$"):
        of(nothing(90_000)).read(4)


def test_a_place_that_this_machine_has_no_number_for() -> None:
    """PK-10: as one with 32 bits has for what lies further than 2 GiB."""

    class Narrow(io.BytesIO):
        def seek(self, place: int, whence: int = 0, /) -> int:
            if place >= 2**31:
                raise OverflowError
            return super().seek(place, whence)

    columns = batch((0, 0, 5, 2**32), (5, 0, 5, 0))
    found = Streams(_Columns(columns), header(), "pack")
    with pytest.raises(Damaged, match="leads out of a file"):
        list(made(Recipe(Method.DELTA, 15), Narrow(SOURCE), found))


class _Columns:
    """The streams of one batch and of what it inserts."""

    def __init__(self, batch: dict[Role, bytes]) -> None:
        data = {**dict.fromkeys(Role, b""), **batch, Role.LITERAL: b"x" * 10}
        self._feeds = {role: Feed(lzma2(one)) for role, one in data.items()}

    def take(self, role: Role) -> bytes:
        return self._feeds[role].take(role)


# --- PK-9, PK-11: records --------------------------------------------------------------


def test_a_record_is_read_as_it_is_meant() -> None:
    """PK-9, PK-10: the examples that those below are broken from."""
    new = SOURCE[10:200] + b"!" * 5

    found = attempt(
        new,
        delta(),
        batch((0, 0, 0, 20), (190, 0, 5, 0)),
        literal=b"!" * 5,
    )

    assert found.files == {b"f": new}
    assert found.opened == [b"s"]


@pytest.mark.parametrize("method", [6, 7, 8, 10, 12, 22, 24, 32, 34, 40, 48, 64, 65, 2**40, 2**62])
def test_methods_that_cannot_be_are_refused(method: int) -> None:
    """PK-11."""
    head = numbers(2) + b"hd" + numbers(10) if method & 6 else b""
    with pytest.raises(Damaged, match=r"^pack: damaged: an unknown method$"):
        attempt(b"x" * 10, numbers(method) + head, literal=b"x" * 10)


@pytest.mark.parametrize("method", [0, 1, 2, 3, 4, 5, 9, 11, 13, 16, 17, 25, 33, 41, 49])
def test_all_others_are_read(method: int) -> None:
    """PK-9: what comes out of them is another matter."""
    head = numbers(2) + b"hd" + numbers(10) if method & 6 else b""
    ends = numbers(2, 3, 4) if method & 4 else b""
    tail = numbers(1) + b"s" if method & 1 else b""
    tail = bytes(32) if method & 32 else tail

    found = attempt(
        b"x" * 10,
        numbers(method) + head + ends + tail,
        *([batch((0, 0, 10, 0))] if method & 1 else []),
        **dict.fromkeys(("literal", "code"), b"x" * 10),
    )

    assert bool(found.files) != bool(method & 6)


@pytest.mark.parametrize(
    "path",
    [
        b"..",
        b"../s",
        b"a/../s",
        b"a/..",
        b"/s",
        b"/",
        b"//",
        b"a//s",
        b"a/",
        b"./s",
        b"a/./s",
        b"a\0s",
        b"\0",
        b"x" * 256,
        b"a/" * (MAX_LINE // 2) + b"aa",
    ],
)
def test_a_source_is_within_the_tree(path: bytes) -> None:
    """PK-11: or the pack is refused, before anything is opened."""
    with pytest.raises(Damaged, match=r"^pack: damaged: (a source outside|too long a name)"):
        attempt(b"x", delta(path))


@pytest.mark.parametrize("path", [b".", b"a b\n", b"\xff/\\", b"...", b"x" * 255, b"s/s"])
def test_any_path_within_it_can_be_one(path: bytes) -> None:
    """PK-10, PK-11: where there is no such file, it reads as zeros."""
    found = attempt(bytes(9), delta(path), batch((9, 0, 0, 0)))

    assert found.files == {b"f": bytes(9)}
    assert found.opened == [path]


def test_no_path_is_the_path_of_the_file() -> None:
    """PK-9."""
    found = attempt(bytes(9), delta(b""), batch((9, 0, 0, 0)))

    assert found.opened == [b"f"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (numbers(1, 0, 0), "names a file that its manifest has not"),
        (numbers(1, 2, 0), "names a file that its manifest has not"),
        (numbers(1, 2**63 - 1, 0), "names a file that its manifest has not"),
        (numbers(2, 1, 0, 0, 0), "names a file that its manifest has not"),
        (numbers(2**63 - 1, 1, 0, 0, 0), "names a file that its manifest has not"),
        (numbers(1, 1, 2, HEAD_LIMIT + 1) + bytes(HEAD_LIMIT + 1), "too long a name"),
        (numbers(1, 1, 2, 2**62), "too long a name"),
        (numbers(1, 1, 2, 0, EXPANDED_LIMIT + 1), "a gzip file of more than is allowed"),
        (numbers(1, 1, 4, 0, 2**63 - 1), "a gzip file of more than is allowed"),
        (numbers(1, 1, 4, 0, 5, 2, 3, 3), "a gzip file of more blocks than can be"),
        (numbers(1, 1, 4, 0, 5, ENDS_LIMIT + 1), "a gzip file of more blocks than can be"),
        (numbers(1, 1, 4, 0, 5, 2**63 - 1), "a gzip file of more blocks than can be"),
        (numbers(1, 1, 1, 0, 0, 0), "too many operations, or none"),
        (numbers(1, 1, 1, 0, OPERATIONS + 1, 0), "too many operations, or none"),
        (numbers(1, 1, 1, 0, 2**63 - 1, 0), "too many operations, or none"),
        (numbers(1, 1, 1, 0), "stream files: ends too early"),
        (numbers(1, 1, 1, 0, 1), "stream files: ends too early"),
        (numbers(1, 1, 1, 2**62), "too long a name"),
        (b"", "stream files: ends too early"),
        (numbers(1, 1), "stream files: ends too early"),
        (b"\x80" * 10, "stream files: damaged: a number is too long"),
    ],
)
def test_records_that_cannot_be_are_refused(files: bytes, said: str) -> None:
    """PK-9 to PK-12."""
    old, new = manifest_of(OLD), manifest_of({".": directory(), "f": file(b"x" * 10)})
    streams = {
        Role.MANIFEST: b"".join(revise([old], [new])),
        Role.FILES: files,
        Role.LITERAL: b"x" * 10,
    }

    with pytest.raises(Damaged, match=f"^pack: (damaged: )?{said}$"):
        read(crafted(streams, old, new), old, new, files_of(OLD))


# --- PK-10: operations -----------------------------------------------------------------

LARGE: Final = 2**63 - 1


@pytest.mark.parametrize(
    ("copy", "add", "insert", "seek"),
    [
        ((11,), (0,), (0,), (0,)),
        ((0,), (11,), (0,), (0,)),
        ((0,), (0,), (11,), (0,)),
        ((4,), (4,), (3,), (0,)),
        ((LARGE,), (0,), (0,), (0,)),
        ((LARGE,), (LARGE,), (LARGE,), (0,)),
        ((5, 6), (0, 0), (0, 0), (0, 0)),
        # A place before the source, or so far behind it that the system knows none.
        ((5, 5), (0, 0), (0, 0), (11, 0)),
        ((0, 10), (0, 0), (0, 0), (1, 0)),
        ((0, 0, 10), (0,) * 3, (0,) * 3, (LARGE - 1, LARGE - 1, 0)),
        ((0, 10), (0, 0), (0, 0), (LARGE, 0)),
        ((5, 0, 0, 5), (0,) * 4, (0,) * 4, (LARGE - 1, LARGE - 1, LARGE, 0)),
        # Fewer bytes than the file has.
        ((9,), (0,), (0,), (0,)),
        ((0,), (0,), (0,), (0,)),
        ((3, 3), (0, 0), (3, 0), (0, 0)),
    ],
)
def test_operations_stay_within_the_file(
    copy: tuple[int, ...], add: tuple[int, ...], insert: tuple[int, ...], seek: tuple[int, ...]
) -> None:
    """PK-10."""
    said = "damaged: an operation leads out of|damaged: operations that make|stream files: ends too"
    with pytest.raises(Damaged, match=f"^pack: ({said})"):
        attempt(
            b"x" * 10,
            delta(),
            batch(*zip(copy, add, insert, seek, strict=True)),
            diff=bytes(99),
            literal=b"x" * 99,
        )


def test_the_furthest_place_there_is() -> None:
    """PK-10: zeros are read there, and the next may be anywhere else."""
    found = attempt(
        bytes(5) + SOURCE[9:14],
        delta(),
        batch((0, 0, 0, LARGE - 1), (5, 0, 0, LARGE - 10), (5, 0, 0, LARGE)),
    )

    assert not found.wrong


@pytest.mark.parametrize("missing", ["copy", "add", "insert", "seek", "diff", "literal"])
def test_a_stream_that_ends_too_early_is_named(missing: str) -> None:
    """PK-2."""
    streams = {"files": numbers(1, 0), "copy": b"\1", "add": b"\4", "insert": b"\5", "seek": b"\0"}
    streams |= {"diff": bytes(4), "literal": b"x" * 5}

    with pytest.raises(Damaged, match=f"^pack: stream {missing}: ends too early$"):
        attempt(b"x" * 10, delta(), **{**streams, missing: b""})


def test_operations_may_come_in_any_batches() -> None:
    """PK-10: the place in the source is where the last one left it."""
    rows = [(1, 0, 0, 1)] * 50

    for size in (1, 7, 50):
        parts = [batch(*rows[at : at + size]) for at in range(0, 50, size)]
        found = attempt(SOURCE[:100:2], delta(), *[_moved(part) for part in parts])
        assert found.files == {b"f": SOURCE[:100:2]}


def _moved(part: dict[Role, bytes]) -> dict[Role, bytes]:
    """Return the batch with moves of one byte ahead."""
    return {**part, Role.SEEK: bytes([2]) * len(part[Role.SEEK])}


@pytest.mark.parametrize(
    ("most", "more"),
    [
        ((BYTES, 0, 0, 0), (BYTES + 1, 0, 0, 0)),
        ((0, BYTES, 0, 0), (0, BYTES + 1, 0, 0)),
        ((0, 0, BYTES, 0), (0, 0, BYTES + 1, 0)),
        ((BYTES - 2, 1, 1, 0), (BYTES - 1, 1, 1, 0)),
    ],
)
def test_a_batch_makes_no_more_than_it_may(
    most: tuple[int, int, int, int], more: tuple[int, int, int, int]
) -> None:
    """PK-10, PK-12: however large its file is."""
    new, content = b"x" * (BYTES + 1), {"diff": bytes(BYTES + 1), "literal": b"x" * (BYTES + 1)}

    found = attempt(new, delta(), batch((0, 0, 1, 0)), batch(most), **content)
    assert [*found.files, *found.wrong] == [b"f"]
    with pytest.raises(Damaged, match="operations that make too much"):
        attempt(new, delta(), batch(more), **content)
