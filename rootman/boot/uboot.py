"""The script by which U-Boot chooses a tree: bytes for its command ``source``. Pure.

Out of scope: where it is written (``uboot_install``), and what it does (``data/uboot.cmd``).
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

# A legacy image of U-Boot: a header of 64 bytes, the sizes of its parts, and here one part.
_HEADER: Final = struct.Struct(">7I4B32s")
_MAGIC: Final = 0x27051956
_LINUX: Final = 5
_ARM: Final = 2  # U-Boot does not ask it of a script
_SCRIPT: Final = 6
_NAME: Final = b"rootman"


def script_image(text: str) -> bytes:
    """Return the image of a script, as mkimage(1) makes it, but with no time in it."""
    data = text.encode("ascii")
    body = struct.pack(">II", len(data), 0) + data
    fields = (0, len(body), 0, 0, zlib.crc32(body), _LINUX, _ARM, _SCRIPT, 0, _NAME)
    bare = _HEADER.pack(_MAGIC, 0, *fields)
    return _HEADER.pack(_MAGIC, zlib.crc32(bare), *fields) + body


def script_in(image: bytes) -> str | None:
    """Return the script that an image is of, None where it is not one of ours."""
    if len(image) < _HEADER.size + 8:
        return None
    fields = _HEADER.unpack_from(image)
    if fields[0] != _MAGIC or fields[9] != _SCRIPT or fields[11].rstrip(b"\0") != _NAME:
        return None
    return image[_HEADER.size + 8 :].decode("ascii", "replace")
