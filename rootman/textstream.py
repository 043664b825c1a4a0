"""Byte streams from files: plain or zstd-compressed, hashed on the way.

What comes out is cut anywhere; ``comparison`` puts the lines together.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from rootman.ahead import ahead
from rootman.errors import InvalidInput, InvalidManifest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK: Final = 1 << 18
# What a hostile frame may make the decompressor allocate: alone, and with others beside it.
_MAX_WINDOW: Final = 1 << 27
_SMALL_WINDOW: Final = 1 << 23
_AHEAD: Final = 4 * CHUNK


class Readable(Protocol):
    """What bytes can be read from: an open file, or what passes them on."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        ...


def decompress(source: Readable, what: str) -> Iterator[bytes]:
    """Yield the content of the zstd frames in ``source``; ``what`` names it in errors.

    A thread keeps a few chunks ahead, so that reading, decompressing and what is
    done with the content share the processors. A source that is cut off ends early
    without complaint: whoever reads it knows the hash of the whole.

    Raises:
        InvalidInput: the frames are damaged.
        OSError: reading failed.
    """
    chunks = _decompressed(source, what, _MAX_WINDOW)
    first = next(chunks, b"")
    if first:
        yield first
    if len(first) == CHUNK:
        with ahead(chunks, len, _AHEAD) as following:
            yield from following


def decompress_alongside(source: Readable, what: str) -> Iterator[bytes]:
    """Yield what ``decompress`` does, without a thread, and in little memory (HT-6).

    Raises:
        InvalidInput: the frames are damaged, or want more memory.
        OSError: reading failed.
    """
    return _decompressed(source, what, _SMALL_WINDOW)


def _decompressed(source: Readable, what: str, window: int) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=window)
    reader = decompressor.stream_reader(
        cast("BinaryIO", source), read_size=CHUNK, read_across_frames=True, closefd=False
    )
    try:
        while chunk := reader.read(CHUNK):
            yield chunk
    except zstandard.ZstdError as error:
        raise InvalidInput(f"{what}: damaged: {error}") from error


class Hashed:
    """A stream that is hashed while it passes."""

    def __init__(self, stream: Iterator[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._hash.update(chunk)
            self.size += len(chunk)
            yield chunk

    @contextmanager
    def verifying(self, digest: str, what: str) -> Iterator[None]:
        """Verify the stream after a block that reads it as a manifest.

        Raises:
            InvalidInput: the content is another.
        """
        try:
            yield
        except InvalidManifest:
            # Whatever is wrong with other bytes than the promised ones does not matter.
            self.verify(digest, what)
            raise
        self.verify(digest, what)

    def verify(self, digest: str, what: str) -> None:
        """Refuse the stream, read to its end, if its SHA-256 is not ``digest``.

        Raises:
            InvalidInput: the content is another.
        """
        for _ in self:  # whatever the consumer left
            pass
        if self._hash.hexdigest() != digest:
            raise InvalidInput(f"{what}: its content has SHA-256 {self._hash.hexdigest()}")
