"""The outer form of a pack: a header, then chunks of its streams (spec/37-packs.md). Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, cast

from rootman.document import FORMAT, Fields, Shape, check_format, decode
from rootman.errors import InvalidInput

MAGIC: Final = b"rootman pack "
HEADER_LIMIT: Final = 1 << 16
CHUNK: Final = 1 << 15
"""Bytes of a stream in a chunk, at most; few, so that nothing is sent long before its use."""
CHUNK_HEAD: Final = 3
MEMORY_LIMIT: Final = 40 << 20
"""What all decoders of a pack may need together."""

_KEYS: Final = frozenset({"format", "from", "to", "streams"})
_STREAM_KEYS: Final = frozenset({"codec", "window"})
_MANIFEST: Final = Shape(re.compile("[0-9a-f]{64}"), "the SHA-256 of a manifest")
_MANIFEST_OR_NONE: Final = Shape(re.compile("([0-9a-f]{64})?"), _MANIFEST.meaning)

Codec = Literal["lzma2", "x86+lzma2", "zstd"]
_CODEC: Final = Shape(re.compile("lzma2|x86[+]lzma2|zstd"), "a known way to compress")


class Role(IntEnum):
    """What a stream is for; its number in the pack."""

    MANIFEST = 0
    """Edits of the old manifest."""
    FILES = 1
    """A record for each file: how it is made, and of what."""
    COPY = 2
    """Of each operation: how many bytes are copied from the source."""
    ADD = 3
    """How many are copied and have bytes of ``DIFF`` added."""
    INSERT = 4
    """How many come from ``LITERAL`` or ``CODE``."""
    SEEK = 5
    """How far the place in the source moves then."""
    DIFF = 6
    LITERAL = 7
    CODE = 8
    """As ``LITERAL``, of files that are programs."""


@dataclass(frozen=True, slots=True)
class Coding:
    """How a stream is compressed; ``window`` is the memory to decode it, in bytes."""

    codec: Codec
    window: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a pack is: ``old`` and ``new`` are SHA-256 of manifests, "" for no tree at all."""

    old: str
    new: str
    codings: tuple[Coding, ...]
    """One for each ``Role``, in their order."""

    def serialise(self) -> bytes:
        """Return the header as it is in a pack, its newline included."""
        document = {
            "format": FORMAT,
            "from": self.old,
            "to": self.new,
            "streams": [{"codec": one.codec, "window": one.window} for one in self.codings],
        }
        return MAGIC + json.dumps(document, sort_keys=True).encode() + b"\n"


def parse_header(line: bytes, what: str) -> Header:
    """Return the header that ``line`` is; ``what`` names the pack in errors.

    Raises:
        InvalidInput: it is none, of an unknown format, or asks for too much memory.
    """
    if not line.startswith(MAGIC) or not line.endswith(b"\n"):
        raise InvalidInput(f"{what}: not a pack")
    document = decode(line.removeprefix(MAGIC), what, "pack")
    check_format(document, what)
    fields = Fields(what, "", document, _KEYS)
    codings = tuple(map(_coding, fields.objects("streams", _STREAM_KEYS)))
    if len(codings) != len(Role):
        raise fields.wrong("streams", f"must be {len(Role)}")
    if sum(one.window for one in codings) > MEMORY_LIMIT:
        raise InvalidInput(f"{what}: asks for more memory than {MEMORY_LIMIT >> 20} MiB")
    return Header(fields.text("from", _MANIFEST_OR_NONE), fields.text("to", _MANIFEST), codings)


def _coding(fields: Fields) -> Coding:
    codec = cast("Codec", fields.text("codec", _CODEC))
    return Coding(codec, fields.number("window", 1, MEMORY_LIMIT))


def chunk(role: Role, data: bytes) -> bytes:
    """Return ``data`` of a stream as it is in a pack: at most ``CHUNK`` bytes."""
    return bytes([role]) + len(data).to_bytes(CHUNK_HEAD - 1, "little") + data


def number(value: int) -> bytes:
    """Return a number from 0 as LEB128: seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def zigzag(value: int) -> int:
    """Return a number from 0 for a whole one: 0, -1, 1, -2, ... become 0, 1, 2, 3, ..."""
    return value * 2 if value >= 0 else -value * 2 - 1
