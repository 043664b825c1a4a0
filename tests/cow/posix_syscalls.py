"""Places in a directory, file handles and access control lists, which Python has nothing for."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, Final

from tests.cow.syscalls import AT_FDCWD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HANDLE_BYTES: Final = 128

libc: Final = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = ctypes.c_void_p
libc.fdopendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long


def check(result: int) -> int:
    """Return what a function of libc returned.

    Raises:
        OSError: it was negative.
    """
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


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


def names(found: Iterable[str]) -> list[str]:
    """Return names in an order that does not depend on the filesystem."""
    return sorted(found)
