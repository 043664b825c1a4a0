"""Gzip files (RFC 1952), made again of what is in them.

zlib makes again what it made, and what the program gzip did as well: that is the same
but for a larger buffer and for blocks that it ends early, which are known. Out of scope:
finding out where they end (``deflated``).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

EXPANDED_LIMIT: Final = 8 << 20
"""Bytes of a gzip file's content: two and a source's are in memory at a time."""

HEAD_LIMIT: Final = 1 << 12
"""Bytes of the header of a gzip file; it may have a name and a comment."""

ENDS_LIMIT: Final = 1 << 12
"""Blocks of a gzip file that end early."""

_GZIP: Final = b"\x1f\x8b\x08"
_LEVEL: Final = 9
_ZLIB_MEMORY: Final = 8  # what zlib takes by default: blocks of 16,383 symbols
_GZIP_MEMORY: Final = 9  # twice as many, as gzip has them


def by_zlib(content: bytes, head: bytes) -> bytes:
    """Return the gzip file with the header ``head`` that zlib makes of ``content``."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, _ZLIB_MEMORY)
    return head + deflate.compress(content) + deflate.flush() + _tail(content)


def by_gzip(content: bytes, head: bytes, ends: Sequence[int]) -> bytes:
    """Return the gzip file with the header ``head`` that gzip(1) makes of ``content``.

    ``ends`` are the bytes of content in each block but the last.
    """
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, _GZIP_MEMORY)
    parts, at = [head], 0
    for size in ends:
        parts += deflate.compress(content[at : at + size]), deflate.flush(zlib.Z_BLOCK)
        at += size
    parts += deflate.compress(content[at:]), deflate.flush(), _tail(content)
    return b"".join(parts)


def _tail(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")


def expand(content: bytes) -> bytes | None:
    """Return what is in a gzip file of one member, None where it is none."""
    if not content.startswith(_GZIP) or len(content) > EXPANDED_LIMIT:
        return None
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        expanded = inflate.decompress(content, EXPANDED_LIMIT)
    except zlib.error:
        return None
    return expanded if inflate.eof and not inflate.unused_data else None
