"""Reading extended attributes (writing them is a change of the disk: ``fsops``).

Python's own functions are used here because the ``xattr`` package takes every
attribute name for UTF-8, and a tree may hold others.
"""

from __future__ import annotations

import errno
import os
from typing import Final

Xattrs = tuple[tuple[bytes, bytes], ...]

# XFS shows the access control lists a second time under names of its own, btrfs how
# it stores a file. Neither is part of a tree, which may be kept on any filesystem.
_OF_THE_FILESYSTEM: Final = frozenset({"trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT"})
_OF_BTRFS: Final = "btrfs."


def read_xattrs(target: int | bytes) -> Xattrs:
    """Return the extended attributes of a descriptor, or of what stands at a path itself.

    They come sorted by name. A filesystem that has none gives none. What only says how
    this filesystem stores the entry is left out.

    Raises:
        OSError: among others ENODATA where one vanished between the two calls.
    """
    follow = isinstance(target, int)
    try:
        names = os.listxattr(target, follow_symlinks=follow)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return ()
        raise
    if not names:
        return ()
    return tuple(
        sorted(
            (os.fsencode(name), os.getxattr(target, name, follow_symlinks=follow))
            for name in names
            if name not in _OF_THE_FILESYSTEM and not name.startswith(_OF_BTRFS)
        )
    )


def path_at(dir_fd: int, name: bytes) -> bytes:
    """Return a path to ``name`` in an open directory, for calls that take no ``dir_fd``."""
    return b"/proc/self/fd/%d/%b" % (dir_fd, name)
