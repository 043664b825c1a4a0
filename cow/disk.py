"""The calls by which a break changes the disk below: faults are injected here.

As ``rootman.fsops`` is for a store. All raise ``OSError`` untouched.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Final

_FICLONE: Final = 0x40049409  # linux/fs.h
_PIECE: Final = 16 << 20
_BUFFER: Final = 1 << 20
# "Not between these two files": the filesystem, its age or its options.
_NO_CLONE: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ETXTBSY)
_NO_COPY: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS)


class Disk:
    """The few system calls of a break, on descriptors and names in directories."""

    def create(self, name: bytes, *, dir_fd: int) -> int:
        """Create a file that must not exist; return a descriptor of it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=dir_fd)

    def clone(self, source: int, target: int) -> bool:
        """Share the extents of a file (FICLONE); return whether the filesystem can."""
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
            return False
        return True

    def copy(self, source: int, target: int, start: int, stop: int) -> None:
        """Copy these bytes of a file to the same place in another."""
        while start < stop:
            try:
                done = os.copy_file_range(source, target, min(stop - start, _PIECE), start, start)
            except OSError as error:
                if error.errno not in _NO_COPY:
                    raise
                done = os.pwrite(target, os.pread(source, min(stop - start, _BUFFER), start), start)
            if done == 0:
                return  # the file ends here
            start += done

    def truncate(self, fd: int, size: int) -> None:
        """ftruncate(2)."""
        os.ftruncate(fd, size)

    def write_out(self, fd: int) -> None:
        """fdatasync(2)."""
        os.fdatasync(fd)

    def symlink(self, target: bytes, name: bytes, *, dir_fd: int) -> None:
        """symlink(2)."""
        os.symlink(target, name, dir_fd=dir_fd)

    def mknod(self, name: bytes, mode: int, device: int, *, dir_fd: int) -> None:
        """mknod(2)."""
        os.mknod(name, mode, device, dir_fd=dir_fd)

    def mkdir(self, name: bytes, *, dir_fd: int) -> None:
        """mkdir(2), for this process alone."""
        os.mkdir(name, 0o700, dir_fd=dir_fd)

    def chown(self, name: bytes, uid: int, gid: int, *, dir_fd: int) -> None:
        """fchownat(2), not following."""
        os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=False)

    def set_xattr(self, path: bytes, attribute: str, value: bytes) -> None:
        """lsetxattr(2)."""
        os.setxattr(path, attribute, value, follow_symlinks=False)

    def chmod(self, name: bytes, mode: int, *, dir_fd: int) -> None:
        """fchmodat(2); never called for a symlink."""
        os.chmod(name, mode, dir_fd=dir_fd)

    def set_times(self, name: bytes, times: tuple[int, int], *, dir_fd: int) -> None:
        """utimensat(2), access and modification in ns, not following."""
        os.utime(name, ns=times, dir_fd=dir_fd, follow_symlinks=False)

    def link(self, source: bytes, target: bytes, *, source_fd: int, target_fd: int) -> None:
        """linkat(2), not following."""
        os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)

    def rename(self, source: bytes, target: bytes, *, source_fd: int, target_fd: int) -> None:
        """renameat(2): ``target`` is replaced."""
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)

    def unlink(self, name: bytes, *, dir_fd: int) -> None:
        """unlinkat(2)."""
        os.unlink(name, dir_fd=dir_fd)

    def rmdir(self, name: bytes, *, dir_fd: int) -> None:
        """rmdir(2)."""
        os.rmdir(name, dir_fd=dir_fd)
