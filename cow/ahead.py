"""Reading ahead from one entry to the next: who goes through a tree in turn waits for no disk.

As the kernel does within a file: what stands next in a listing is asked of the disk below
before a program asks for it, so that it is in memory by then (GD-20). Nothing that is read
here is told to anybody, so it cannot be out of date; nothing here keeps a descriptor; and what
fails, because a name is gone meanwhile or for any other reason, is passed over. Out of scope:
what is in large files, where the kernel reads ahead by itself.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cow.nodes import Entries, Node
    from cow.tree import GuardedTree

SMALL: Final = 128 << 10
"""Bytes of the largest file or directory that is read whole before anybody asks."""
_WINDOW: Final = 16
"""How many entries of a listing are looked at beyond the one that was reached."""
_MOST: Final = 256
"""How many entries of a directory are looked at before anybody asks for them."""
_STEP: Final = 4
"""How many of them while a request may come."""
# Of a regular file none of these has an effect, unless it is not one: then nothing may wait.
_READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def is_small(node: Node) -> bool:
    """Return whether a node is a file whose few bytes the kernel was not given yet."""
    return not node.given and _is(node, stat.S_ISREG) and node.facts.st_size > 0


def _is(node: Node, kind: Callable[[int], bool]) -> bool:
    """Return whether a node is known to be small and of a kind."""
    facts = node.facts
    return facts is not None and kind(facts.st_mode) and facts.st_size <= SMALL


def read_ahead(tree: GuardedTree, node: Node) -> None:
    """Have the disk read small files that follow ``node``, a file that was opened.

    Nothing waits for it: the kernel is only told what will be needed.
    """
    above = node.parent
    if above is None:
        return
    following, above.files_to = _following(above, node, above.files_to)
    for name, found in following:
        if found is not None and is_small(found):
            with suppress(OSError):
                fd = os.open(name, _READING, dir_fd=tree.dir_fd(above))
                try:
                    os.posix_fadvise(fd, 0, SMALL, os.POSIX_FADV_WILLNEED)
                finally:
                    os.close(fd)


def walk_ahead(tree: GuardedTree, node: Node) -> Iterator[Iterator[None]]:
    """Yield what looks through directories that follow ``node``, one that was opened.

    Each of these waits for the disk, so it is for when there is nothing else to do, and does
    a little at a time.
    """
    above = node.parent
    if above is None:
        return
    following, above.directories_to = _following(above, node, above.directories_to)
    for _, found in following:
        if found is not None and found.listing is None and _is(found, stat.S_ISDIR):
            yield _look_through(tree, found)


def _following(above: Node, node: Node, asked: int) -> tuple[Entries, int]:
    """Return what follows ``node`` in its directory from ``asked`` on, and up to where that is.

    Nothing, if the node was not reached in turn: a program that opens one file of many is not
    about to open the next.
    """
    listing, place = above.listing, node.place
    if listing is None or place >= len(listing) or listing[place][1] is not node:
        return [], asked
    if place > asked + _WINDOW:
        return [], place
    if place + _WINDOW // 2 < asked:
        return [], asked
    end = place + 1 + _WINDOW
    return listing[max(asked, place + 1) : end], end


def _look_through(tree: GuardedTree, directory: Node) -> Iterator[None]:
    if directory.listing is not None:
        return
    with suppress(OSError):
        for number, (name, _) in enumerate(tree.entries(directory)[:_MOST]):
            if number % _STEP == 0:
                yield
            with suppress(FileNotFoundError):
                os.stat(name, dir_fd=tree.dir_fd(directory), follow_symlinks=False)
