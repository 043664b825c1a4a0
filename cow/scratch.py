"""The scratch directory, where breaks are made: what a killed guard left there is finished.

A break of several names is a directory there, made by one rename: ``group.N.INODE`` with the
copy, for each name a link to the copy, and the path of the name in the target of a symlink, or
of several where it is long. INODE is the sealed one: a name that has another by then was
renamed over, or a program has changed it since. Out of scope: making a break (``breaking``).
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from itertools import count
from typing import TYPE_CHECKING, Final

from rootman.fsops import opened
from rootman.walk import join
from rootman.xattrs import path_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cow.disk import Disk

_GROUP: Final = b"group."
_COPY: Final = b"copy"
_NEW: Final = b"new."
_LONGEST: Final = 1000
"""Bytes of a symlink on any filesystem: XFS, and ext4 in blocks of 1 KiB, take hardly more."""


def link_to_copy(group: bytes, number: int) -> bytes:
    """Return where in scratch the link is that is renamed over the name of this number."""
    return b"%b/%b.%d" % (group, _COPY, number)


def begin_group(
    disk: Disk, copy: bytes, sealed: int, paths: Iterable[list[bytes]], scratch: int
) -> bytes:
    """Have a directory in scratch from which the copy can be renamed over names; return it.

    ``sealed`` is the inode that the names have, ``paths`` are the names, each with those of
    the directories above it in the tree.

    Raises:
        OSError: the system refused; the copy is gone.
    """
    group = b"%b%b.%d" % (_GROUP, copy, sealed)
    making = _NEW + group
    try:
        disk.mkdir(making, 0o700, dir_fd=scratch)
        disk.rename(copy, making + b"/" + _COPY, source_fd=scratch, target_fd=scratch)
        for number, path in enumerate(paths):
            for part, piece in enumerate(_pieces(path)):
                disk.symlink(piece, _piece(making, number, part), dir_fd=scratch)
            disk.link(
                making + b"/" + _COPY,
                link_to_copy(making, number),
                source_fd=scratch,
                target_fd=scratch,
            )
        disk.rename(making, group, source_fd=scratch, target_fd=scratch)
    except BaseException:
        with suppress(OSError):
            remove(disk, making, scratch)
        raise
    return group


def finish_breaks(disk: Disk, scratch: int, root_fd: int) -> None:
    """Finish what a guard that was killed had begun in ``scratch``, and remove the rest.

    Raises:
        OSError: the system refused; it can be tried again.
    """
    for name in sorted(os.listdir(scratch)):
        entry = os.fsencode(name)
        if entry.startswith(_GROUP):
            _finish_group(disk, entry, scratch, root_fd)
        remove(disk, entry, scratch)


def _finish_group(disk: Disk, group: bytes, scratch: int, root_fd: int) -> None:
    sealed = int(group.rpartition(b".")[2])
    for number in count():
        pieces = list(_read_path(group, number, scratch))
        if not pieces:
            break
        with ExitStack() as descriptors, suppress(FileNotFoundError):
            dir_fd = root_fd
            for piece in pieces[:-1]:
                dir_fd = descriptors.enter_context(opened(piece, dir_fd=dir_fd))
            name = pieces[-1]
            if os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_ino == sealed:
                copy = link_to_copy(group, number)
                disk.rename(copy, name, source_fd=scratch, target_fd=dir_fd)


def _piece(group: bytes, number: int, part: int) -> bytes:
    return b"%b/%d.%d" % (group, number, part)


def _read_path(group: bytes, number: int, scratch: int) -> Iterator[bytes]:
    """Yield the pieces of the path of a name; of a number that no name has there are none."""
    with suppress(FileNotFoundError):
        for part in count():
            yield os.readlink(_piece(group, number, part), dir_fd=scratch)


def _pieces(path: list[bytes]) -> Iterator[bytes]:
    """Yield a path in pieces that are short enough for a symlink."""
    piece = b""
    for name in path:
        if piece and len(piece) + 1 + len(name) > _LONGEST:
            yield piece
            piece = b""
        piece = join(piece, name)
    yield piece


def remove(disk: Disk, name: bytes, scratch: int) -> None:
    """Remove a copy or a group in scratch.

    Raises:
        OSError: the system refused.
    """
    try:
        disk.unlink(name, dir_fd=scratch)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        # The names first: without them there is nothing that the next mount would finish.
        gone = _NEW + name.removeprefix(_NEW)
        if gone != name:
            disk.rename(name, gone, source_fd=scratch, target_fd=scratch)
        for entry in os.listdir(path_at(scratch, gone)):
            disk.unlink(b"%b/%b" % (gone, os.fsencode(entry)), dir_fd=scratch)
        disk.rmdir(gone, dir_fd=scratch)
