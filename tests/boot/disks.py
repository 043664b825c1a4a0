"""Disks of machines: one partition with an ext4, from which SeaBIOS loads GRUB.

Out of scope: what is on them (``system``).
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.filesystems import run

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECTOR: Final = 512
_START: Final = 2048  # sectors before the partition, as every partitioner leaves them
_SIZE_MIB: Final = 1024
_GRUB: Final = Path("/usr/lib/grub/i386-pc")
_MODULES: Final = (
    "biosdisk", "configfile", "echo", "ext2", "linux", "loadenv", "normal", "part_msdos", "regexp",
    "search", "search_fs_uuid", "serial", "terminal", "test",
)  # fmt: skip
# What root= names; GRUB names it by its UUID.
ROOT: Final = "/dev/vda1"


def make_disk(disk: Path) -> None:
    """Make a disk of one partition with an empty ext4, from which SeaBIOS loads GRUB."""
    core = disk.with_name(f"{disk.name}.core")
    run("grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", str(core), *_MODULES)
    with disk.open("wb") as file:
        file.truncate(_SIZE_MIB << 20)
    offset = _START * _SECTOR
    run("mkfs.ext4", "-q", "-E", f"offset={offset}", str(disk), f"{(_SIZE_MIB << 10) - 1024}k")
    with disk.open("r+b") as file:
        file.write((_GRUB / "boot.img").read_bytes()[:440])
        file.seek(446)
        sectors = (_SIZE_MIB << 11) - _START
        file.write(struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\xff" * 3, _START, sectors))
        file.seek(510)
        file.write(b"\x55\xaa")
        # The first sector of the core knows that the others follow it.
        file.write(core.read_bytes())
    core.unlink()


@contextmanager
def opened(disk: Path) -> Iterator[Path]:
    """Mount the partition of a disk until the end of the block."""
    place = disk.with_name(f"{disk.name}.mnt")
    place.mkdir()
    run("mount", "-o", f"loop,offset={_START * _SECTOR}", str(disk), str(place))
    try:
        yield place
    finally:
        run("umount", str(place))
        place.rmdir()


def copy_disk(disk: Path, target: Path) -> None:
    """Copy a disk and its holes."""
    run("cp", "--sparse=always", str(disk), str(target))
