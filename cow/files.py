"""The open files of a guarded tree, on two descriptors a node at most: to read, and to write.

FUSE says the place of each read and write, so an offset is not needed; O_APPEND and
O_DIRECT are the kernel's own affair. What was opened to read has a descriptor when there is
something to be read below: mostly the kernel has it. A break puts the new inode under the
descriptors of the old one, so that whoever opened the file before sees what is written after.
Out of scope: where kernel passthrough would plug in, ``Files.open`` is the place: it is
what decides which backing descriptor a file handle stands for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cow.nodes import NO_FD

if TYPE_CHECKING:
    from cow.nodes import Node
    from cow.tree import GuardedTree


class Files:
    """The open files. A file handle, which FUSE is given, is a node's number and one bit.

    That is whether the file was opened for writing.
    """

    def __init__(self, tree: GuardedTree) -> None:
        self._tree = tree

    def open(self, node: Node, *, write: bool) -> int:
        """Return a handle of the node for reading, or for both; ``node`` is private if both.

        Raises:
            OSError: open(2) failed.
        """
        if not write:
            node.readers += 1
            return node.number << 1
        if node.writer < 0:
            node.writer = self._tree.open(node, os.O_RDWR)
        node.writers += 1
        return node.number << 1 | 1

    def adopt(self, node: Node, fd: int) -> int:
        """Return a handle of a new node that ``fd`` is open for writing of."""
        node.writer = fd
        node.writers += 1
        return node.number << 1 | 1

    def node(self, handle: int) -> Node:
        """Return the node of an open file."""
        return self._tree.node(handle >> 1)

    def descriptor(self, handle: int) -> int:
        """Return what an open file is read by; it stays the node's.

        Raises:
            OSError: open(2) failed.
        """
        node = self._tree.node(handle >> 1)
        if node.writer >= 0:
            return node.writer
        if node.reader < 0:
            node.reader = self._tree.open(node, os.O_RDONLY)
        return node.reader

    def release(self, handle: int) -> None:
        """Take back an open file."""
        node = self._tree.node(handle >> 1)
        if handle & 1:
            node.writers -= 1
            if not node.writers:
                fd, node.writer = node.writer, NO_FD
                os.close(fd)
        else:
            node.readers -= 1
            if not node.readers and node.reader >= 0:
                fd, node.reader = node.reader, NO_FD
                os.close(fd)
        self._tree.nodes.drop_unused(node)
