"""The manifest of a tree with bundles, put together of its parts and verified on the way."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from rootman.composition import composed, merged
from rootman.errors import InvalidManifest
from rootman.textstream import Hashed, decompress, decompress_alongside
from rootman.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rootman.release import Bundle

_LEVEL: Final = 3


@dataclass(frozen=True, slots=True)
class Part:
    """A bundle and its compressed manifest, open for reading from its beginning."""

    bundle: Bundle
    file: BinaryIO


@dataclass(frozen=True, slots=True)
class Whole:
    """A composed manifest: its SHA-256 and bytes, its entries, and the bytes of their content."""

    manifest: str
    manifest_size: int
    entries: int
    size: int


def put_together(base: Part, others: Sequence[Part], write: Callable[[bytes], object]) -> Whole:
    """Give the manifest of the tree that has these parts, compressed, to ``write`` (BU-5).

    Raises:
        InvalidInput: a part is another than its release says, or has other lines, or two do
            not agree (BU-6).
        OSError: one cannot be read or written.
    """
    import zstandard

    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    hasher = hashlib.sha256()
    length = 0
    sums = Totals()
    with ExitStack() as stack:
        streams = []
        for part in others:
            stream = Hashed(decompress_alongside(part.file, _what(part)))
            stack.enter_context(stream.verifying(part.bundle.manifest, _what(part)))
            streams.append(stream)
        whole = Hashed(decompress(base.file, _what(base)))
        stack.enter_context(whole.verifying(base.bundle.manifest, _what(base)))
        for block in composed(whole, _added(merged(streams), sums)):
            hasher.update(block)
            length += len(block)
            if data := compressor.compress(block):
                write(data)
        write(compressor.flush())
    return Whole(
        hasher.hexdigest(), length, base.bundle.entries + sums.entries, base.bundle.size + sums.size
    )


def _what(part: Part) -> str:
    return f"manifest {part.bundle.manifest}"


def _added(lines: Iterator[bytes], sums: Totals) -> Iterator[bytes]:
    for line in lines:
        sums.add(line)
        yield line


def check_part(part: Part) -> None:
    """See to it that the lines of a bundle other than base add up to what its release says.

    Raises:
        InvalidInput: they do not, or are not in order.
    """
    stream = Hashed(decompress_alongside(part.file, _what(part)))
    sums = Totals()
    with stream.verifying(part.bundle.manifest, _what(part)):
        for line in merged([stream]):
            sums.add(line)
    for what, found, said in (
        ("manifest_size", stream.size, part.bundle.manifest_size),
        ("entries", sums.entries, part.bundle.entries),
        ("size", sums.size, part.bundle.size),
    ):
        if found != said:
            raise InvalidManifest(f"the release says {what} {said}, and it is {found}")
