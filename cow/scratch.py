"""The scratch directory, where breaks are made: what a killed guard left there is finished.

A break of several names is a directory there, made by one rename: ``group.N`` with the copy,
for each name a link to the copy, and a symlink that tells the path of the name. Out of scope:
making a break (``breaking``).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rootman.xattrs import path_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cow.disk import Disk

_GROUP: Final = b"group."
_COPY: Final = b"copy"
_NEW: Final = b"new."


def link_to_copy(group: bytes, number: int) -> bytes:
    """Return where in scratch the link is that is renamed over the name of this number."""
    return b"%b/%b.%d" % (group, _COPY, number)


def begin_group(disk: Disk, copy: bytes, paths: Iterable[list[bytes]], scratch: int) -> bytes:
    """Have a directory in scratch from which the copy can be renamed over names; return it.

    ``paths`` are the names, each with those of the directories above it in the tree.

    Raises:
        OSError: the system refused; the copy is gone.
    """
    group = _GROUP + copy
    making = _NEW + group
    try:
        disk.mkdir(making, dir_fd=scratch)
        disk.rename(copy, making + b"/" + _COPY, source_fd=scratch, target_fd=scratch)
        for number, path in enumerate(paths):
            disk.symlink(b"/".join(path), b"%b/%d" % (making, number), dir_fd=scratch)
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
    wanted = os.stat(group + b"/" + _COPY, dir_fd=scratch, follow_symlinks=False)
    for entry in os.listdir(path_at(scratch, group)):
        if not entry.isdigit():
            continue
        path = os.readlink(b"%b/%b" % (group, os.fsencode(entry)), dir_fd=scratch)
        try:
            there = os.stat(path, dir_fd=root_fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if there.st_ino == wanted.st_ino:
            continue
        copy = link_to_copy(group, int(entry))
        disk.rename(copy, path, source_fd=scratch, target_fd=root_fd)


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
