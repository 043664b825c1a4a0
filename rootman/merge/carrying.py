"""Carrying out a merge in a staged tree, which nobody uses yet and nobody will see half done.

What is made is a new inode, made aside and renamed to its place: neither an inode of the tree
that is left nor a sealed one of the release is ever written (MG-6). What the release has there
and has to go stays in the seal record as a kept default.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from rootman.entries import make_file, make_plain, open_quietly, read_content, set_metadata
from rootman.fsops import opened
from rootman.merge.defaults import keep_default
from rootman.objects import copy_content
from rootman.reading import changed, tree_failure
from rootman.removal import remove_tree
from rootman.treedirs import ChangingDirs, TreeDirs
from rootman.walk import split

if TYPE_CHECKING:
    from collections.abc import Container, Hashable, Iterator, Mapping, Sequence

    from rootman.fsops import Fs
    from rootman.manifest import Entry
    from rootman.merge.decision import Merged
    from rootman.merge.planning import Outcome

COPIES: Final = "local"
"""In a stage: what is made for the new tree and has not got its place yet."""
_GONE: Final = (FileNotFoundError, NotADirectoryError)


class Copies:
    """Local files, copied into the stage before anything in the new tree is changed.

    ``stage_fd`` is the stage, ``source_fd`` the root of the tree that is left. A context
    manager, after which no copy is left.
    """

    def __init__(self, fs: Fs, stage_fd: int, source_fd: int) -> None:
        self._fs = fs
        self._stage_fd = stage_fd
        self._source = TreeDirs(source_fd)
        self._names: dict[bytes, bytes] = {}
        self._count = 0
        self.fd = -1

    def __enter__(self) -> Self:
        self._fs.mkdir(COPIES, 0o700, dir_fd=self._stage_fd)
        self.fd = os.open(
            COPIES, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._stage_fd
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        os.close(self.fd)
        self._source.forget()
        if kind is None or not issubclass(kind, OSError):  # a stage that failed goes as a whole
            remove_tree(self._fs, COPIES.encode(), dir_fd=self._stage_fd)

    def take(self, outcomes: Sequence[Outcome]) -> None:
        """Copy the local files that ``outcomes`` need.

        Raises:
            Busy: one is not any more what it was when it was looked at.
            OSError: one cannot be written.
        """
        for one in outcomes:
            entry = one.was or (one.entry if one.source == "local" else None)
            if entry is not None and entry.type == "file":
                self._take(one.path, entry)

    def _take(self, path: bytes, entry: Entry) -> None:
        parent, name = split(path)
        try:
            source = open_quietly(name, dir_fd=self._source.fd(parent))
        except OSError as error:
            raise tree_failure(error, path) from error
        copy = self.free_name()
        try:
            is_it = copy_content(self._fs, source, entry.sha256, copy, dir_fd=self.fd)
        finally:
            os.close(source)
        if not is_it:
            raise changed(path)
        self._names[path] = copy

    def make(self, content: Iterator[bytes]) -> bytes:
        """Make a new file of ``content``; return its name here.

        Raises:
            OSError: it cannot be written.
        """
        name = self.free_name()
        make_file(self._fs, content, name, dir_fd=self.fd)
        return name

    def free_name(self) -> bytes:
        """Return a name that nothing here has."""
        self._count += 1
        return b"%d" % self._count

    def name_of(self, path: bytes) -> bytes:
        """Return the name of the copy of the local file ``path``."""
        return self._names[path]


class Carrier:
    """Makes of the tree ``root_fd``, as the new side has it, what the outcomes of a merge say.

    ``record_fd`` is its seal record, ``merged`` has contents by path. In ``used`` are the paths
    that are not as sealed before: what they have is no default to be kept.
    """

    def __init__(
        self,
        fs: Fs,
        root_fd: int,
        record_fd: int,
        copies: Copies,
        merged: Mapping[bytes, Merged],
        *,
        used: Container[bytes] = (),
    ) -> None:
        self._fs = fs
        self._dirs = ChangingDirs(root_fd)
        self._record_fd = record_fd
        self._copies = copies
        self._merged = merged
        self._used = used
        self._made: dict[Hashable, bytes] = {}  # names of what may get more of them

    @property
    def touched(self) -> frozenset[bytes]:
        """The paths of the directories whose entries changed (b"" the root)."""
        return frozenset(self._dirs.times)

    def carry(self, outcomes: Sequence[Outcome]) -> None:
        """Carry out all ``outcomes``, which are in the order of paths.

        Raises:
            OSError: the tree is then neither one nor the other.
        """
        with self._dirs:
            for one in outcomes:
                self._carry(one)
            self._dirs.restore_times(self._fs)

    def _carry(self, one: Outcome) -> None:
        parent, name = split(one.path)
        try:
            there = self._status(name, parent)
        except _GONE:
            return  # with its parent
        entry = one.entry
        if one.old is not None and one.was is not None:
            self._make(one.old, replace(one.was, path=one.old), one)
        elif entry is not None and one.source == "new":
            self._remake(one.path, entry, there)
        elif entry is not None and entry.type == "dir" and one.beside is None and _is_dir(there):
            self._set_directory(entry)
        else:
            self._clear(one, there)
            if entry is not None:
                self._make(one.path, entry, one)

    def _status(self, name: bytes, parent: bytes) -> os.stat_result | None:
        parent_fd = self._dirs.fd(parent)
        try:
            return os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _remake(self, path: bytes, entry: Entry, there: os.stat_result | None) -> None:
        """Give what the release has at ``path`` other metadata, in a new inode."""
        if there is None or _is_dir(there):
            self._set_directory(entry)
            return
        parent, name = split(path)
        staged = self._linked(entry, ("new", entry.nlink > 1 and there.st_ino))
        if staged is None:
            staged = self._made_of(name, parent, entry)
            self._remember(entry, ("new", entry.nlink > 1 and there.st_ino), staged)
        self._keep(path)
        self._put(staged, name, parent)

    def _made_of(self, name: bytes, parent: bytes, entry: Entry) -> bytes:
        """Return the name, aside, of a new inode of the content that is at ``name``."""
        if entry.type != "file":
            return self._made_plain(entry)
        source = open_quietly(name, dir_fd=self._dirs.fd(parent))
        try:
            staged = self._copies.make(read_content(source))
        finally:
            os.close(source)
        set_metadata(self._fs, entry, staged, dir_fd=self._copies.fd)
        return staged

    def _made_plain(self, entry: Entry) -> bytes:
        staged = self._copies.free_name()
        make_plain(self._fs, entry, staged, dir_fd=self._copies.fd)
        return staged

    def _clear(self, one: Outcome, there: os.stat_result | None) -> None:
        """Take what the release has at a path out of the way: beside it, or away."""
        if there is None:
            return
        parent, name = split(one.path)
        self._keep_all(one.path, there)
        self._dirs.lose(one.path)
        parent_fd = self._dirs.touch(parent)  # it may have left the pool while others were open
        if one.beside is not None:
            target = split(one.beside)[1]
            self._fs.rename(name, target, source_fd=parent_fd, target_fd=parent_fd)
        elif _is_dir(there):
            remove_tree(self._fs, name, dir_fd=parent_fd)
        elif one.entry is None or one.entry.type == "dir":
            self._fs.unlink(name, dir_fd=parent_fd)  # else it is replaced by a rename

    def _keep_all(self, path: bytes, status: os.stat_result) -> None:
        """Keep what is shared with other trees at ``path`` and below it."""
        if not _is_dir(status):
            self._keep(path)
            return
        with opened(path, dir_fd=self._dirs.root_fd) as fd, os.scandir(fd) as entries:
            for entry in entries:
                self._keep_all(
                    path + b"/" + os.fsencode(entry.name), entry.stat(follow_symlinks=False)
                )

    def _keep(self, path: bytes) -> None:
        if path in self._used:
            return
        parent, name = split(path)
        keep_default(self._fs, name, dir_fd=self._dirs.fd(parent), record_fd=self._record_fd)

    def _set_directory(self, entry: Entry) -> None:
        parent, name = split(entry.path)
        if self._status(name, parent) is None:
            self._make_directory(entry)
            return
        set_metadata(self._fs, entry, name, dir_fd=self._dirs.fd(parent))
        self._dirs.touch(parent)
        self._dirs.times[entry.path] = entry.time_ns

    def _make_directory(self, entry: Entry) -> None:
        parent, name = split(entry.path)
        make_plain(self._fs, entry, name, dir_fd=self._dirs.touch(parent))
        self._dirs.times[entry.path] = entry.time_ns

    def _make(self, path: bytes, entry: Entry, one: Outcome) -> None:
        """Make ``entry``, of local or merged content, at the free or replaceable ``path``."""
        if entry.type == "dir":
            self._make_directory(entry)
            return
        source = "local" if one.old is not None else one.source
        key = (source, entry.nlink > 1 and entry.inode)
        staged = self._linked(entry, key)
        if staged is None:
            if source == "merged":
                staged = self._copies.make(iter((self._merged[one.path].content,)))
            elif entry.type == "file":
                staged = self._copies.name_of(one.path)
            else:
                staged = self._made_plain(entry)
            set_metadata(self._fs, entry, staged, dir_fd=self._copies.fd)
            self._remember(entry, key, staged)
        parent, name = split(path)
        self._put(staged, name, parent)

    def _put(self, staged: bytes, name: bytes, parent: bytes) -> None:
        parent_fd = self._dirs.touch(parent)
        self._fs.rename(staged, name, source_fd=self._copies.fd, target_fd=parent_fd)

    def _linked(self, entry: Entry, key: tuple[str, int]) -> bytes | None:
        """Return one more name, aside, of an inode that was made already, None for none."""
        known = self._made.get((key, replace(entry, path=b"")))
        if known is None:
            return None
        staged = self._copies.free_name()
        fd = self._copies.fd
        self._fs.link(known, staged, source_fd=fd, target_fd=fd)
        return staged

    def _remember(self, entry: Entry, key: tuple[str, int], staged: bytes) -> None:
        """Keep a name of an inode that is to get more of them."""
        if key[1]:
            kept = self._copies.free_name()
            fd = self._copies.fd
            self._fs.link(staged, kept, source_fd=fd, target_fd=fd)
            self._made[key, replace(entry, path=b"")] = kept


def _is_dir(status: os.stat_result | None) -> bool:
    return status is not None and stat.S_ISDIR(status.st_mode)
