"""The one door to the disk: every change rootman makes goes through ``Fs``.

The methods are the few system calls we use, on directory descriptors and names
below them; an ``OSError`` passes untouched. Faults are injected here. Reading is
done where it is needed, on descriptors that ``open_dir`` gave.

``open_dir`` walks with openat2(2) and ``RESOLVE_BENEATH``, ``NO_SYMLINKS`` and
``NO_XDEV``: nothing below a tree can lead out of it, neither a symlink nor a
mount (Linux 5.6).
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from rootman.freezing import Freezer
from rootman.xattrs import path_at

if TYPE_CHECKING:
    from collections.abc import Iterator

Name = str | bytes

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW

# "Cannot be frozen here": no right to, not implemented, frozen already by another.
_NO_FREEZE: Final = (
    errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTTY, errno.EBUSY, errno.EINVAL,
)  # fmt: skip

_SYS_OPENAT2: Final = 437
_RESOLVE: Final = 0x01 | 0x04 | 0x08  # NO_XDEV, NO_SYMLINKS, BENEATH
_IN_ROOT: Final = 0x01 | 0x02 | 0x10  # NO_XDEV, NO_MAGICLINKS, IN_ROOT
_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_HOW: Final = _OpenHow(_DIRECTORY, 0, _RESOLVE)
_HOW_POINTER: Final = ctypes.byref(_HOW)
_HOW_SIZE: Final = ctypes.sizeof(_HOW)
_INSIDE: Final = _OpenHow(os.O_RDONLY | os.O_CLOEXEC, 0, _IN_ROOT)


def check(result: int, *names: Name) -> int:
    """Return what a function of libc returned, which was loaded with ``use_errno``.

    Raises:
        OSError: it was negative; the error is about the first of the names.
    """
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), *(os.fsdecode(name) for name in names[:1]))
    return result


def open_dir(path: Name, *, dir_fd: int) -> int:
    """Open the directory ``path`` below ``dir_fd``, without leaving it; return the descriptor.

    Raises:
        OSError: among others ELOOP for a symlink on the way and EXDEV for a mount.
    """
    return check(
        _libc.syscall(_SYS_OPENAT2, dir_fd, os.fsencode(path), _HOW_POINTER, _HOW_SIZE), path
    )


def open_inside(path: str, *, dir_fd: int) -> int:
    """Open the file ``path`` for reading as it is found where ``dir_fd`` is the root directory.

    A symlink is followed, and leads to where it would lead there.

    Raises:
        OSError: there is no such file.
    """
    return check(
        _libc.syscall(_SYS_OPENAT2, dir_fd, path.encode(), ctypes.byref(_INSIDE), _HOW_SIZE), path
    )


@contextmanager
def opened(path: Name, *, dir_fd: int) -> Iterator[int]:
    """Have the directory ``path`` below ``dir_fd`` open, without leaving it (``open_dir``).

    Raises:
        OSError: there is no such directory.
    """
    fd = open_dir(path, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


class Fs(Protocol):
    """Changes of the disk. All raise ``OSError``; ``dir_fd`` is an open directory."""

    def mkdir(self, name: Name, mode: int, *, dir_fd: int) -> None:
        """mkdir(2)."""

    def link(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
        """link(2), of a symlink itself where the source is one."""

    def symlink(self, target: Name, name: Name, *, dir_fd: int) -> None:
        """symlink(2)."""

    def mknod(self, name: Name, mode: int, device: int, *, dir_fd: int) -> None:
        """mknod(2): fifos, sockets and device nodes."""

    def create(self, name: Name, *, dir_fd: int, mode: int = 0o600) -> int:
        """Create the file ``name``, which must not exist; return a descriptor for writing."""
        ...

    def reopen(self, name: Name, *, dir_fd: int) -> int:
        """Open the file ``name``, which is there, to be written in place; return a descriptor."""
        ...

    def write(self, fd: int, data: bytes) -> None:
        """Write all of ``data``."""

    def truncate(self, fd: int, size: int) -> None:
        """ftruncate(2)."""

    def chown(self, name: Name, uid: int, gid: int, *, dir_fd: int) -> None:
        """Change the owner, of a symlink itself where it is one."""

    def chmod(self, name: Name, mode: int, *, dir_fd: int) -> None:
        """chmod(2); never called for a symlink."""

    def set_time(self, name: Name, time_ns: int, *, dir_fd: int) -> None:
        """Set the modification and access time, of a symlink itself where it is one."""

    def set_xattr(self, name: Name, attribute: bytes, value: bytes, *, dir_fd: int) -> None:
        """Set an extended attribute, of a symlink itself where it is one."""

    def remove_xattr(self, name: Name, attribute: bytes, *, dir_fd: int) -> None:
        """Remove an extended attribute, of a symlink itself where it is one."""

    def rename(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
        """rename(2): ``target`` is replaced."""

    def move(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
        """Rename to a name that must be free (RENAME_NOREPLACE)."""

    def exchange(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
        """Exchange two names (RENAME_EXCHANGE)."""

    def unlink(self, name: Name, *, dir_fd: int) -> None:
        """unlink(2)."""

    def rmdir(self, name: Name, *, dir_fd: int) -> None:
        """rmdir(2)."""

    def fsync(self, fd: int) -> None:
        """fsync(2), of a file or a directory."""

    def syncfs(self, fd: int) -> None:
        """syncfs(2): all of the filesystem that ``fd`` is on."""

    def freeze_thaw(self, fd: int) -> None:
        """Bring the filesystem's journal home, so that a loader without one sees it (S3)."""


