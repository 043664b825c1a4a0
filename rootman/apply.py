"""Applying changes to a tree in staging, which nobody uses and nobody will see half done.

Changes come in path order, so a directory is made before what is in it, and a
removed directory is emptied by its own removal. Nothing is ever changed in a
shared inode: a path gets a new inode, or a link to one that is right already.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from rootman.delta import wants_content
from rootman.entries import make_plain, open_quietly, set_metadata
from rootman.manifest import ROOT, field_path, parse_line
from rootman.merge.defaults import link_default
from rootman.removal import remove_tree
from rootman.seal import is_shared
from rootman.survey import TYPES
from rootman.treedirs import GONE, ChangingDirs, TreeDirs
from rootman.walk import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootman.comparison import Change
    from rootman.fsops import Fs
    from rootman.manifest import Entry
    from rootman.seal import SealRecord


# What open_dir says of a directory that went, or gave way to a file or a symlink.
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Content(Protocol):
    """Where the files and symlinks of the wanted tree come from."""

    def place(
        self, entry: Entry, name: bytes, *, dir_fd: int, index: int, present: int | None
    ) -> bool:
        """Make the shared entry ``name`` in the directory; the name is free.

        ``index`` is the number of the entry's line in the wanted manifest. ``present``
        is an open descriptor of the file that stood at the path, None where there was
        none that may be read. Return whether it was made; else the tree is to lack it.
        """
        ...


class Applier:
    """Turns the tree ``root_fd`` into another, change by change.

    ``staying`` has the path of a hardlink group's name that does not change, by its
    inode keyword.
    """

    def __init__(
        self, fs: Fs, root_fd: int, content: Content, staying: Mapping[int, bytes]
    ) -> None:
        self._fs = fs
        self._content = content
        self._dirs = ChangingDirs(root_fd)
        self._groups = dict(staying)  # where a hardlink group already is
        self.inodes = array("Q")  # of each new line in turn, 0 where it is not shared

    @property
    def touched(self) -> Iterable[bytes]:
        """The paths of the directories whose entries changed (b"" the root)."""
        return self._dirs.times.keys()

    def apply(self, changes: Iterable[Change]) -> None:
        """Apply all ``changes`` and give every touched directory its time again.

        Raises:
            InvalidInput, NotFound, OSError: the tree is then neither old nor new.
        """
        with self._dirs:
            for change in changes:
                if change.new is None:
                    self._remove(field_path(change.field))
                else:
                    self.inodes.append(0)
                    self._make(parse_line(change.new), change)
            self._dirs.restore_times(self._fs)

    def _remove(self, path: bytes) -> None:
        parent, name = split(path)
        try:
            parent_fd = self._dirs.touch(parent)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return  # with its parent
        self._clear(path, name, parent_fd)

    def _clear(self, path: bytes, name: bytes, parent_fd: int) -> None:
        """Remove whatever stands at ``path``; a directory with all that is in it."""
        try:
            self._fs.unlink(name, dir_fd=parent_fd)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            self._dirs.lose(path)
            remove_tree(self._fs, name, dir_fd=parent_fd)

    def _make(self, entry: Entry, change: Change) -> None:
        if entry.path == ROOT:
            set_metadata(self._fs, entry, b".", dir_fd=self._dirs.touch(b""))
            self._dirs.times[b""] = entry.time_ns
            return
        parent, name = split(entry.path)
        parent_fd = self._dirs.touch(parent)
        there = _type_of(name, parent_fd)
        if entry.type == "dir":
            self._make_directory(entry, name, parent_fd, there)
            return
        present = self._open_present(name, parent_fd, entry, change) if there == "file" else None
        try:
            if there is not None:
                self._clear(entry.path, name, parent_fd)
            self._place(entry, change, name, parent_fd, present)
        finally:
            if present is not None:
                os.close(present)

    def _make_directory(self, entry: Entry, name: bytes, parent_fd: int, there: str | None) -> None:
        if there == "dir":
            set_metadata(self._fs, entry, name, dir_fd=parent_fd)
        else:
            if there is not None:
                self._fs.unlink(name, dir_fd=parent_fd)
            make_plain(self._fs, entry, name, dir_fd=parent_fd)
        self._dirs.times[entry.path] = entry.time_ns

    def _open_present(
        self, name: bytes, parent_fd: int, entry: Entry, change: Change
    ) -> int | None:
        """Open the file at the path if its content should be the wanted one."""
        if not entry.size or wants_content(change):
            return None
        return open_quietly(name, dir_fd=parent_fd)

    def _place(
        self, entry: Entry, change: Change, name: bytes, parent_fd: int, present: int | None
    ) -> None:
        line = change.new or b""
        first = self._groups.get(entry.inode) if entry.nlink > 1 else None
        if first is not None:
            there, first_name = split(first)
            self._fs.link(first_name, name, source_fd=self._dirs.fd(there), target_fd=parent_fd)
        elif is_shared(line):
            index = change.new_index
            if not self._content.place(entry, name, dir_fd=parent_fd, index=index, present=present):
                return
        else:
            make_plain(self._fs, entry, name, dir_fd=parent_fd)
        if entry.nlink > 1:
            self._groups.setdefault(entry.inode, entry.path)
        if is_shared(line):
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            self.inodes[-1] = status.st_ino


class LinkedContent:
    """Content for a tree that is to be a clone: links into a complete tree.

    That may be in use: only what has one of the inodes it was sealed with is linked, which
    stand in its ``record``; what has given way to local configuration is there, too.
    """

    def __init__(self, fs: Fs, source_fd: int, record: SealRecord) -> None:
        self._fs = fs
        self._source = TreeDirs(source_fd)
        self._record_fd = record.dir_fd
        self._inodes = record.inodes()

    def place(
        self, entry: Entry, name: bytes, *, dir_fd: int, index: int, present: int | None
    ) -> bool:
        """Link what stands at the same path, if it is what was sealed there, or was kept.

        Raises:
            OSError: the system refused.
        """
        del present
        inode = self._inodes[index]
        return self._link(entry, name, dir_fd, inode) or link_default(
            self._fs, self._record_fd, inode, name, dir_fd=dir_fd
        )

    def _link(self, entry: Entry, name: bytes, dir_fd: int, inode: int) -> bool:
        parent, source_name = split(entry.path)
        try:
            source_fd = self._source.fd(parent)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return False
        try:
            # Another is not linked even for a moment: its time of change would say so (MG-17).
            if os.stat(source_name, dir_fd=source_fd, follow_symlinks=False).st_ino != inode:
                return False
            self._fs.link(source_name, name, source_fd=source_fd, target_fd=dir_fd)
        except OSError as error:
            why_not_linked(error, source_name, source_fd)
            return False
        # The name may have come to lead to another file just now (ST-20).
        if os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_ino == inode:
            return True
        self._fs.unlink(name, dir_fd=dir_fd)
        return False

    def close(self) -> None:
        """Close the descriptors of the source tree."""
        self._source.forget()


def why_not_linked(error: OSError, name: bytes, source_fd: int) -> str:
    """Return why a name of a tree in use was not linked, as ``Drift.what`` says it.

    Raises:
        OSError: ``error``, where it is no matter of that name alone.
    """
    if error.errno == errno.EMLINK:
        return "links"
    if error.errno == errno.ENOENT:
        return "missing"
    if error.errno == errno.EPERM:  # which also says that there are no hardlinks
        with suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                return "type"
    raise error


def _type_of(name: bytes, dir_fd: int) -> str | None:
    """Return the mtree type of what stands at ``name``, None where nothing does."""
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return TYPES[stat.S_IFMT(status.st_mode)]
