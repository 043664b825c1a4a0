"""Bringing what needs no reboot from a new tree into the running system.

Everything is made aside first, in one directory at the top of the running tree, and is on the
disk before the first of it gets its name: each path is what it was, or whole. What a run that
was cut off has made aside the next one removes, and it goes on with what is missing.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from rootman.boot.unlocked import WRITABLE, how_unlocked, what_runs
from rootman.comparison import compare
from rootman.demand import require_room
from rootman.errors import Refused
from rootman.execute import explained
from rootman.fsops import opened as opened_directory
from rootman.live.placing import Placing
from rootman.live.planning import (
    LivePlan,
    Offer,
    Waiting,
    content_size,
    judge,
    offers,
    settle_groups,
)
from rootman.merge.local import sealed_config
from rootman.removal import remove_tree
from rootman.room import room_of
from rootman.scanner import describe
from rootman.session import read_state
from rootman.state import require
from rootman.store import require_tree
from rootman.treedirs import GONE, TreeDirs
from rootman.usage import mounted_at
from rootman.verify import open_tree
from rootman.walk import is_in, split

if TYPE_CHECKING:
    from collections.abc import Collection

    from rootman.live.planning import Judgement
    from rootman.manifest import Entry
    from rootman.seal import SealRecord
    from rootman.session import Session
    from rootman.state import Tree

ASIDE: Final = ".rootman-live"
"""At the top of the running tree: what is made and has not got its place yet."""
# Without st_ctime, which changes when another name of the file is given to another.
_FACTS: Final = attrgetter("st_ino", "st_size", "st_mode", "st_uid", "st_gid", "st_mtime_ns")


@dataclass(frozen=True, slots=True)
class Applied:
    """What was brought, or would be, from ``new`` into ``running``."""

    running: Tree
    new: Tree
    plan: LivePlan


def apply_live(opened: Session, *, dry_run: bool) -> Applied:
    """Have of the tree that is current in the running system what needs no reboot.

    Raises:
        NotFound: no tree of this store runs.
        Refused: the running system cannot be written, or runs something newer.
        RootmanError: it failed; each path is as it was, or whole.
    """
    state = read_state(opened)
    running = require(state, what_runs(state.settings.os_name).number)
    new = require_tree(state, None)
    if new.number < running.number:
        raise Refused(
            f"{new.name} is older than {running.name}, which runs", hint="reboot: rootman upgrade"
        )
    with ExitStack() as stack, explained(f"{new.name} into the running {running.name}"):
        if new.number == running.number:
            return Applied(running, new, LivePlan())
        root = open_running(opened, running)
        stack.callback(os.close, root)
        live = Live(opened, root, *stack.enter_context(open_tree(opened.store, new)))
        _, record = stack.enter_context(open_tree(opened.store, running))
        opened.reporter.step(f"look for what of {new.name} needs no reboot")
        plan = live.look(record, mounted=mounted_over())
        if not dry_run:
            opened.reporter.step(f"apply {len(plan.applied)} paths of {new.name}")
            live.apply(plan)
    return Applied(running, new, plan)


def open_running(opened: Session, running: Tree) -> int:
    """Return a descriptor of the root of the running system, where that can be written.

    Raises:
        Refused: it cannot.
        OSError: it cannot be opened.
    """
    path = "/" if how_unlocked(opened.store, running.name) is None else WRITABLE
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
        os.close(fd)
        raise Refused(f"{running.name} runs read-only", hint="rootman unlock, and once more")
    return fd


def mounted_over() -> frozenset[bytes]:
    """Return the paths at which something else than the running tree is in sight."""
    seen = mounted_at()
    shown = seen[WRITABLE].source if WRITABLE in seen else None
    points = {one.point for one in seen.values() if one.source != shown} - {"/"}
    return frozenset(os.fsencode(one[1:]) for one in points)


@dataclass(slots=True)
class Live:
    """The new tree, ``new_fd`` with its ``record``, and the root of the running system."""

    opened: Session
    root_fd: int
    new_fd: int
    record: SealRecord
    _seen: dict[bytes, tuple[int, ...]] = field(default_factory=dict)

    def look(self, running: SealRecord, *, mounted: Collection[bytes] = ()) -> LivePlan:
        """Return what is to be done; ``running`` is the seal record of the tree that runs.

        Raises:
            RootmanError, OSError: something cannot be read.
        """
        plan = LivePlan()
        made: set[bytes] = set()  # directories that are to be
        config = sealed_config(self.record)
        with (
            running.manifest() as old,
            self.record.manifest() as new,
            TreeDirs(self.root_fd) as dirs,
        ):
            for one in offers(compare(old, new), config):
                if isinstance(one, Waiting):
                    plan.waiting.append(one)
                    continue
                verdict = self._judge(one, dirs, made, mounted)
                if verdict == "there":
                    plan.there.append(one)
                elif verdict == "apply":
                    plan.applied.append(one)
                    if one.entry.type == "dir":
                        made.add(one.path)
                else:
                    plan.kept.append(Waiting(one.path, verdict))
        settle_groups(plan)
        return plan

    def _judge(
        self, one: Offer, dirs: TreeDirs, made: Collection[bytes], mounted: Collection[bytes]
    ) -> Judgement:
        if is_in(one.path, mounted):
            return "another filesystem is mounted there"
        parent, name = split(one.path)
        if parent in made:
            return "apply"
        try:
            parent_fd = dirs.fd(parent)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return "its directory is not there"
        return judge(one, self._describe(one.path, name, parent_fd))

    def _describe(self, path: bytes, name: bytes, parent_fd: int) -> Entry | None:
        try:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        self._seen[path] = _FACTS(status)
        return describe(parent_fd, name, path, status)

    def apply(self, plan: LivePlan) -> None:
        """Do what is planned; what cannot be done after all is not ``applied`` any more.

        Raises:
            NoSpace: there is no room for it; nothing was changed.
            OSError: the system refused; each path is as it was, or whole.
        """
        fs = self.opened.fs
        remove_tree(fs, ASIDE.encode(), dir_fd=self.root_fd)  # of a run that was cut off
        if not plan.applied:
            return
        room = room_of(self.opened.store.fd)
        require_room(room, content_size(plan.applied), len(plan.applied))
        fs.mkdir(ASIDE, 0o700, dir_fd=self.root_fd)
        try:
            with (
                opened_directory(ASIDE, dir_fd=self.root_fd) as aside,
                TreeDirs(self.new_fd) as new,
                TreeDirs(self.root_fd) as running,
            ):
                placing = Placing(fs, plan, self.is_as_seen, aside=aside, new=new, running=running)
                placing.make()
                # Through a guard or into an overlay, it is this filesystem that has it all.
                fs.syncfs(self.opened.store.fd)
                placing.place()
            fs.syncfs(self.opened.store.fd)
        except BaseException:
            with suppress(OSError):  # the next run does it
                remove_tree(fs, ASIDE.encode(), dir_fd=self.root_fd)
            raise
        remove_tree(fs, ASIDE.encode(), dir_fd=self.root_fd)

    def is_as_seen(self, path: bytes, name: bytes, parent_fd: int) -> bool:
        """Return whether what is there is what was looked at."""
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        return self._seen.get(path) == _FACTS(status)
