"""Which inodes a tree was sealed with: what must be broken before it is changed.

Sorted numbers, 8 bytes for each, so that a million entries need 8 MB and no dictionary.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from rootman.seal import INODE_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable


class SealedInodes:
    """The sealed inodes of a tree, but for those that were made anew since."""

    def __init__(self, inodes: Iterable[int] = ()) -> None:
        self._inodes = array(INODE_TYPE, sorted({inode for inode in inodes if inode}))
        self._reused: set[int] = set()

    def __contains__(self, inode: int) -> bool:
        at = bisect_left(self._inodes, inode)
        if at == len(self._inodes) or self._inodes[at] != inode:
            return False
        return inode not in self._reused

    def reuse(self, inode: int) -> None:
        """Note that the number belongs to a new inode that no tree was sealed with."""
        if inode in self:
            self._reused.add(inode)
