"""System calls that Python has no function for, or not with every flag; access control lists."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

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
_HANDLE_BYTES: Final = 128

libc: Final = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def check(result: int) -> int:
    """Return what a function of libc returned.

    Raises:
        OSError: it was negative.
    """
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def fchmodat2(path: str, mode: int, flags: int) -> None:
    """fchmodat2(2), Linux 6.6: the one way to ask for the mode of a symlink itself."""
    check(libc.syscall(_SYS_FCHMODAT2, AT_FDCWD, os.fsencode(path), mode, flags))


def file_setattr(path: str, flags: int) -> None:
    """file_setattr(2), Linux 6.17: what FS_IOC_FSSETXATTR sets, by path."""
    attributes = (ctypes.c_uint64 * 3)(flags)
    check(
        libc.syscall(
            _SYS_FILE_SETATTR, AT_FDCWD, os.fsencode(path),
            ctypes.byref(attributes), ctypes.sizeof(attributes), 0,
        )
    )  # fmt: skip


def utimensat(path: str, access: tuple[int, int], modification: tuple[int, int]) -> None:
    """utimensat(2) with seconds and nanoseconds, or what stands for those."""
    times = (_Timespec * 2)(_Timespec(*access), _Timespec(*modification))
    check(libc.utimensat(AT_FDCWD, os.fsencode(path), times, 0))


def linkat(source: str, target: str, flags: int) -> None:
    """linkat(2)."""
    check(libc.linkat(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags))


def renameat2(source: str, target: str, flags: int) -> None:
    """renameat2(2)."""
    check(libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2)."""
    check(libc.fallocate64(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


def sync_file_range(fd: int) -> None:
    """sync_file_range(2) of all there is."""
    check(libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE))


class _Handle(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint),
        ("kind", ctypes.c_int),
        ("data", ctypes.c_ubyte * _HANDLE_BYTES),
    )


def handle_of(path: str) -> _Handle:
    """name_to_handle_at(2)."""
    handle = _Handle(size=_HANDLE_BYTES)
    mount = ctypes.c_int()
    name = os.fsencode(path)
    check(libc.name_to_handle_at(AT_FDCWD, name, ctypes.byref(handle), ctypes.byref(mount), 0))
    return handle


def open_handle(mount_fd: int, handle: _Handle, flags: int) -> int:
    """open_by_handle_at(2)."""
    return check(libc.open_by_handle_at(mount_fd, ctypes.byref(handle), flags))


_Entry = tuple[str, int, int]
_TAGS: Final = {"u::": 1, "u": 2, "g::": 4, "g": 8, "m": 16, "o": 32}
_NOBODY: Final = 0xFFFFFFFF


def acl(*entries: _Entry | tuple[str, int]) -> bytes:
    """Return an access control list as its attribute has it: ("u", uid, rwx), ("m", rwx)."""
    found = [(_TAGS[one[0]], one[-1], one[1] if len(one) == 3 else _NOBODY) for one in entries]
    packed = b"".join(struct.pack("<HHI", *one) for one in sorted(found))
    return struct.pack("<I", 2) + packed


class Stream:
    """opendir(3) and its companions, which give places in a directory."""

    def __init__(self, path: str) -> None:
        self._stream = ctypes.c_void_p(libc.opendir(os.fsencode(path)))
        assert self._stream.value, path

    def read(self) -> str | None:
        """readdir(3)."""
        found = libc.readdir(self._stream)
        if not found:
            return None
        return os.fsdecode(ctypes.string_at(found + 19))  # d_ino, d_off, d_reclen, d_type

    def __iter__(self) -> Iterator[str]:
        while (name := self.read()) is not None:
            yield name

    def tell(self) -> int:
        """telldir(3)."""
        return int(libc.telldir(self._stream))

    def seek(self, place: int) -> None:
        """seekdir(3)."""
        libc.seekdir(self._stream, ctypes.c_long(place))

    def rewind(self) -> None:
        """rewinddir(3)."""
        libc.rewinddir(self._stream)

    def close(self) -> None:
        """closedir(3)."""
        libc.closedir(self._stream)
