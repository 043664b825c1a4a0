"""Descriptors of the directories of one tree, opened on demand and pooled."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Self

from rootman.fsops import open_dir
from rootman.walk import split

if TYPE_CHECKING:
    from rootman.fsops import Fs

_POOL: Final = 64
# What open_dir says of a place where a directory is not any more.
GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)


class TreeDirs:
    """A pool of open directories below ``root_fd``, keyed by decoded path (b"" is the root)."""

    def __init__(self, root_fd: int) -> None:
        self.root_fd = root_fd
        self._open: OrderedDict[bytes, int] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()

    def fd(self, path: bytes) -> int:
        """Return a descriptor of the directory ``path``; it stays the pool's.

        Raises:
            OSError: there is no such directory within the tree.
        """
        if not path:
            return self.root_fd
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        fd = open_dir(path, dir_fd=self.root_fd)
        self._open[path] = fd
        if len(self._open) > _POOL:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def status(self, path: bytes) -> os.stat_result | None:
        """Return what lstat(2) says of ``path``, None where nothing is within the tree.

        Raises:
            OSError: it cannot be looked at.
        """
        parent, name = split(path)
        try:
            return os.stat(name, dir_fd=self.fd(parent), follow_symlinks=False)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return None

    def forget(self, below: bytes = b"", path: bytes = b"") -> None:
        """Close the directories at ``path`` and ``below`` it (all by default).

        Needed before a directory is removed, because its name may come to mean another.
        """
        for known in [one for one in self._open if one == path or one.startswith(below)]:
            os.close(self._open.pop(known))


class ChangingDirs(TreeDirs):
    """The directories of a tree that is being changed, which get their times again in the end.

    ``times`` are those of the directories that were touched, in nanoseconds, by path.
    """

    def __init__(self, root_fd: int) -> None:
        super().__init__(root_fd)
        self.times: dict[bytes, int] = {}

    def touch(self, path: bytes) -> int:
        """Return the directory ``path``, about to change; its time is to be put back.

        Raises:
            OSError: there is no such directory within the tree.
        """
        fd = self.fd(path)
        if path not in self.times:
            self.times[path] = os.fstat(fd).st_mtime_ns
        return fd

    def lose(self, path: bytes) -> None:
        """Close the directory ``path`` and all below it, about to go, and let their times be."""
        below = path + b"/"
        self.forget(below, path)
        for gone in [one for one in self.times if one == path or one.startswith(below)]:
            del self.times[gone]

    def restore_times(self, fs: Fs) -> None:
        """Give each touched directory its time.

        Raises:
            OSError: the system refused.
        """
        for path, time_ns in self.times.items():
            parent, name = split(path)
            fs.set_time(name or b".", time_ns, dir_fd=self.fd(parent))
