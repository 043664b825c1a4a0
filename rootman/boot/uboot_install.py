"""Giving U-Boot the script by which it chooses a tree, and counts (spec/50-boot.md)."""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from rootman.boot.installing import checked_path, filesystem_of, root_argument
from rootman.boot.label import ENVIRONMENT, find_unlabelled
from rootman.boot.marking import begin_boot
from rootman.boot.uboot import script_image, script_in
from rootman.errors import Refused
from rootman.execute import explained
from rootman.session import read_state
from rootman.smallfiles import open_given, read_file, replace_file
from rootman.store import BOOT_BLOCK
from rootman.usage import mounts, place_of

if TYPE_CHECKING:
    from rootman.session import Session
    from rootman.usage import Place

SCRIPT: Final = "boot.scr"
_NEW: Final = "boot.scr.rootman-new"
_LIMIT: Final = 1 << 20
_PARTS: Final = ("uboot.cmd", "uboot-boot.cmd")

# linux/fiemap.h: _IOWR('f', 11, struct fiemap); a header, and here room for one extent.
_FIEMAP: Final = 0xC020660B
_SYNC: Final = 1
_HEADER: Final = struct.Struct("=QQIIII")
_EXTENT: Final = struct.Struct("=QQQ2QI3I")
_LAST: Final = 0x1
_MERGED: Final = 0x1000
_SECTOR: Final = 512


@dataclass(frozen=True, slots=True)
class Installed:
    """The path of the script, whether it was written, and what U-Boot will not do here."""

    path: str
    is_new: bool
    warnings: tuple[str, ...]


def install_uboot(opened: Session, folder: str) -> Installed:
    """Write the script into the directory ``folder``, where U-Boot looks, and begin a boot state.

    Raises:
        NotFound: there is no such directory.
        Refused: U-Boot cannot read the store from there, or somebody else's script is there.
        RootmanError: it failed.
    """
    with explained(folder):
        target = open_given(folder)
        try:
            before = read_file(SCRIPT, _LIMIT, dir_fd=target)
            if before is not None and script_in(before) is None:
                raise Refused(f"{folder}/{SCRIPT} is not rootman's", hint="move it out of the way")
            head = _head(opened, os.path.realpath(folder))
            begin_boot(opened)
            sector = sector_of(opened.store.boot, BOOT_BLOCK)
            data = script_image(_script(head.format(sector=f"{sector:x}")))
            if data != before:
                replace_file(opened.fs, SCRIPT, data, new=_NEW, dir_fd=target, mode=0o644)
                opened.fs.freeze_thaw(target)  # U-Boot replays no journal (S3)
        finally:
            os.close(target)
    trees = read_state(opened).sealed_names
    warnings = find_unlabelled(opened.store.path, trees, ENVIRONMENT, "U-Boot")
    return Installed(os.path.join(folder, SCRIPT), data != before, warnings)


def _head(opened: Session, folder: str) -> str:
    """Return what the script has to know, but for the sector of the boot state."""
    known = mounts()
    store, script = place_of(os.path.realpath(opened.store.path), known), place_of(folder, known)
    found = filesystem_of(store)
    if found.kind != "ext4" or found.unreadable:
        what = found.kind if not found.unreadable else f"ext4 with {', '.join(found.unreadable)}"
        raise Refused(
            f"U-Boot cannot read the store: it is on {what or 'an unknown filesystem'}",
            hint="keep the store on ext4, or boot by an initramfs alone",
        )
    path = checked_path(store.inner)
    partition = _partition(store, script)
    return (
        "# Written by rootman boot install-uboot, which writes it again.\n"
        "setenv rootman_start\n"
        f"setenv rootman_part ${{{{devtype}}}} ${{{{devnum}}}}:{partition}\n"
        f"part start ${{{{devtype}}}} ${{{{devnum}}}} {partition} rootman_start\n"
        'if test -z "${{rootman_start}}"; then setenv rootman_start 0; fi\n'
        f"setenv rootman_store {path}\n"
        "setenv rootman_sector {sector}\n"
        f'setenv rootman_root "{root_argument(found, path)}"\n'
    )


def _partition(store: Place, script: Place) -> str:
    """Return the partition of the store, as U-Boot knows it when it runs the script."""
    if store.filesystem == script.filesystem:
        return "${{distro_bootpart}}"
    devices = [os.path.realpath(f"/sys/dev/block/{one.filesystem}") for one in (store, script)]
    number = f"{devices[0]}/partition"
    if os.path.dirname(devices[0]) != os.path.dirname(devices[1]) or not os.path.exists(number):
        raise Refused(
            f"{script.path} is on another disk than the store",
            hint="have the script on the disk of the store",
        )
    with open(number, encoding="ascii") as file:
        return f"{int(file.read()):x}"


def _script(head: str) -> str:
    data = files("rootman.boot") / "data"
    return head + "".join((data / part).read_text("ascii") for part in _PARTS)


def sector_of(dir_fd: int, name: str) -> int:
    """Return where on its filesystem a file begins, in sectors of 512 bytes.

    Raises:
        Refused: it is not in one piece, as it is, on a disk.
        OSError: the system does not say.
    """
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        request = bytearray(_HEADER.size + _EXTENT.size)
        _HEADER.pack_into(request, 0, 0, _SECTOR, _SYNC, 0, 1, 0)
        fcntl.ioctl(fd, _FIEMAP, request)
    finally:
        os.close(fd)
    count = _HEADER.unpack_from(request)[3]
    logical, physical, _, _, _, flags, *_ = _EXTENT.unpack_from(request, _HEADER.size)
    if count != 1 or logical or physical % _SECTOR or flags & ~(_LAST | _MERGED):
        raise Refused("the boot state is not where U-Boot could write it", hint="rootman boot init")
    return int(physical // _SECTOR)
