"""Making what a running system gets, and giving it its names: each path is whole at any moment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rootman.entries import make_plain, open_quietly
from rootman.live.planning import LivePlan, Offer, Waiting
from rootman.objects import copy_verified
from rootman.treedirs import GONE
from rootman.walk import split

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootman.fsops import Fs
    from rootman.live.planning import Kept, Reason
    from rootman.manifest import Entry
    from rootman.treedirs import TreeDirs


class Placing:
    """What of a plan is made ``aside``, from the directories ``new`` into those that run.

    ``is_as_seen`` says of a path, a name and its directory whether there is what was looked at.
    """

    def __init__(
        self,
        fs: Fs,
        plan: LivePlan,
        is_as_seen: Callable[[bytes, bytes, int], bool],
        *,
        aside: int,
        new: TreeDirs,
        running: TreeDirs,
    ) -> None:
        self._fs = fs
        self._plan = plan
        self._is_as_seen = is_as_seen
        self._aside = aside
        self._new = new
        self._running = running
        self._made: list[tuple[Offer, bytes]] = []
        self._groups: dict[int, bytes] = {}

    def make(self) -> None:
        """Make everything aside, as new inodes; what is not as released waits.

        Raises:
            OSError: the system refused.
        """
        for number, one in enumerate(self._plan.applied):
            name = b"%d" % number
            if self._make(one.entry, name):
                self._made.append((one, name))
            else:
                self._wait(one, "not there as the release has it")

    def _make(self, entry: Entry, name: bytes) -> bool:
        if entry.nlink > 1 and self._link(entry, name):
            return True
        if not entry.size or entry.type != "file":
            make_plain(self._fs, entry, name, dir_fd=self._aside)
            return True
        parent, source_name = split(entry.path)
        try:
            source = open_quietly(source_name, dir_fd=self._new.fd(parent))
        except OSError as error:
            if error.errno not in GONE:
                raise
            return False
        try:
            return copy_verified(self._fs, source, entry, name, dir_fd=self._aside)
        finally:
            os.close(source)

    def _link(self, entry: Entry, name: bytes) -> bool:
        """Link what another name of a new file has: made just now, or by an earlier run."""
        first = self._groups.setdefault(entry.inode, name)
        if first != name:
            self._fs.link(first, name, source_fd=self._aside, target_fd=self._aside)
            return True
        for one in self._plan.there:
            if one.entry.nlink > 1 and one.entry.inode == entry.inode:
                parent, there = split(one.path)
                parent_fd = self._running.fd(parent)
                self._fs.link(there, name, source_fd=parent_fd, target_fd=self._aside)
                return True
        return False

    def place(self) -> None:
        """Give everything its name, directories before what is in them.

        Raises:
            OSError: the system refused.
        """
        placed: list[Offer] = []
        for one, made in self._made:
            why = self._place(one, made)
            if why is None:
                placed.append(one)
            else:
                self._plan.kept.append(Waiting(one.path, why))
        self._plan.applied = placed

    def _place(self, one: Offer, made: bytes) -> Kept | None:
        """Return why not, None where it is there now."""
        parent, name = split(one.path)
        try:
            parent_fd = self._running.fd(parent)
            if one.base is None:
                self._fs.move(made, name, source_fd=self._aside, target_fd=parent_fd)
            elif self._is_as_seen(one.path, name, parent_fd):
                self._fs.rename(made, name, source_fd=self._aside, target_fd=parent_fd)
            else:
                return "changed here"
        except FileExistsError:
            return "something else is there"
        except OSError as error:
            if error.errno not in GONE:
                raise
            return "its directory is not there"
        return None

    def _wait(self, one: Offer, why: Reason) -> None:
        self._plan.waiting.append(Waiting(one.path, why))
