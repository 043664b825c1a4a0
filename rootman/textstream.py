"""Byte streams from files: plain or zstd-compressed, hashed on the way.

What comes out is cut anywhere; ``comparison`` puts the lines together.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast
from weakref import finalize

from rootman.ahead import Belt, ahead
from rootman.errors import InvalidInput, InvalidManifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CHUNK: Final = 1 << 18
# What a hostile frame may make the decompressor allocate: alone, and with others beside it.
_MAX_WINDOW: Final = 1 << 27
_SMALL_WINDOW: Final = 1 << 23
_AHEAD: Final = 4 * CHUNK
_LEVEL: Final = 3
_FRAMES: Final = 1 << 16  # that what is compressed may have beyond its content


class OtherContent(InvalidInput):
    """Content is not what its hash says."""


class Readable(Protocol):
    """What bytes can be read from: an open file, or what passes them on."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        ...


def compressed_limit(size: int) -> int:
    """Return how many bytes ``size`` bytes may have when they are compressed, at most."""
    return size + size // 64 + _FRAMES


class Bounded:
    """A reader of ``source``, named ``what``, that refuses more than ``limit`` bytes (HT-6).

    ``write`` gets what is read.
    """

    def __init__(
        self,
        source: Readable,
        limit: int,
        what: str,
        write: Callable[[bytes], object] = lambda _: None,
    ) -> None:
        self._source = source
        self._left = limit
        self._what = what
        self._write = write

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes.

        Raises:
            InvalidInput: there were too many.
        """
        data = self._source.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise InvalidInput(f"{self._what}: more bytes than it can have, compressed")
        self._write(data)
        return data


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


def compress(stream: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    """Give a manifest, compressed, to ``write``."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    for data in stream:
        if packed := compressor.compress(data):
            write(packed)
    write(compressor.flush())


class _HashingThread(Thread):
    """Feeds a hash, which lets other threads run meanwhile, until it is told to end."""

    def __init__(self, hasher: hashlib._Hash) -> None:
        super().__init__(daemon=True)
        self._hash = hasher
        self._belt = Belt[bytes](_AHEAD)
        self.start()

    def update(self, chunk: bytes) -> None:
        """Have ``chunk`` hashed after what came before."""
        self._belt.put(chunk, len(chunk))

    def end(self) -> None:
        """Have the thread end after what came before."""
        self._belt.end(None)

    def run(self) -> None:
        for chunk in self._belt:
            self._hash.update(chunk)


class Hashed:
    """A stream that is hashed while it passes; what comes in large chunks, in a thread."""

    def __init__(self, stream: Iterator[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._thread: _HashingThread | None = None
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._stream:
                if self._thread is None and len(chunk) == CHUNK:
                    self._thread = _HashingThread(self._hash)
                    finalize(self, self._thread.end)
                (self._thread or self._hash).update(chunk)
                self.size += len(chunk)
                yield chunk
        finally:
            self._end_thread()  # also where the stream fails, which may be told for long

    @property
    def digest(self) -> str:
        """The SHA-256 of what passed so far."""
        self._end_thread()
        return self._hash.hexdigest()

    def _end_thread(self) -> None:
        if self._thread is not None:
            self._thread.end()
            self._thread.join()
            self._thread = None

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
            OtherContent: the content is another.
        """
        for _ in self:  # whatever the consumer left
            pass
        if self.digest != digest:
            raise OtherContent(f"{what}: its content has SHA-256 {self.digest}")
