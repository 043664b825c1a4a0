"""The calls by which a break changes the disk below: those of a store, and a few for content.

Faults are injected here. All raise ``OSError`` untouched.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Final

# Loaded before it is needed: by then the guard may be what its file is read through.
import xattr  # noqa: F401

from rootman.fsops import Name, RealFs

_FICLONE: Final = 0x40049409  # linux/fs.h
_PIECE: Final = 16 << 20
_BUFFER: Final = 1 << 20
# "Not between these two files": the filesystem, its age or its options.
_NO_CLONE: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ETXTBSY)
_NO_COPY: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS)


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

    def write_out(self, fd: int) -> None:
        """fdatasync(2)."""
        os.fdatasync(fd)

    def set_times(self, name: Name, times: tuple[int, int], *, dir_fd: int) -> None:
        """utimensat(2), access and modification in ns, not following."""
        os.utime(name, ns=times, dir_fd=dir_fd, follow_symlinks=False)
