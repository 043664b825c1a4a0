"""Requests about open directories."""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING, Final

import pyfuse3

from cow.ahead import walk_ahead
from cow.answers import Requests, answered

if TYPE_CHECKING:
    from cow.breaking import Breaker
    from cow.loop import Loop
    from cow.nodes import Entries, Node
    from cow.tree import GuardedTree

_DOTS: Final = 2


class _Listing:
    """An open directory, and the names in it as they were when it was read."""

    __slots__ = ("entries", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.entries: Entries = []


class ListingRequests(Requests):
    """What FUSE asks of directories that are read."""

    def __init__(self, tree: GuardedTree, breaker: Breaker, loop: Loop) -> None:
        super().__init__(tree, breaker)
        self.loop = loop
        self._listings: dict[int, _Listing] = {}
        self._numbers = count(1)

    @answered
    def opendir(self, number: int, _: object) -> int:
        """opendir(3)."""
        node = self.tree.node(number)
        handle = next(self._numbers)
        self._listings[handle] = _Listing(node)
        node.pins += 1
        for chore in walk_ahead(self.tree, node):
            self.loop.when_idle(chore)
        return handle

    @answered
    def readdir(self, handle: int, start: int, token: pyfuse3.ReaddirToken) -> None:
        """readdir(3), with what each entry is: from the names as they were at the start."""
        listing = self._listings[handle]
        node = listing.node
        if start == 0:
            listing.entries = self.tree.entries(node)
        if start < _DOTS:
            dots = ((b".", node), (b"..", node.parent or node))
            for at, (name, one) in enumerate(dots[start:], start + 1):
                facts = one.facts or self.attributes(one, self.tree.stat(one))
                if not pyfuse3.readdir_reply(token, name, facts, at):
                    return
        entries, reply = listing.entries, pyfuse3.readdir_reply
        # What is kept of the listing is true while no name in the directory was changed.
        kept = entries is node.listing
        for index in range(max(start - _DOTS, 0), len(entries)):
            name, found = entries[index]
            # Of what the kernel still holds on to, as it was told of it, nothing is looked up.
            if not kept or found is None or found.facts is None or found.lookups == 0:
                found = self._look(node, name)
                if found is None:
                    continue
                entries[index] = (name, found)
                found.place = index
            if not reply(token, name, found.facts, index + _DOTS + 1):
                self.tree.nodes.drop_unused(found)
                return
            found.lookups += 1

    def _look(self, parent: Node, name: bytes) -> Node | None:
        """Return what stands under a name, None if that was removed since the listing."""
        try:
            node, status = self.tree.look(parent, name)
        except FileNotFoundError:
            return None
        self.attributes(node, status)
        return node

    @answered
    def releasedir(self, handle: int) -> None:
        """closedir(3)."""
        listing = self._listings.pop(handle)
        listing.node.pins -= 1
        self.tree.nodes.drop_unused(listing.node)

    @answered
    def fsyncdir(self, handle: int, datasync: bool) -> None:  # noqa: FBT001 - pyfuse3's
        """fsync(2) of a directory."""
        fd = self.tree.open_directory(self._listings[handle].node)
        try:
            (os.fdatasync if datasync else os.fsync)(fd)
        finally:
            os.close(fd)
