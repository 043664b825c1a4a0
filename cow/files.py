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
    """A descriptor and how many open files share it; ``strips`` is for ``Files.write``."""

    __slots__ = ("node", "strips", "users")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.users = 0
        self.strips = False


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

    def open(self, node: Node, *, write: bool, privileged: bool = True) -> int:
        """Return the handle of the node for reading, or for both; ``node`` is private if both.

        ``privileged`` says that what is written through it clears no setuid bit.

        Raises:
            OSError: open(2) failed.
        """
        handle = node.writer if write else node.reader
        if handle < 0:
            handle = self._tree.open(node, os.O_RDWR if write else os.O_RDONLY)
            self._keep(node, handle, write=write)
        shared = self._shared[handle]
        shared.users += 1
        shared.strips |= not privileged
        return handle

    def adopt(self, node: Node, fd: int, *, privileged: bool) -> int:
        """Return the handle of a new node that ``fd`` is open for writing of."""
        self._keep(node, fd, write=True)
        shared = self._shared[fd]
        shared.users += 1
        shared.strips = not privileged
        return fd

    def _keep(self, node: Node, fd: int, *, write: bool) -> None:
        self._shared[fd] = _Shared(node)
        if write:
            node.writer = fd
        else:
            node.reader = fd

    def strips(self, handle: int) -> bool:
        """Return whether a write through the handle takes setuid and setgid away."""
        shared = self._shared[handle]
        return shared.strips and shared.node.strips

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
