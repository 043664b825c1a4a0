"""Kept defaults: sealed inodes that a tree has no name for any more, in its seal record (ST-22).

A merge puts other files in the place of the release's. Those are needed still: to make the
spare, which is a clone of what was sealed, and as the base of merges by content.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rootman.manifest import field_path
from rootman.seal import is_shared
from rootman.store import open_below
from rootman.treedirs import TreeDirs
from rootman.walk import join, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootman.delta import Drift
    from rootman.fsops import Fs
    from rootman.merge.paths import ConfigPaths
    from rootman.seal import SealRecord

_SUFFIX: Final = ".default"
_TAKEN: Final = (stat.S_IFREG, stat.S_IFLNK)


def default_name(inode: int) -> str:
    """Return the name, in a seal record, of the kept default with this inode number."""
    return f"{inode}{_SUFFIX}"


def keep_default(fs: Fs, name: bytes, *, dir_fd: int, record_fd: int) -> None:
    """Keep the sealed inode ``name``, if it is one that is shared between trees.

    Raises:
        OSError: it cannot be linked.
    """
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if status.st_size and stat.S_IFMT(status.st_mode) in _TAKEN:
        try:
            kept = default_name(status.st_ino)
            fs.link(name, kept, source_fd=dir_fd, target_fd=record_fd)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.EMLINK):  # it can be had elsewhere
                raise


def keep_defaults(fs: Fs, config: ConfigPaths, *, root_fd: int, record_fd: int) -> None:
    """Keep the configuration that a tree was just made with.

    Raises:
        OSError: it cannot be linked.
    """
    with TreeDirs(root_fd) as dirs:
        keep_paths(fs, _all_of(dirs, config), root_fd=root_fd, record_fd=record_fd)


def _all_of(dirs: TreeDirs, config: ConfigPaths) -> Iterator[bytes]:
    """Yield what a tree has of its configuration, and the config paths that it has not."""
    pending = list(config.paths)
    while pending:
        path = pending.pop()
        yield path
        with suppress(FileNotFoundError, NotADirectoryError):
            inner = (join(path, os.fsencode(name)) for name in os.listdir(dirs.fd(path)))
            pending += (one for one in inner if not config.is_state(one))


def keep_paths(fs: Fs, paths: Iterable[bytes], *, root_fd: int, record_fd: int) -> None:
    """Keep what a tree was just made with at ``paths``, as far as there is something.

    Raises:
        OSError: it cannot be linked.
    """
    with TreeDirs(root_fd) as dirs:
        for path in paths:
            parent, name = split(path)
            with suppress(FileNotFoundError, NotADirectoryError):
                keep_default(fs, name, dir_fd=dirs.fd(parent), record_fd=record_fd)


def keep_lost(
    fs: Fs, drift: Iterable[Drift], record: SealRecord, *, places: Sequence[int], root_fd: int
) -> None:
    """Keep in ``record`` the sealed inodes that its tree has lost, as far as they are found.

    They may be kept in one of the ``places``, directories, or be at the same path of another
    tree ``root_fd`` (-1 for none). A name there that becomes another file's meanwhile gives a
    default that is not used.

    Raises:
        OSError: one cannot be linked.
    """
    inodes = record.inodes()
    with TreeDirs(root_fd) as dirs:
        for one in drift:
            inode = inodes[one.index] if one.line is not None and is_shared(one.line) else 0
            if not inode or one.sealed_inode or is_kept(record.dir_fd, inode):
                continue
            kept = default_name(inode).encode()
            if any(link_default(fs, fd, inode, kept, dir_fd=record.dir_fd) for fd in places):
                continue
            if root_fd >= 0:
                _keep_if(fs, inode, field_path(one.field), dirs, record.dir_fd)


def _keep_if(fs: Fs, inode: int, path: bytes, dirs: TreeDirs, record_fd: int) -> None:
    parent, name = split(path)
    with suppress(FileNotFoundError, NotADirectoryError):
        dir_fd = dirs.fd(parent)
        if os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_ino == inode:
            keep_default(fs, name, dir_fd=dir_fd, record_fd=record_fd)


def is_kept(record_fd: int, inode: int) -> bool:
    """Return whether the sealed inode with this number is kept in the record."""
    try:
        status = os.stat(default_name(inode), dir_fd=record_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return status.st_ino == inode


def kept_among(record: SealRecord, drift: Iterable[Drift]) -> dict[bytes, int]:
    """Return the inodes of those paths that are not as sealed but are kept, by their fields.

    Raises:
        InvalidInput: the record is damaged.
    """
    inodes = record.inodes()
    return {
        one.field: inodes[one.index]
        for one in drift
        if one.line is not None
        and is_shared(one.line)
        and is_kept(record.dir_fd, inodes[one.index])
    }


def link_default(fs: Fs, record_fd: int, inode: int, name: bytes, *, dir_fd: int) -> bool:
    """Give a kept default the ``name``; return whether there is one.

    Raises:
        OSError: it cannot be linked.
    """
    if not is_kept(record_fd, inode):
        return False
    fs.link(default_name(inode), name, source_fd=record_fd, target_fd=dir_fd)
    return True


def read_default(record_fd: int, inode: int) -> bytes | None:
    """Return the content of a kept default, None where there is none."""
    if not is_kept(record_fd, inode):
        return None
    with open_below(default_name(inode), record_fd) as file:
        return file.read()
