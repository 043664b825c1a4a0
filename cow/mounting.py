"""mount(2), umount2(2) and a mount namespace of one's own."""

from __future__ import annotations

import ctypes
import os
from typing import Final

from rootman.fsops import check

RDONLY: Final = 1
NOSUID: Final = 2
NODEV: Final = 4
NOEXEC: Final = 8
BIND: Final = 0x1000
REC: Final = 0x4000
PRIVATE: Final = 0x40000
_DETACH: Final = 2
_CLONE_NEWNS: Final = 0x00020000

_libc = ctypes.CDLL(None, use_errno=True)


def mount(
    source: str | None, target: str, flags: int, *, kind: str | None = None, options: str = ""
) -> None:
    """mount(2).

    Raises:
        OSError: among others EPERM without CAP_SYS_ADMIN.
    """
    where, what = (None if one is None else os.fsencode(one) for one in (source, kind))
    check(_libc.mount(where, os.fsencode(target), what, flags, options.encode()), target)


def unmount(path: str, *, lazily: bool = False) -> None:
    """umount2(2), with MNT_DETACH if ``lazily``: what uses the mount may go on to.

    Raises:
        OSError: among others EBUSY where something uses it.
    """
    check(_libc.umount2(os.fsencode(path), _DETACH if lazily else 0), path)


def leave_mounts() -> None:
    """Have mounts of one's own: what is mounted from now on, here or elsewhere, is not in both.

    Raises:
        OSError: among others EPERM without CAP_SYS_ADMIN.
    """
    check(_libc.unshare(_CLONE_NEWNS), "a mount namespace")
    mount(None, "/", PRIVATE | REC)
