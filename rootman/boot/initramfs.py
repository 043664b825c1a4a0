"""Giving an initramfs what it needs to bring up a tree: two files for initramfs-tools.

They go into its configuration, below /etc, where a package would not put them and the
administrator may; ``update-initramfs`` takes them from there.
"""

from __future__ import annotations

import os
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from rootman.errors import NotFound
from rootman.execute import explained
from rootman.smallfiles import replace_file

if TYPE_CHECKING:
    from rootman.fsops import Fs

# The modes in which its script brings up a tree (BT-42).
MODES: Final = ("guard", "ro", "overlay", "rw")
FOLDER: Final = "etc/initramfs-tools"
# Each with its mode, and the files that it is put together from.
_FILES: Final = {
    "hooks": (0o755, ("initramfs-hook.sh",)),
    "scripts": (0o644, ("choose.sh", "initramfs.sh", "initramfs-tools.sh")),
}
_NAME: Final = "rootman"
_NEW: Final = ".rootman.new"


def install_initramfs(fs: Fs, root: str) -> tuple[str, ...]:
    """Write the files below the root directory ``root``; return those that were not so already.

    Raises:
        NotFound: there is no initramfs-tools.
        SystemFailure: the system refused.
    """
    written = []
    for folder, (mode, parts) in _FILES.items():
        path = os.path.join(root, FOLDER, folder)
        data = b"".join((files("rootman.boot") / "data" / part).read_bytes() for part in parts)
        with explained(path):
            if _write(fs, path, data, mode):
                written.append(os.path.join(path, _NAME))
    return tuple(written)


def _write(fs: Fs, path: str, data: bytes, mode: int) -> bool:
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = "apt-get install initramfs-tools"
        raise NotFound(f"{path}: no such directory", hint=hint) from error
    try:
        if _is_there(folder, data, mode):
            return False
        replace_file(fs, _NAME, data, new=_NEW, dir_fd=folder, mode=mode)
    finally:
        os.close(folder)
    return True


def _is_there(folder: int, data: bytes, mode: int) -> bool:
    try:
        fd = os.open(_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    with open(fd, "rb") as file:
        return os.fstat(fd).st_mode & 0o7777 == mode and file.read() == data
