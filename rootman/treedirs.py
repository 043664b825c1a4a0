"""Descriptors of the directories of one tree, opened on demand and pooled."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Final, Self

from rootman.fsops import open_dir

_POOL: Final = 64


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

    def forget(self, below: bytes = b"", path: bytes = b"") -> None:
        """Close the directories at ``path`` and ``below`` it (all by default).

        Needed before a directory is removed, because its name may come to mean another.
        """
        for known in [one for one in self._open if one == path or one.startswith(below)]:
            os.close(self._open.pop(known))
