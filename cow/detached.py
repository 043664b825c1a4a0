"""A private view of a directory: a bind mount that nobody else sees and that changes no atime.

open_tree(2) and mount_setattr(2), Linux 5.12. Nothing that is mounted below the directory
is in the view, neither now nor later, so a path in it leads to one filesystem alone; and to
read a file through it leaves its access time as it is, of a symlink too.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

from rootman.fsops import check

_SYS_OPEN_TREE: Final = 428
_SYS_MOUNT_SETATTR: Final = 442
_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_OPEN_TREE_CLONE: Final = 1
_ATTR_NOATIME: Final = 0x10
_ATTR_ATIME: Final = 0x70  # the field that NOATIME is a value of
_ATTR_NODIRATIME: Final = 0x80

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def open_view(path: str) -> int:
    """Return a descriptor of ``path`` in a view of its own, which ends with its last descriptor.

    Raises:
        OSError: among others EPERM without CAP_SYS_ADMIN.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    fd = check(_libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags), path)
    quiet = _MountAttr(_ATTR_NOATIME | _ATTR_NODIRATIME, _ATTR_ATIME, 0, 0)
    try:
        check(
            _libc.syscall(
                _SYS_MOUNT_SETATTR, fd, b"", _AT_EMPTY_PATH,
                ctypes.byref(quiet), ctypes.sizeof(quiet),
            ),
            path,
        )  # fmt: skip
    except BaseException:
        os.close(fd)
        raise
    return fd
