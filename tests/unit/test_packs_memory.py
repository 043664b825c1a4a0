"""What a pack takes of a reader's memory, however it was made."""

from __future__ import annotations

import io
import os
import random
import resource
import sys
import traceback
import zlib
from itertools import islice
from typing import TYPE_CHECKING, Final

import pytest
import zstandard

from rootman.manifest import HEADER, MAX_LINE
from rootman.packs.batches import OPERATIONS
from rootman.packs.format import MEMORY_LIMIT, Coding, Role, chunk
from rootman.packs.gzipped import EXPANDED_LIMIT, by_zlib, expand
from rootman.packs.recipe import Method
from rootman.packs.revision import revise, revised
from rootman.packs.streams import Damaged, PackFile, Streams
from rootman.packs.unpacking import unpack
from tests.builders import directory, file
from tests.fuzz.model import manifest_of
from tests.packing import (
    WINDOW,
    Files,
    batch,
    crafted,
    digest_of,
    header,
    lzma2,
    numbers,
    packed,
    read,
)
from tests.unit.entries import entry, manifest

if TYPE_CHECKING:
    from collections.abc import Callable


MIB: Final = 1 << 20
RANDOM = random.Random(3)
GZIP: Final = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03"


def bounded(most: int, work: Callable[[], object]) -> None:
    """Do some work with ``most`` bytes of memory more than this process has; expect success.

    In a process of its own; what counts are addresses, so that no page is overlooked.
    """
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            filled = _fill_holes()
            resource.setrlimit(resource.RLIMIT_AS, (_addresses() + most,) * 2)
            work()
            code = 0
            del filled
        except BaseException:  # noqa: BLE001 - whatever it is, the child does not go on
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def _addresses() -> int:
    """Return the bytes of addresses that this process has."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def _fill_holes() -> list[bytes]:
    """Use up what earlier tests left free in this process, where ``work`` could hide."""
    filled = list[bytes]()
    for size in (*range(8, 513, 16), *(1 << power for power in range(10, 17))):
        before = _addresses()
        while _addresses() == before:
            filled += (bytes(size) for _ in range(max(65536 // size, 1)))
    return filled


def refused(data: bytes, said: str, new: bytes = HEADER) -> None:
    with pytest.raises(Damaged, match=said):
        read(data, b"", new, {})


_FIXED: Final = 8 * MIB


def _bomb(codec: str, begin: bytes, unit: bytes) -> bytes:
    """Return, compressed, some bytes and then gigabytes."""
    many = unit * (8 * MIB)
    if codec == "lzma2":
        return lzma2(begin) + lzma2(many) * 256
    parameters = zstandard.ZstdCompressionParameters(window_log=16)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    parts = [compressor.compress(begin)]
    parts += [compressor.compress(many) for _ in range(256)]
    return b"".join([*parts, compressor.flush()])


@pytest.mark.parametrize("codec", ["lzma2", "zstd"])
def test_a_manifest_without_end(codec: str) -> None:
    """PK-8, PK-12: is refused at its first byte too many."""
    coding = Coding("zstd" if codec == "zstd" else "lzma2", WINDOW)
    data = _bomb(codec, b"", b"+a\n")
    assert len(data) < 2 * MIB
    pack = packed([(Role.MANIFEST, data)], header(coding=coding))

    def make() -> None:
        file = PackFile(io.BytesIO(pack), "pack")
        stream = Streams(file, file.header, "pack")[Role.MANIFEST]
        lines = revised(iter(()), stream, MIB)
        assert sum(map(len, islice(lines, MIB // 2 - 3))) == MIB - 1
        with pytest.raises(Damaged, match="a longer manifest than there is"):
            next(lines)

    bounded(_FIXED, make)


@pytest.mark.parametrize("codec", ["lzma2", "zstd"])
def test_a_line_without_end(codec: str) -> None:
    """PK-8, PK-12."""
    line = b"a" * (16 * MIB)
    compressed = lzma2(line) * 64
    if codec == "zstd":
        compressed = zstandard.ZstdCompressor().compress(line) * 64
    coding = Coding("zstd" if codec == "zstd" else "lzma2", 8 * MIB // 4)
    pack = packed([(Role.MANIFEST, compressed)], header(new=digest_of(HEADER), coding=coding))

    bounded(_FIXED, lambda: refused(pack, "a line is too long|Frame requires too much memory"))


def test_a_line_in_small_chunks() -> None:
    """PK-12: of which none is looked at twice, so that the test ends."""
    line = b"+" + RANDOM.randbytes(MAX_LINE - 1).replace(b"\n", b"") + b"\n.\n"
    data = lzma2(line)
    body = b"".join(chunk(Role.MANIFEST, data[at : at + 2]) for at in range(0, len(data), 2))
    pack = header(new=digest_of(HEADER + line[1:-2])).serialise() + body

    streams = Streams(found := PackFile(io.BytesIO(pack), "pack"), found.header, "pack")

    stream = revised(iter(()), streams[Role.MANIFEST], 2 * MAX_LINE)
    assert b"".join(stream) == HEADER + line[1:-2]


def test_early_chunks_are_no_larger_than_they_are() -> None:
    """PK-7, PK-12: 500,000 of them take what their bytes do."""
    data = header().serialise() + chunk(Role.CODE, b"ab") * MIB

    def take() -> None:
        with pytest.raises(Damaged, match="not in the order of use"):
            PackFile(io.BytesIO(data), "pack").take(Role.MANIFEST)

    bounded(_FIXED, take)


@pytest.mark.parametrize("codec", ["lzma2", "zstd"])
def test_a_file_is_never_in_memory_as_a_whole(codec: str) -> None:
    """PK-12: however long it is, and the manifest says that it may be."""
    line = (
        manifest([entry("f")]).splitlines(keepends=True)[1].replace(b"size=1", b"size=%d" % 2**62)
    )
    coding = Coding("zstd" if codec == "zstd" else "lzma2", WINDOW)
    parts = [
        (Role.FILES, _coded(coding, numbers(1, 0, 0))),
        (Role.LITERAL, _bomb(codec, b"", b"aa")),
    ]
    pack = packed(parts, header(coding=coding))

    def take() -> None:
        file = PackFile(io.BytesIO(pack), "pack")
        streams = Streams(file, file.header, "pack")
        _, content = next(unpack(iter([line]), streams, Files({})))
        assert sum(map(len, islice(content, 200))) >= 50 * MIB

    bounded(_FIXED, take)


def _coded(coding: Coding, data: bytes) -> bytes:
    if coding.codec == "zstd":
        return zstandard.ZstdCompressor().compress(data)
    return lzma2(data)


def test_a_gzip_file_made_in_small_pieces() -> None:
    """PK-12: it takes what is in it, not what a million pieces take."""
    count = MIB
    new = bytes(2 * count)
    record = numbers(Method.DELTA | Method.ZLIB, len(GZIP)) + GZIP
    record += numbers(len(new), 0) + numbers(OPERATIONS, 0) * (count // OPERATIONS)
    old_manifest = manifest_of({".": directory()})
    new_manifest = manifest_of({".": directory(), "f": file(by_zlib(new, GZIP))})
    streams = {
        Role.MANIFEST: b"".join(revise([old_manifest], [new_manifest])),
        Role.FILES: numbers(1, 1) + record,
        Role.COPY: b"\2" * count,
        **dict.fromkeys((Role.ADD, Role.INSERT, Role.SEEK), bytes(count)),
    }
    pack = crafted(streams, old_manifest, new_manifest)

    def make() -> None:
        assert read(pack, old_manifest, new_manifest, {}).files == {b"f": by_zlib(new, GZIP)}

    bounded(5 * _FIXED, make)


def test_one_operation_that_makes_all() -> None:
    """PK-10, PK-12: it is refused before any of it is made."""
    old_manifest = manifest_of({".": directory()})
    new_manifest = manifest_of({".": directory(), "f": file(b"x")}).replace(
        b" size=1 ", b" size=%d " % 2**40
    )
    streams = {
        Role.MANIFEST: b"".join(revise([old_manifest], [new_manifest])),
        Role.FILES: numbers(1, 1, Method.DELTA, 0),
    }
    for role, data in batch((2**40, 0, 0, 0)).items():
        streams[role] = streams.get(role, b"") + data
    pack = crafted(streams, old_manifest, new_manifest)

    def make() -> None:
        with pytest.raises(Damaged, match="operations that make too much"):
            read(pack, old_manifest, new_manifest, {})

    bounded(_FIXED, make)


def test_a_source_that_is_a_gzip_bomb() -> None:
    """PK-12."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    whole = b"".join(deflate.compress(bytes(MIB)) for _ in range(300)) + deflate.flush()

    def look() -> None:
        assert expand(whole) is None

    bounded(3 * EXPANDED_LIMIT, look)


