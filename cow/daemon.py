"""What a process does that serves the root filesystem, so that it outlives all that uses it.

systemd ends processes at shutdown, but none whose command line begins with ``@``; and it
unmounts what it sees, but does not see what is mounted in another namespace.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

from cow.detached import unmount
from rootman.errors import SystemFailure
from rootman.fsops import check

_STAT: Final = "/proc/self/stat"
_ARG_START: Final = 47  # the 48th field of proc_pid_stat(5)
_MARK: Final = b"@"
_CLONE_NEWNS: Final = 0x00020000
_MS_REC_PRIVATE: Final = 0x4000 | 0x40000

_libc = ctypes.CDLL(None, use_errno=True)


def mark_storage_daemon() -> None:
    """Have the command line of this process begin with ``@``.

    The mark goes into the memory that exec(3) put the arguments in, and a fork has the same.

    Raises:
        SystemFailure: the system does not say where that is.
    """
    with open(_STAT, encoding="utf-8", errors="replace") as file:
        # The second field is a name in parentheses, which may have anything in it.
        fields = file.read().rpartition(")")[2].split()
    start = int(fields[_ARG_START - 2])
    if not start:
        raise SystemFailure(f"{_STAT} does not say where the arguments are", hint="be root")
    ctypes.memmove(start, _MARK, len(_MARK))


def keep_mounts(mountpoint: str) -> None:
    """Keep what is mounted as it is, for this process, whatever the system unmounts.

    What this process serves at ``mountpoint`` is none of that: it ends with the system's mount.

    Raises:
        OSError: among others EPERM without CAP_SYS_ADMIN.
    """
    check(_libc.unshare(_CLONE_NEWNS), mountpoint)
    check(_libc.mount(None, os.fsencode("/"), None, _MS_REC_PRIVATE, None), mountpoint)
    unmount(mountpoint, lazily=True)
