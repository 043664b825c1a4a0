"""Requests about open directories."""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING, Final

import pyfuse3

from cow.answers import Requests, answered
from rootman.directory import rewind

if TYPE_CHECKING:
    from cow.breaking import Breaker
    from cow.nodes import Node
    from cow.tree import GuardedTree

_LISTING: Final = os.O_RDONLY | os.O_DIRECTORY


class _Listing:
    """An open directory: its descriptor, and the names as they were when it was read."""

    __slots__ = ("fd", "names", "node")

    def __init__(self, node: Node, fd: int) -> None:
        self.node = node
        self.fd = fd
        self.names: list[bytes] = []


class ListingRequests(Requests):
    """What FUSE asks of directories that are read."""

    def __init__(self, tree: GuardedTree, breaker: Breaker) -> None:
        super().__init__(tree, breaker)
        self._listings: dict[int, _Listing] = {}
        self._numbers = count(1)

    @answered
    async def opendir(self, number: int, _: object) -> int:
        """opendir(3)."""
        node = self.tree.node(number)
        handle = next(self._numbers)
        fd = os.open(b".", _LISTING | os.O_CLOEXEC, dir_fd=self.tree.dir_fd(node))
        self._listings[handle] = _Listing(node, fd)
        node.pins += 1
        return handle

    @answered
    async def readdir(self, handle: int, start: int, token: pyfuse3.ReaddirToken) -> None:
        """readdir(3), with what each entry is: from the names as they were at the start."""
        listing = self._listings[handle]
        if start == 0:
            rewind(listing.fd)
            listing.names = [os.fsencode(name) for name in os.listdir(listing.fd)]
        tree, node = self.tree, listing.node
        if start < 2:
            dots = ((b".", node), (b"..", node.parent or node))
            for at, (name, one) in enumerate(dots[start:], start + 1):
                if not pyfuse3.readdir_reply(token, name, self.attributes(one, tree.stat(one)), at):
                    return
        begin = max(start, 2)
        for at, name in enumerate(listing.names[begin - 2 :], begin + 1):
            try:
                found, status = tree.look(node, name)
            except FileNotFoundError:
                continue  # removed since the directory was read
            if not pyfuse3.readdir_reply(token, name, self.attributes(found, status), at):
                tree.nodes.drop_unused(found)
                return
            found.lookups += 1

    @answered
    async def releasedir(self, handle: int) -> None:
        """closedir(3)."""
        listing = self._listings.pop(handle)
        os.close(listing.fd)
        listing.node.pins -= 1
        self.tree.nodes.drop_unused(listing.node)

    @answered
    async def fsyncdir(self, handle: int, datasync: bool) -> None:  # noqa: FBT001 - pyfuse3's
        """fsync(2) of a directory."""
        (os.fdatasync if datasync else os.fsync)(self._listings[handle].fd)
