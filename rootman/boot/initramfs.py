"""Giving an initramfs what it needs to bring up a tree, by the program that makes it.

For initramfs-tools it is two files in its configuration, below /etc, where a package would not
put them and the administrator may. dracut takes modules from /usr/lib alone.
"""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

from rootman.errors import NotFound
from rootman.execute import explained
from rootman.smallfiles import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootman.fsops import Fs

Maker = Literal["initramfs-tools", "dracut"]

# The modes in which its script brings up a tree (BT-42).
MODES: Final = ("guard", "ro", "overlay", "rw")
# Where each has its directory, and below that the files: mode, and what each is put together from.
_FOLDERS: Final[Mapping[Maker, str]] = {
    "initramfs-tools": "etc/initramfs-tools",
    "dracut": "usr/lib/dracut/modules.d",
}
_FILES: Final[Mapping[Maker, Mapping[str, tuple[int, tuple[str, ...]]]]] = {
    "initramfs-tools": {
        "hooks/rootman": (0o755, ("initramfs-hook.sh",)),
        "scripts/rootman": (0o644, ("choose.sh", "initramfs.sh", "initramfs-tools.sh")),
    },
    "dracut": {
        "90rootman/module-setup.sh": (0o755, ("dracut-setup.sh",)),
        "90rootman/rootman.sh": (0o644, ("choose.sh", "initramfs.sh")),
        "90rootman/bring-up.sh": (0o755, ("dracut.sh",)),
    },
}
_NEW: Final = ".rootman.new"


def install_initramfs(fs: Fs, root: str, maker: Maker | None = None) -> tuple[str, ...]:
    """Write the files below the root directory ``root``; return those that were not so already.

    ``maker`` makes its initramfs, by default the one that is there, initramfs-tools first.

    Raises:
        NotFound: it is not there.
        SystemFailure: the system refused.
    """
    maker = maker or _maker_in(root)
    base = os.path.join(root, _FOLDERS[maker])
    written = []
    for name, (mode, parts) in _FILES[maker].items():
        data = b"".join((files("rootman.boot") / "data" / part).read_bytes() for part in parts)
        path = os.path.join(base, name)
        with explained(path):
            if _write(fs, base, name, data, mode):
                written.append(path)
    return tuple(written)


def _maker_in(root: str) -> Maker:
    for maker, folder in _FOLDERS.items():
        if os.path.isdir(os.path.join(root, folder)):
            return maker
    return "initramfs-tools"


def _write(fs: Fs, base: str, name: str, data: bytes, mode: int) -> bool:
    folder_name, _, name = name.partition("/")
    try:
        folder = _open(fs, base, folder_name)
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = "apt-get install initramfs-tools, or dracut"
        raise NotFound(f"{base}: no such directory", hint=hint) from error
    try:
        if _is_there(folder, name, data, mode):
            return False
        replace_file(fs, name, data, new=_NEW, dir_fd=folder, mode=mode)
    finally:
        os.close(folder)
    return True


def _open(fs: Fs, base: str, name: str) -> int:
    """Open a directory in that of a maker, made if need be."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    outer = os.open(base, flags)
    try:
        with suppress(FileExistsError):
            fs.mkdir(name, 0o755, dir_fd=outer)
        return os.open(name, flags, dir_fd=outer)
    finally:
        os.close(outer)


def _is_there(folder: int, name: str, data: bytes, mode: int) -> bool:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    with open(fd, "rb") as file:
        return os.fstat(fd).st_mode & 0o7777 == mode and file.read() == data
