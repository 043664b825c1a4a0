"""What must be known of a tree when it is mounted: which of its inodes have several names in it.

All but the directories are told by their listings alone, which name the inode of each
entry: nothing is looked at but what is found twice.
"""

from __future__ import annotations

import os
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from rootman.seal import INODE_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cow.nodes import Node
    from cow.tree import GuardedTree

_LISTING: Final = os.O_RDONLY | os.O_DIRECTORY


def find_groups(tree: GuardedTree) -> None:
    """Have the tree know every name of the inodes that have several in it.

    Raises:
        OSError: a directory cannot be read.
    """
    inodes = array(INODE_TYPE)
    for _, entries in _walk(tree):
        inodes.extend(inode for _, inode in entries)
    twice = _repeated(inodes)
    if not twice:
        return
    for directory, entries in _walk(tree):
        for name, inode in entries:
            if inode in twice:
                tree.nodes.add_name(inode, None, (directory, name))


def _repeated(inodes: array[int]) -> set[int]:
    ordered = sorted(inodes)
    return {one for one, other in pairwise(ordered) if one == other}


def _walk(tree: GuardedTree) -> Iterator[tuple[Node, list[tuple[bytes, int]]]]:
    """Yield each directory, and the names and inodes of what else is in it.

    Who wants to keep a directory pins it; the others are forgotten when all below is read.
    """
    pending = [tree.nodes.root]
    while pending:
        directory = pending.pop()
        entries = []
        fd = tree.open(directory, _LISTING)
        try:
            with os.scandir(fd) as found:
                for entry in found:
                    name = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(tree.nodes.at(directory, name, entry.inode()))
                    else:
                        entries.append((name, entry.inode()))
        finally:
            os.close(fd)
        yield directory, entries
        tree.nodes.drop_unused(directory)