def test_a_frame_that_wants_a_larger_window() -> None:
    """PK-5, PK-12: than its pack has told."""
    parameters = zstandard.ZstdCompressionParameters(window_log=26)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(bytes(MIB)) + compressor.flush()
    coding = Coding("zstd", MEMORY_LIMIT // len(Role))

    pack = packed([(Role.MANIFEST, data)], header(new=digest_of(HEADER), coding=coding))

    bounded(_FIXED, lambda: refused(pack, "Frame requires too much memory"))


def test_all_the_memory_that_a_pack_may_have() -> None:
    """PK-5, PK-12: all windows at their largest."""
    coding = Coding("lzma2", MEMORY_LIMIT // len(Role))
    pack = packed([(role, lzma2(b"x" * 1000)) for role in Role], header(coding=coding))

    def take() -> None:
        file = PackFile(io.BytesIO(pack), "pack")
        streams = Streams(file, file.header, "pack")
        assert all(streams[role].read(1000) == b"x" * 1000 for role in Role)

    bounded(MEMORY_LIMIT + _FIXED, take)


def test_empty_streams_one_after_the_other_end() -> None:
    """PK-6: those of LZMA2 are a byte each; there is nothing in all of them."""
    pack = packed([(Role.MANIFEST, bytes(300_000))], header(new=digest_of(HEADER)))

    bounded(_FIXED, lambda: refused(pack, "stream manifest: ends too early"))