class RealFs:
    """``Fs`` on the real disk.

    The umask of the process is 0 from here on: modes are those that manifests say.
    """

    def __init__(self) -> None:
        os.umask(0)
        self._freezer = Freezer()

    def close(self) -> None:
        """Let go of the filesystems that were frozen, so that they can be unmounted."""
        self._freezer.close()

    def mkdir(self, name: Name, mode: int, *, dir_fd: int) -> None:
        """mkdir(2)."""
        os.mkdir(name, mode, dir_fd=dir_fd)

    def link(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
        """link(2), of a symlink itself where the source is one."""
        os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)

    def symlink(self, target: Name, name: Name, *, dir_fd: int) -> None:
        """symlink(2)."""
        os.symlink(target, name, dir_fd=dir_fd)

    def mknod(self, name: Name, mode: int, device: int, *, dir_fd: int) -> None:
        """mknod(2)."""
        os.mknod(name, mode, device, dir_fd=dir_fd)

    def create(self, name: Name, *, dir_fd: int, mode: int = 0o600) -> int:
        """Create a file that must not exist."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, mode, dir_fd=dir_fd)

    def reopen(self, name: Name, *, dir_fd: int) -> int:
        """Open a file that must exist; it keeps its size and its place on the disk."""
        return os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)

    def write(self, fd: int, data: bytes) -> None:
        """Write all of ``data``."""
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def truncate(self, fd: int, size: int) -> None:
        """ftruncate(2)."""
        os.ftruncate(fd, size)

    def chown(self, name: Name, uid: int, gid: int, *, dir_fd: int) -> None:
        """fchownat(2), not following."""
        os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=False)

    def chmod(self, name: Name, mode: int, *, dir_fd: int) -> None:
        """fchmodat(2)."""
        os.chmod(name, mode, dir_fd=dir_fd)

    def set_time(self, name: Name, time_ns: int, *, dir_fd: int) -> None:
        """utimensat(2), not following."""
        os.utime(name, ns=(time_ns, time_ns), dir_fd=dir_fd, follow_symlinks=False)

    def set_xattr(self, name: Name, attribute: bytes, value: bytes, *, dir_fd: int) -> None:
        """lsetxattr(2)."""
        import xattr

        # There is no setxattrat(2) before Linux 6.13: the descriptor's own path serves.
        xattr.setxattr(path_at(dir_fd, os.fsencode(name)), attribute, value, symlink=True)

    def remove_xattr(self, name: Name, attribute: bytes, *, dir_fd: int) -> None:
        """lremovexattr(2)."""
        import xattr

        xattr.removexattr(path_at(dir_fd, os.fsencode(name)), attribute, symlink=True)

    def rename(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
        """rename(2)."""
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)

    def move(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
        """renameat2(2) with RENAME_NOREPLACE."""
        rename_with(_RENAME_NOREPLACE, source, target, source_fd=source_fd, target_fd=target_fd)

    def exchange(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
        """renameat2(2) with RENAME_EXCHANGE."""
        rename_with(_RENAME_EXCHANGE, source, target, source_fd=source_fd, target_fd=target_fd)

    def unlink(self, name: Name, *, dir_fd: int) -> None:
        """unlink(2)."""
        os.unlink(name, dir_fd=dir_fd)

    def rmdir(self, name: Name, *, dir_fd: int) -> None:
        """rmdir(2)."""
        os.rmdir(name, dir_fd=dir_fd)

    def fsync(self, fd: int) -> None:
        """fsync(2)."""
        os.fsync(fd)

    def syncfs(self, fd: int) -> None:
        """syncfs(2)."""
        check(_libc.syncfs(fd))

    def freeze_thaw(self, fd: int) -> None:
        """FIFREEZE and FITHAW; two syncfs(2) where the filesystem cannot be frozen."""
        try:
            self._freezer.freeze_thaw(fd)
        except OSError as error:
            if error.errno not in _NO_FREEZE:
                raise
            self.syncfs(fd)
            self.syncfs(fd)


def rename_with(flags: int, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
    """renameat2(2), which Python has no function for.

    Raises:
        OSError: it failed.
    """
    check(
        _libc.renameat2(source_fd, os.fsencode(source), target_fd, os.fsencode(target), flags),
        source,
    )
