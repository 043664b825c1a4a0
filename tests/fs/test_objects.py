"""What is known of content that lies in ``objects/``."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from rootman.fsops import RealFs
from rootman.objects import NoOrigin, Objects

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.loopfs

CONTENT = b"content"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("is_torn", [False, True])
def test_what_an_earlier_process_left_is_sound_when_it_was_hashed(
    tmp_on_ext4: Path, *, is_torn: bool
) -> None:
    """PK-9: nothing is made of it before."""
    (tmp_on_ext4 / DIGEST).write_bytes(CONTENT[: -1 if is_torn else None])
    fd = os.open(tmp_on_ext4, os.O_RDONLY | os.O_DIRECTORY)
    try:
        objects = Objects(RealFs(), fd, NoOrigin())
        assert not objects.is_sound(DIGEST)
        assert objects.has(DIGEST) == (not is_torn)
        assert objects.is_sound(DIGEST) == (not is_torn)
        assert not objects.is_sound("0" * 64)
    finally:
        os.close(fd)
