"""The open files of a guarded tree, on two descriptors a node at most: to read, and to write.

FUSE says the place of each read and write, so an offset is not needed; O_APPEND and
O_DIRECT are the kernel's own affair. A break puts the new inode under the descriptors of the
old one, so that whoever opened the file before sees what is written after.
Out of scope: where kernel passthrough would plug in, ``Files.open`` is the place: it is
what decides which backing descriptor a file handle stands for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cow.nodes import Node
    from cow.tree import GuardedTree


class _Shared:
    """A descriptor and how many open files share it."""

    __slots__ = ("node", "users")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.users = 0


class Files:
    """The descriptors of open files, which are the file handles that FUSE is given."""

    def __init__(self, tree: GuardedTree) -> None:
        self._tree = tree
        self._shared: dict[int, _Shared] = {}

    def __len__(self) -> int:
        return len(self._shared)

    def node(self, handle: int) -> Node:
        """Return the node of an open file."""
        return self._shared[handle].node

    def open(self, node: Node, *, write: bool) -> int:
        """Return the handle of the node for reading, or for both; ``node`` is private if both.

        Raises:
            OSError: open(2) failed.
        """
        handle = node.writer if write else node.reader
        if handle < 0:
            handle = self._tree.open(node, os.O_RDWR if write else os.O_RDONLY)
            self._keep(node, handle, write=write)
        self._shared[handle].users += 1
        return handle

    def adopt(self, node: Node, fd: int) -> int:
        """Return the handle of a new node that ``fd`` is open for writing of."""
        self._keep(node, fd, write=True)
        self._shared[fd].users += 1
        return fd

    def _keep(self, node: Node, fd: int, *, write: bool) -> None:
        self._shared[fd] = _Shared(node)
        if write:
            node.writer = fd
        else:
            node.reader = fd

    def release(self, handle: int) -> None:
        """Take back an open file."""
        shared = self._shared[handle]
        shared.users -= 1
        if shared.users:
            return
        del self._shared[handle]
        node = shared.node
        if node.writer == handle:
            node.writer = -1
        else:
            node.reader = -1
        os.close(handle)
        self._tree.nodes.drop_unused(node)
