"""A clone of a tree as it is now, to be changed and thrown away.

Other than a clone of what was sealed it has the local changes of the tree, too: it is to be
what runs. Sealed inodes are linked, as anywhere; what is the tree's own is copied, so that
nothing that is written here is ever written there. It is in staging, nothing of it is made
durable, and recovery removes it once no guard has it (UL-3).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from rootman.demand import require_room
from rootman.directory import rewind
from rootman.entries import set_metadata
from rootman.execute import explained
from rootman.fsops import opened as opened_directory
from rootman.manifest import ROOT
from rootman.names import StageKind, StageName
from rootman.objects import copy_entry
from rootman.reading import changed, tree_failure
from rootman.room import room_of
from rootman.scanner import describe
from rootman.store import STAGE_ROOT
from rootman.treedirs import TreeDirs
from rootman.verify import open_tree
from rootman.walk import join, split

if TYPE_CHECKING:
    from collections.abc import Container

    from rootman.fsops import Fs
    from rootman.names import TreeNumber
    from rootman.session import Session
    from rootman.state import Tree


def stage_of(number: TreeNumber) -> str:
    """Return the name of the stage in which the tree ``number`` is changed until it is left."""
    return str(StageName(StageKind.UNLOCKED, number))


def clone_as_it_is(opened: Session, tree: Tree) -> None:
    """Make the stage of ``tree``, with a clone of what is there now.

    The tree may be in use through a guard, by which its configuration is changed: that and
    the one of the clone break whatever both have a name of.

    Raises:
        Busy: a file changed while it was copied.
        NoSpace: there is no room for its directories.
        RootmanError: the system refused; what is there then, recovery removes.
    """
    store, fs, stage = opened.store, opened.fs, stage_of(tree.number)
    step = f"clone {tree.name} as it is"
    opened.reporter.step(step)
    with explained(step), open_tree(store, tree) as (source, record):
        # The directories are most of what is made (S6).
        require_room(room_of(store.fd), 0, len(record.digests()))
        fs.mkdir(stage, 0o700, dir_fd=store.staging)
        fs.mkdir(f"{stage}/{STAGE_ROOT}", 0o700, dir_fd=store.staging)
        with (
            opened_directory(f"{stage}/{STAGE_ROOT}", dir_fd=store.staging) as target,
            TreeDirs(source) as old,
            TreeDirs(target) as new,
        ):
            _Clone(fs, old, new, frozenset(record.inodes())).make()


class _Clone:
    """Fills ``target`` with what is in ``source``; ``sealed`` are the inodes to be linked."""

    def __init__(self, fs: Fs, source: TreeDirs, target: TreeDirs, sealed: Container[int]) -> None:
        self._fs = fs
        self._source = source
        self._target = target
        self._sealed = sealed
        self._groups: dict[int, bytes] = {}  # the first names of what has several here

    def make(self) -> None:
        directories, pending = [], [b""]
        while pending:
            path = pending.pop()
            directories.append(path)
            pending += self._fill(path)
        # In the end: what is put into a directory moves its time.
        for path in reversed(directories):
            parent, name = split(path)
            status = os.stat(name or ROOT, dir_fd=self._source.fd(parent), follow_symlinks=False)
            entry = describe(self._source.fd(parent), name or ROOT, path, status)
            set_metadata(self._fs, entry, name or ROOT, dir_fd=self._target.fd(parent))

    def _fill(self, path: bytes) -> list[bytes]:
        """Make all entries of a directory; return the directories among them, still empty."""
        try:
            fd = self._source.fd(path)
            rewind(fd)
            with os.scandir(fd) as found:
                entries = [
                    (os.fsencode(entry.name), entry.inode(), entry.is_dir(follow_symlinks=False))
                    for entry in found
                ]
        except OSError as error:
            raise tree_failure(error, path) from error
        below = []
        for name, inode, is_directory in entries:
            if is_directory:
                self._fs.mkdir(name, 0o700, dir_fd=self._target.fd(path))
                below.append(join(path, name))
                continue
            try:
                if inode not in self._sealed or not self._link(name, path):
                    self._copy(name, path)
            except FileNotFoundError as error:
                raise changed(join(path, name)) from error
        return below

    def _link(self, name: bytes, parent: bytes) -> bool:
        """Link a sealed inode; return False where that has as many names as there may be."""
        source_fd, target_fd = self._source.fd(parent), self._target.fd(parent)
        try:
            self._fs.link(name, name, source_fd=source_fd, target_fd=target_fd)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            return False
        return True

    def _copy(self, name: bytes, parent: bytes) -> None:
        path = join(parent, name)
        source_fd, target_fd = self._source.fd(parent), self._target.fd(parent)
        status = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
        first = self._groups.get(status.st_ino) if status.st_nlink > 1 else None
        if first is not None:
            there, first_name = split(first)
            self._fs.link(first_name, name, source_fd=self._target.fd(there), target_fd=target_fd)
            return
        entry = describe(source_fd, name, path, status)
        if not copy_entry(self._fs, entry, name, source_fd, name, dir_fd=target_fd):
            raise changed(path)
        if status.st_nlink > 1:
            self._groups[status.st_ino] = path
