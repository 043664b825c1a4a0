"""Removing what is in staging, without ever leaving it.

Directories are opened by ``open_dir``, which refuses symlinks and mounts, so that
nothing outside can be deleted by way of a tree, however that tree was changed.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from rootman.directory import rewind
from rootman.errors import Busy
from rootman.fsops import open_dir

if TYPE_CHECKING:
    from rootman.fsops import Fs


def remove_tree(fs: Fs, name: bytes, *, dir_fd: int) -> None:
    """Remove ``name`` and everything below it; it is fine if it is gone already.

    Raises:
        Busy: a filesystem is mounted below it.
        OSError: the system refused.
    """
    try:
        fs.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        _remove_directory(fs, name, dir_fd=dir_fd)


def _remove_directory(fs: Fs, name: bytes, *, dir_fd: int) -> None:
    try:
        fd = open_dir(name, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise Busy(
                f"{os.fsdecode(name)} is a mount point: not removed", hint="unmount it first"
            ) from error
        raise
    try:
        empty_directory(fs, fd)
    finally:
        os.close(fd)
    fs.rmdir(name, dir_fd=dir_fd)


def empty_directory(fs: Fs, fd: int) -> None:
    """Remove everything in the open directory ``fd``.

    Raises:
        Busy: a filesystem is mounted below it.
        OSError: the system refused.
    """
    rewind(fd)
    with os.scandir(fd) as found:
        entries = [
            (os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in found
        ]
    for name, is_directory in entries:
        if is_directory:
            _remove_directory(fs, name, dir_fd=fd)
        else:
            fs.unlink(name, dir_fd=fd)
