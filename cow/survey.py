"""What must be known of a tree when it is mounted: which of its inodes have several names in it.

All but the directories are told by their listings alone, which name the inode of each
entry: nothing is looked at but what is found twice.
"""

from __future__ import annotations

import os
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING

from rootman.seal import INODE_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cow.tree import GuardedTree


def find_groups(tree: GuardedTree) -> None:
    """Have the tree know every name of the inodes that have several in it.

    Raises:
        OSError: a directory cannot be read.
    """
    inodes = array(INODE_TYPE)
    for _, entries in _walk(tree.root_fd):
        inodes.extend(inode for _, inode in entries)
    twice = _repeated(inodes)
    if not twice:
        return
    for path, entries in _walk(tree.root_fd):
        for name, inode in entries:
            if inode in twice:
                _note(tree, path, name, inode)


def _repeated(inodes: array[int]) -> set[int]:
    ordered = sorted(inodes)
    return {one for one, other in pairwise(ordered) if one == other}


def _note(tree: GuardedTree, path: bytes, name: bytes, inode: int) -> None:
    node = tree.nodes.root
    for part in path.split(b"/") if path else ():
        node, _ = tree.look(node, part)
    tree.nodes.add_name(inode, None, (node, name))


def _walk(root_fd: int) -> Iterator[tuple[bytes, list[tuple[bytes, int]]]]:
    """Yield the path of each directory and the names and inodes of what else is in it."""
    pending = [b""]
    while pending:
        path = pending.pop()
        fd = os.open(b"./" + path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root_fd)
        entries = []
        try:
            with os.scandir(fd) as found:
                for entry in found:
                    name = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(path + b"/" + name if path else name)
                    else:
                        entries.append((name, entry.inode()))
        finally:
            os.close(fd)
        yield path, entries
