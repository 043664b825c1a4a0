"""System calls that Python has no function for, or not with every flag."""

from __future__ import annotations

import ctypes
import os
from typing import Final

AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_SYMLINK_FOLLOW: Final = 0x400
RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2
RENAME_WHITEOUT: Final = 4
UTIME_NOW: Final = (1 << 30) - 1
UTIME_OMIT: Final = (1 << 30) - 2
FALLOC_KEEP_SIZE: Final = 1
FALLOC_PUNCH_HOLE: Final = 2
FALLOC_COLLAPSE_RANGE: Final = 8
FALLOC_ZERO_RANGE: Final = 16
FALLOC_INSERT_RANGE: Final = 32
_SYNC_FILE_RANGE_WRITE: Final = 2
# The numbers of calls later than Linux 5.0 are the same on every architecture.
_SYS_FCHMODAT2: Final = 452
_SYS_FILE_SETATTR: Final = 469

_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _check(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def fchmodat2(path: str, mode: int, flags: int) -> None:
    """fchmodat2(2), Linux 6.6: the one way to ask for the mode of a symlink itself."""
    _check(_libc.syscall(_SYS_FCHMODAT2, AT_FDCWD, os.fsencode(path), mode, flags))


def file_setattr(path: str, flags: int) -> None:
    """file_setattr(2), Linux 6.17: what FS_IOC_FSSETXATTR sets, by path."""
    attributes = (ctypes.c_uint64 * 3)(flags)
    _check(
        _libc.syscall(
            _SYS_FILE_SETATTR, AT_FDCWD, os.fsencode(path),
            ctypes.byref(attributes), ctypes.sizeof(attributes), 0,
        )
    )  # fmt: skip


def utimensat(path: str, access: tuple[int, int], modification: tuple[int, int]) -> None:
    """utimensat(2) with seconds and nanoseconds, or what stands for those."""
    times = (_Timespec * 2)(_Timespec(*access), _Timespec(*modification))
    _check(_libc.utimensat(AT_FDCWD, os.fsencode(path), times, 0))


def linkat(source: str, target: str, flags: int) -> None:
    """linkat(2)."""
    _check(_libc.linkat(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags))


def renameat2(source: str, target: str, flags: int) -> None:
    """renameat2(2)."""
    _check(_libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2)."""
    _check(_libc.fallocate64(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


def sync_file_range(fd: int) -> None:
    """sync_file_range(2) of all there is."""
    _check(_libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE))
