"""What must be known of a tree when it is mounted: which of its inodes have several names in it.

All but the directories are told by their listings alone, which name the inode of each
entry: nothing is looked at but what is found twice.
"""

from __future__ import annotations

import os
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from rootman.reading import other_filesystem
from rootman.seal import INODE_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cow.nodes import Node
    from cow.tree import GuardedTree

_LISTING: Final = os.O_RDONLY | os.O_DIRECTORY


def find_groups(tree: GuardedTree) -> None:
    """Have the tree know every name of the inodes that have several in it.

    Raises:
        InvalidInput: a part of the tree is on another filesystem, whose inodes have the same
            numbers: a subvolume of btrfs.
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
    device = os.fstat(tree.root_fd).st_dev
    pending = [tree.nodes.root]
    while pending:
        directory = pending.pop()
        below, others = _read(tree, directory, device)
        pending += below
        yield directory, others
        tree.nodes.drop_unused(directory)


def _read(
    tree: GuardedTree, directory: Node, device: int
) -> tuple[list[Node], list[tuple[bytes, int]]]:
    """Return the directories in one, and the names and inodes of what else is in it."""
    directories, others = [], []
    fd = tree.open(directory, _LISTING)
    try:
        with os.scandir(fd) as found:
            for entry in found:
                name = os.fsencode(entry.name)
                if not entry.is_dir(follow_symlinks=False):
                    others.append((name, entry.inode()))
                    continue
                status = entry.stat(follow_symlinks=False)
                if status.st_dev != device:
                    raise other_filesystem(b"/".join([*directory.path(), name]))
                directories.append(tree.nodes.at(directory, name, status.st_ino))
    finally:
        os.close(fd)
    return directories, others
