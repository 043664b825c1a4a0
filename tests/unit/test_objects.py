"""The content of objects, as it comes from a repository that is not to be trusted."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO, cast

import pytest
import zstandard

from rootman.errors import InvalidInput
from rootman.objects import object_content

CONTENT = b"what an object has"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FRAME = zstandard.ZstdCompressor().compress(CONTENT)


class Endless(io.RawIOBase):
    """Frames with nothing in them, as many as are asked for, and what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return ``size`` bytes of frames that are to be skipped, which have 8 bytes each."""
        found = b"\x50\x2a\x4d\x18\0\0\0\0" * (size // 8)
        self.given += len(found)
        return found


def test_the_content_of_an_object() -> None:
    source = io.BytesIO(FRAME)
    assert b"".join(object_content(source, DIGEST, len(CONTENT))) == CONTENT


def test_an_object_of_endless_frames_without_content_is_refused() -> None:
    """More compressed bytes than its content can have are not read (HT-6)."""
    source = Endless()
    with pytest.raises(InvalidInput, match="more bytes than it can have, compressed"):
        list(object_content(cast("BinaryIO", source), DIGEST, len(CONTENT)))
    assert source.given < 1 << 20
