"""Requests about open directories."""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING, Final

import pyfuse3

from cow.answers import Requests, answered

if TYPE_CHECKING:
    from cow.breaking import Breaker
    from cow.nodes import Node
    from cow.tree import GuardedTree

_LISTING: Final = os.O_RDONLY | os.O_DIRECTORY
_DOTS: Final = 2
_REMEMBERED: Final = 4096
"""Entries of a directory whose listing is kept for the next who reads it."""


Entries = list[tuple[bytes, "Node | None"]]


class _Listing:
    """An open directory, and the names in it as they were when it was read."""

    __slots__ = ("entries", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.entries: Entries = []


class ListingRequests(Requests):
    """What FUSE asks of directories that are read."""

    def __init__(self, tree: GuardedTree, breaker: Breaker) -> None:
        super().__init__(tree, breaker)
        self._listings: dict[int, _Listing] = {}
        self._numbers = count(1)

    @answered
    def opendir(self, number: int, _: object) -> int:
        """opendir(3)."""
        node = self.tree.node(number)
        handle = next(self._numbers)
        self._listings[handle] = _Listing(node)
        node.pins += 1
        return handle

    @answered
    def readdir(self, handle: int, start: int, token: pyfuse3.ReaddirToken) -> None:
        """readdir(3), with what each entry is: from the names as they were at the start."""
        listing = self._listings[handle]
        node = listing.node
        if start == 0:
            listing.entries = node.listing if node.listing is not None else self._read(node)
        if start < _DOTS:
            dots = ((b".", node), (b"..", node.parent or node))
            for at, (name, one) in enumerate(dots[start:], start + 1):
                facts = one.facts or self.attributes(one, self.tree.stat(one))
                if not pyfuse3.readdir_reply(token, name, facts, at):
                    return
        entries, reply = listing.entries, pyfuse3.readdir_reply
        for index in range(max(start - _DOTS, 0), len(entries)):
            name, found = entries[index]
            # What is kept of the listing is true while no name in the directory was changed.
            if found is None or not _is_told(found) or entries is not node.listing:
                found = self._look(node, name)
                if found is None:
                    continue
                entries[index] = (name, found)
            if not reply(token, name, found.facts, index + _DOTS + 1):
                self.tree.nodes.drop_unused(found)
                return
            found.lookups += 1

    def _read(self, node: Node) -> Entries:
        fd = self._open(node)
        try:
            entries: Entries = [(os.fsencode(name), None) for name in os.listdir(fd)]
        finally:
            os.close(fd)
        if len(entries) <= _REMEMBERED:
            node.listing = entries
        return entries

    def _look(self, parent: Node, name: bytes) -> Node | None:
        """Return what stands under a name, None if that was removed since the listing."""
        try:
            node, status = self.tree.look(parent, name)
        except FileNotFoundError:
            return None
        self.attributes(node, status)
        return node

    def _open(self, node: Node) -> int:
        return os.open(b".", _LISTING | os.O_CLOEXEC, dir_fd=self.tree.dir_fd(node))

    @answered
    def releasedir(self, handle: int) -> None:
        """closedir(3)."""
        listing = self._listings.pop(handle)
        listing.node.pins -= 1
        self.tree.nodes.drop_unused(listing.node)

    @answered
    def fsyncdir(self, handle: int, datasync: bool) -> None:  # noqa: FBT001 - pyfuse3's
        """fsync(2) of a directory."""
        fd = self._open(self._listings[handle].node)
        try:
            (os.fdatasync if datasync else os.fsync)(fd)
        finally:
            os.close(fd)


def _is_told(node: Node) -> bool:
    """Return whether the kernel holds on to a node, whose attributes are as it was told."""
    return node.facts is not None and node.lookups > 0
