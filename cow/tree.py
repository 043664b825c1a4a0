"""A guarded tree: how its nodes are reached below, always by directory descriptors.

A node is reached by a descriptor of the directory that it is in and its name there, so
that neither a symlink nor a long path nor anything that is mounted leads elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from cow.nodes import Entries, Node, Nodes
from rootman.xattrs import path_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cow.seal import SealedInodes

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LISTING: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ITSELF: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

_REMEMBERED: Final = 4096
"""Entries of a directory whose listing is kept for the next who reads it."""


class Where(NamedTuple):
    """How to reach an inode below: for calls with ``dir_fd`` and ``follow_symlinks``."""

    dir_fd: int | None
    name: bytes
    follow: bool

    @property
    def path(self) -> bytes:
        """The same for calls that take no ``dir_fd``."""
        return self.name if self.dir_fd is None else path_at(self.dir_fd, self.name)


class GuardedTree:
    """The tree at ``root_fd``, whose sealed inodes are never changed."""

    def __init__(self, root_fd: int, sealed: SealedInodes, *, pool: int) -> None:
        self.root_fd = root_fd
        self.sealed = sealed
        self.nodes = Nodes(os.fstat(root_fd).st_ino, self._dropped)
        self._pool: OrderedDict[int, int] = OrderedDict()
        self._pool_size = pool

    def node(self, number: int) -> Node:
        """Return the node of a number.

        Raises:
            OSError: ESTALE, it was forgotten (a file handle of an NFS client).
        """
        node = self.nodes.get(number)
        if node is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return node

    def _dropped(self, node: Node) -> None:
        fd = self._pool.pop(node.number, -1)
        for one in (fd, node.orphan):
            if one >= 0:
                os.close(one)

    def dir_fd(self, node: Node) -> int:
        """Return a descriptor of a directory, for calls with a name in it; it stays the pool's.

        Raises:
            OSError: the directory cannot be reached.
        """
        pool = self._pool
        fd = pool.get(node.number)
        if fd is not None:
            pool.move_to_end(node.number)
            return fd
        fd = self._walk(node)
        pool[node.number] = fd
        if len(pool) > self._pool_size:
            os.close(pool.popitem(last=False)[1])
        return fd

    def _walk(self, node: Node) -> int:
        """Open a directory from the nearest above it that is open already."""
        missing: list[Node] = []
        fd = -1
        while fd < 0:
            if node is self.nodes.root:
                fd = self.root_fd
            elif node.orphan >= 0:
                fd = node.orphan
            elif node.number in self._pool:
                fd = self._pool[node.number]
            elif node.parent is None:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            else:
                missing.append(node)
                node = node.parent
        if not missing:
            return os.dup(fd)
        start = fd
        for one in reversed(missing):
            try:
                below = os.open(one.name, _DIRECTORY, dir_fd=fd)
            finally:
                if fd != start:
                    os.close(fd)
            fd = below
        return fd

    def where(self, node: Node) -> Where:
        """Return how to reach a node.

        Raises:
            OSError: its directory cannot be reached.
        """
        if node.parent is not None:
            return Where(self.dir_fd(node.parent), node.name, follow=False)
        if node.orphan >= 0:
            return Where(None, b"/proc/self/fd/%d" % node.orphan, follow=True)
        names = self.nodes.groups.get(node.inode)
        if names:
            parent, name = next(iter(names))
            return Where(self.dir_fd(parent), name, follow=False)
        if node is self.nodes.root:
            return Where(self.root_fd, b".", follow=False)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def stat(self, node: Node) -> os.stat_result:
        """Return what the filesystem below says of a node.

        Raises:
            OSError: it cannot be reached.
        """
        dir_fd, name, follow = self.where(node)
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=follow)

    def look(self, parent: Node, name: bytes) -> tuple[Node, os.stat_result]:
        """Return what stands under a name.

        Raises:
            OSError: nothing, ENOENT.
        """
        status = os.stat(name, dir_fd=self.dir_fd(parent), follow_symlinks=False)
        return self.nodes.at(parent, name, status.st_ino), status

    def entries(self, node: Node) -> Entries:
        """Return the names in a directory, and keep them for the next who asks.

        Raises:
            OSError: it cannot be read.
        """
        if node.listing is not None:
            return node.listing
        fd = self.open_directory(node)
        try:
            entries: Entries = [(os.fsencode(name), None) for name in os.listdir(fd)]
        finally:
            os.close(fd)
        if len(entries) <= _REMEMBERED:
            node.listing, node.files_to, node.directories_to = entries, 0, 0
        return entries

    def open_directory(self, node: Node) -> int:
        """Open a directory to list it, or to sync it.

        Raises:
            OSError: it cannot be reached.
        """
        return os.open(b".", _LISTING, dir_fd=self.dir_fd(node))

    def open(self, node: Node, flags: int) -> int:
        """Open what stands at a node, never what a symlink there leads to.

        Raises:
            OSError: open(2) failed.
        """
        dir_fd, name, follow = self.where(node)
        flags |= os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        return os.open(name, flags, dir_fd=dir_fd)

    def readlink(self, node: Node) -> bytes:
        """Return where a symlink leads to.

        Raises:
            OSError: it cannot be reached, or is no symlink.
        """
        dir_fd, name, follow = self.where(node)
        if follow:
            return os.readlink(b"", dir_fd=node.orphan)
        return os.readlink(name, dir_fd=dir_fd)

    def is_shared(self, node: Node, status: os.stat_result) -> bool:
        """Return whether the inode of a node may be another tree's, too, and must not change.

        One that a tree was sealed with, whatever became of the others, or one with more
        names than this tree has of it.
        """
        if stat.S_ISDIR(status.st_mode):
            return False
        return status.st_nlink > self.nodes.links(node) or status.st_ino in self.sealed

    @contextmanager
    def losing(self, parent: Node, name: bytes, status: os.stat_result) -> Iterator[None]:
        """Have a name go in the context; who holds on to what stood there can still reach it.

        Raises:
            OSError: what is about to lose its last name cannot be opened.
        """
        kept = self._keep(parent, name, status)
        try:
            yield
        except BaseException:
            if kept >= 0:
                os.close(kept)
            raise
        self._lose(parent, name, status, kept)

    def _keep(self, parent: Node, name: bytes, status: os.stat_result) -> int:
        """Return a descriptor to reach what is about to lose its last name, or -1."""
        node = self.nodes.of_inode(status.st_ino)
        if node is None or node.orphan >= 0:
            return -1
        if not stat.S_ISDIR(status.st_mode) and self.nodes.links(node) > 1:
            return -1
        return os.open(name, _ITSELF, dir_fd=self.dir_fd(parent))

    def _lose(self, parent: Node, name: bytes, status: os.stat_result, kept: int) -> None:
        """Note that a name is gone; ``kept`` is what ``_keep`` returned."""
        node = self.nodes.of_inode(status.st_ino)
        last = self.nodes.remove_name(status.st_ino, (parent, name))
        if node is None or not last or kept < 0:
            if kept >= 0:
                os.close(kept)
            return
        fd = self._pool.pop(node.number, -1)
        if fd >= 0:
            os.close(fd)
        if self.nodes.get(node.number) is node:
            node.orphan = kept
        else:
            os.close(kept)
