"""Making one entry of a tree that nobody uses yet, exactly as its manifest line says.

The order for an inode is: data, owner, xattrs, mode, times. chown(2) clears suid
bits and file capabilities, and everything else moves the modification time.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rootman.manifest import OF_THE_KERNEL
from rootman.xattrs import read_xattrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.fsops import Fs
    from rootman.manifest import Entry

_COPY_CHUNK: Final = 1 << 20
_HOLE: Final = 4096
_ZEROS: Final = bytes(_HOLE)
_NODE_TYPES: Final = {
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "char": stat.S_IFCHR,
    "block": stat.S_IFBLK,
}


def make_plain(fs: Fs, entry: Entry, name: bytes, *, dir_fd: int) -> None:
    """Make an entry that has no content of its own: all but files with content.

    Raises:
        OSError: the name is taken, or the system refused.
    """
    if entry.type == "dir":
        fs.mkdir(name, entry.mode & 0o777 | 0o700, dir_fd=dir_fd)
    elif entry.type == "link":
        fs.symlink(entry.link, name, dir_fd=dir_fd)
    elif entry.type == "file":
        os.close(fs.create(name, dir_fd=dir_fd))
    else:
        device = os.makedev(*entry.device) if entry.device is not None else 0
        fs.mknod(name, _NODE_TYPES[entry.type] | 0o600, device, dir_fd=dir_fd)
    # A directory's times come last of all, when nothing is put into it any more.
    set_metadata(fs, entry, name, dir_fd=dir_fd)


def set_metadata(fs: Fs, entry: Entry, name: bytes, *, dir_fd: int, inherited: bool = True) -> None:
    """Give the inode ``name`` the owner, xattrs, mode and times of ``entry``.

    It must be the tree's own: a shared inode would change in every tree. Where
    nothing can have been ``inherited`` from the directory, no xattrs are looked for.

    Raises:
        OSError: the system refused.
    """
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    mode = stat.S_IMODE(status.st_mode)
    if (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
        fs.chown(name, entry.uid, entry.gid, dir_fd=dir_fd)
        mode = -1  # chown may have cleared bits of it, and an ACL may set some
    if inherited or entry.xattrs:
        _set_xattrs(fs, entry, name, dir_fd=dir_fd)
        mode = -1
    if entry.type != "link" and mode != entry.mode:
        fs.chmod(name, entry.mode, dir_fd=dir_fd)
    fs.set_time(name, entry.time_ns, dir_fd=dir_fd)


def _set_xattrs(fs: Fs, entry: Entry, name: bytes, *, dir_fd: int) -> None:
    """Have exactly the entry's xattrs, whatever was inherited from the directory."""
    path = b"/proc/self/fd/%d/%b" % (dir_fd, name)
    wanted = dict(entry.xattrs)
    for attribute, _ in read_xattrs(path):
        if attribute not in wanted and attribute not in OF_THE_KERNEL:
            fs.remove_xattr(name, attribute, dir_fd=dir_fd)
    for attribute, value in wanted.items():
        fs.set_xattr(name, attribute, value, dir_fd=dir_fd)


def make_file(fs: Fs, content: Iterator[bytes], name: bytes, *, dir_fd: int) -> None:
    """Make the file ``name`` with ``content``, its metadata still to be set.

    Raises:
        OSError: the system refused.
    """
    fd = fs.create(name, dir_fd=dir_fd)
    try:
        write_content(fs, fd, content)
    finally:
        os.close(fd)


def write_content(fs: Fs, fd: int, content: Iterator[bytes]) -> None:
    """Write ``content`` to the new file ``fd``, with holes where whole blocks are zero.

    Raises:
        OSError: no space, or another failure of the disk.
    """
    out = ContentWriter(fs, fd)
    for chunk in content:
        out.add(chunk)
    out.finish()


class ContentWriter:
    """What ``write_content`` does, chunk by chunk as they come. Methods raise ``OSError``."""

    def __init__(self, fs: Fs, fd: int) -> None:
        self._fs = fs
        self._fd = fd
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Write ``chunk`` behind what was written."""
        for start, block in _runs(chunk):
            if start + self.size != os.lseek(self._fd, 0, os.SEEK_CUR):
                os.lseek(self._fd, start + self.size, os.SEEK_SET)
            self._fs.write(self._fd, block)
        self.size += len(chunk)

    def finish(self) -> None:
        """Give the file its size, where a hole is at its end."""
        if os.lseek(self._fd, 0, os.SEEK_CUR) != self.size:
            self._fs.truncate(self._fd, self.size)


def _runs(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of ``chunk`` that are not blocks of zeros; most chunks are one part."""
    if _ZEROS not in chunk:
        yield 0, chunk
        return
    for start in range(0, len(chunk), _HOLE):
        block = chunk[start : start + _HOLE]
        if block != _ZEROS[: len(block)]:
            yield start, block


def read_content(fd: int) -> Iterator[bytes]:
    """Yield the content of the open file ``fd`` from its beginning."""
    while chunk := os.read(fd, _COPY_CHUNK):
        yield chunk


def open_quietly(name: bytes, *, dir_fd: int) -> int:
    """Open a file for reading without moving its access time where that is allowed.

    Raises:
        OSError: it cannot be opened, or is a symlink.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with suppress(PermissionError):
        return os.open(name, flags | os.O_NOATIME, dir_fd=dir_fd)
    return os.open(name, flags, dir_fd=dir_fd)
