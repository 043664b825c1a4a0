"""Byte streams from files: plain or zstd-compressed, hashed on the way.

What comes out is cut anywhere; ``comparison`` puts the lines together.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, BinaryIO, Final

from rootman.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK: Final = 1 << 18
# What a hostile frame may make the decompressor allocate.
_MAX_WINDOW: Final = 1 << 27


def decompress(source: BinaryIO, what: str) -> Iterator[bytes]:
    """Yield the content of the zstd frames in ``source``; ``what`` names it in errors.

    A source that is cut off ends early without complaint: whoever reads it knows
    the hash of the whole.

    Raises:
        InvalidInput: the frames are damaged.
        OSError: reading failed.
    """
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    reader = decompressor.stream_reader(
        source, read_size=CHUNK, read_across_frames=True, closefd=False
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

    def verify(self, digest: str, what: str) -> None:
        """Refuse the stream, read to its end, if its SHA-256 is not ``digest``.

        Raises:
            InvalidInput: the content is another.
        """
        for _ in self:  # whatever the consumer left
            pass
        if self._hash.hexdigest() != digest:
            raise InvalidInput(f"{what}: its content has SHA-256 {self._hash.hexdigest()}")
