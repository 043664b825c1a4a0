"""The calls by which a break changes the disk below: those of a store, and a few for content.

Faults are injected here. All raise ``OSError`` untouched.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from typing import Final

# Loaded before it is needed: by then the guard may be what its file is read through.
import xattr  # noqa: F401

from rootman.fsops import Name, RealFs

_FICLONE: Final = 0x40049409  # linux/fs.h
_SYNC_FILE_RANGE_WRITE: Final = 2
_PIECE: Final = 4 << 20
_BUFFER: Final = 1 << 20
# "Not between these two files": the filesystem, its age or its options.
_NO_CLONE: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ETXTBSY)
_NO_COPY: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS)

_libc = ctypes.CDLL(None)
_libc.sync_file_range.argtypes = (
    ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint,
)  # fmt: skip


class Disk(RealFs):
    """The few system calls of a break, on descriptors and names in directories."""

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
        """Copy these bytes of a file to the same place in another.

        The disk reads what comes next and writes what was copied meanwhile, so that little is
        left for the rename of the copy, which waits until all is on its way.
        """
        while start < stop:
            os.posix_fadvise(source, start + _PIECE, _PIECE, os.POSIX_FADV_WILLNEED)
            try:
                done = os.copy_file_range(source, target, min(stop - start, _PIECE), start, start)
            except OSError as error:
                if error.errno not in _NO_COPY:
                    raise
                done = os.pwrite(target, os.pread(source, min(stop - start, _BUFFER), start), start)
            if done == 0:
                return  # the file ends here
            # No error: the disk's own are found by whoever waits for it.
            _libc.sync_file_range(target, start, done, _SYNC_FILE_RANGE_WRITE)
            start += done

    def write_out(self, fd: int) -> None:
        """fdatasync(2)."""
        os.fdatasync(fd)

    def set_times(self, name: Name, times: tuple[int, int], *, dir_fd: int) -> None:
        """utimensat(2), access and modification in ns, not following."""
        os.utime(name, ns=times, dir_fd=dir_fd, follow_symlinks=False)
