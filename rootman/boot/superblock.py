"""What GRUB would meet on a filesystem, by its superblock: bytes in, facts out. Pure.

GRUB 2.06 reads a filesystem by its own drivers. Those know fewer features than Linux, and write
nothing but the sectors of a file that is there. Out of scope: reading the device
(``installing``).
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from typing import Final

SIZE: Final = 0x12000  # bytes from the start of the device; that of btrfs is at 64 KiB

_EXT_MAGIC: Final = (0x438, b"\x53\xef")
_EXT_INCOMPATIBLE: Final = 0x460
_EXT_UUID: Final = 0x468
_XFS_MAGIC: Final = (0, b"XFSB")
_XFS_UUID: Final = 0x20
_XFS_VERSION: Final = 0x64
_XFS_INCOMPATIBLE: Final = 0xD8
_BTRFS_MAGIC: Final = (0x10040, b"_BHRfS_M")
_BTRFS_UUID: Final = 0x10020

# The incompatible features that GRUB 2.06 of Debian 12 reads; tests try them with GRUB itself.
_EXT_READABLE: Final = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x2000 | 0x4000 | 0x10000
_EXT_NAMES: Final = {0x400: "ea_inode", 0x8000: "inline_data", 0x20000: "casefold"}
_XFS_READABLE: Final = 0x1 | 0x2 | 0x4 | 0x8 | 0x20
_XFS_NAMES: Final = {0x10: "needsrepair"}


@dataclass(frozen=True, slots=True)
class Filesystem:
    """``kind`` is ext4, xfs, btrfs or "" for others; ``uuid`` is as blkid(8) writes it.

    ``unreadable`` are the features that keep GRUB from reading it, ``is_writable`` says
    whether GRUB can write into a file there.
    """

    kind: str
    uuid: str
    unreadable: tuple[str, ...] = ()
    is_writable: bool = True


def parse_superblock(data: bytes) -> Filesystem:
    """Return what the first ``SIZE`` bytes of a device say, or all of a smaller one."""
    data = data.ljust(SIZE, b"\0")
    if _has(data, _EXT_MAGIC):
        (bits,) = struct.unpack_from("<I", data, _EXT_INCOMPATIBLE)
        return Filesystem("ext4", _uuid(data, _EXT_UUID), _names(bits & ~_EXT_READABLE, _EXT_NAMES))
    if _has(data, _XFS_MAGIC):
        (version,) = struct.unpack_from(">H", data, _XFS_VERSION)
        (bits,) = struct.unpack_from(">I", data, _XFS_INCOMPATIBLE)
        features = _names(bits & ~_XFS_READABLE, _XFS_NAMES) if version & 0xF >= 5 else ()
        return Filesystem("xfs", _uuid(data, _XFS_UUID), features)
    if _has(data, _BTRFS_MAGIC):
        # Its data are checksummed: what GRUB writes would not be read again.
        return Filesystem("btrfs", _uuid(data, _BTRFS_UUID), is_writable=False)
    return Filesystem("", "", is_writable=False)


def _has(data: bytes, magic: tuple[int, bytes]) -> bool:
    at, value = magic
    return data[at : at + len(value)] == value


def _uuid(data: bytes, at: int) -> str:
    return str(uuid.UUID(bytes=data[at : at + 16]))


def _names(bits: int, known: dict[int, str]) -> tuple[str, ...]:
    single = [1 << shift for shift in range(32) if bits & 1 << shift]
    return tuple(known.get(bit, f"feature {bit:#x}") for bit in single)
