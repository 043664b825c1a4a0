"""Making a store, and taking a tree into it that something else has built."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rootman.building import Building
from rootman.errors import InvalidInput, NoSpace, NotFound, Refused, SystemFailure
from rootman.execute import Executor, explained
from rootman.names import BASE, CONTROL, check_os_name
from rootman.objects import copy_entry
from rootman.plan import plan_adoption
from rootman.removal import remove_tree
from rootman.room import room_of
from rootman.scanner import scan_tree
from rootman.smallfiles import write_file
from rootman.store import STATE_DIRS, STATE_FILE, scan
from rootman.survey import differences
from rootman.treedirs import TreeDirs
from rootman.walk import split
from rootman.wanted import Delta, pack_manifest

if TYPE_CHECKING:
    from rootman.fsops import Fs
    from rootman.manifest import Entry
    from rootman.names import TreeNumber
    from rootman.session import Session
    from rootman.state import Settings
    from rootman.wanted import Totals

_NEW_CONTROL: Final = ".rootman.new"
_PROBE: Final = "probe"
# What link(2) says where two places cannot share an inode.
_NO_LINK: Final = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)


def make_store(path: str, fs: Fs, settings: Settings) -> None:
    """Make an empty store at ``path``, whose parent directory exists.

    Raises:
        Refused: there is a store already.
        NotFound: the parent directory does not exist.
        SystemFailure: the filesystem cannot carry a store.
    """
    check_os_name(settings.os_name)
    with explained(path):
        made = _make_directory(path)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _make_control(fs, fd, path, settings)
        except BaseException:
            if made:
                with suppress(OSError):
                    os.rmdir(path)
            raise
        finally:
            os.close(fd)


def _make_directory(path: str) -> bool:
    """Make the store's directory; return False where it is there."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return False
    except FileNotFoundError as error:
        raise NotFound(f"{path}: its parent directory does not exist") from error
    return True


def _make_control(fs: Fs, fd: int, path: str, settings: Settings) -> None:
    """Make ``.rootman`` under another name first, so that it is never seen half made."""
    with suppress(FileNotFoundError):
        os.stat(CONTROL, dir_fd=fd, follow_symlinks=False)
        raise Refused(f"{path} is a store already", hint="rootman status")
    remove_tree(fs, _NEW_CONTROL.encode(), dir_fd=fd)
    try:
        fs.mkdir(_NEW_CONTROL, 0o700, dir_fd=fd)
        control = os.open(_NEW_CONTROL, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            for name in STATE_DIRS:
                fs.mkdir(name, 0o700, dir_fd=control)
            write_file(fs, STATE_FILE, (settings.serialise(),), dir_fd=control)
            _probe_hardlinks(fs, control, path)
        finally:
            os.close(control)
        fs.syncfs(fd)
        fs.move(_NEW_CONTROL, CONTROL, source_fd=fd, target_fd=fd)
    except BaseException:
        with suppress(OSError):
            remove_tree(fs, _NEW_CONTROL.encode(), dir_fd=fd)
        raise
    fs.fsync(fd)


def _probe_hardlinks(fs: Fs, control: int, path: str) -> None:
    try:
        fs.link(STATE_FILE, _PROBE, source_fd=control, target_fd=control)
    except OSError as error:
        if error.errno in _NO_LINK:
            raise SystemFailure(
                f"{path}: this filesystem has no hardlinks", hint="use ext4, xfs or btrfs"
            ) from error
        raise
    fs.unlink(_PROBE, dir_fd=control)


class AdoptedContent:
    """Content for a tree taken in: links to the given tree where they can be, else copies."""

    def __init__(self, fs: Fs, tree_fd: int) -> None:
        self._fs = fs
        self._source = TreeDirs(tree_fd)
        self.copies = False

    def place(
        self, entry: Entry, name: bytes, *, dir_fd: int, index: int, present: int | None
    ) -> bool:
        """Link or copy what stands at the same path.

        Raises:
            InvalidInput: the file changed since it was scanned.
            OSError: the system refused.
        """
        del index, present
        if self.copies or not self._link(entry, name, dir_fd):
            self._copy(entry, name, dir_fd)
        return True

    def _link(self, entry: Entry, name: bytes, dir_fd: int) -> bool:
        parent, source_name = split(entry.path)
        source_fd = self._source.fd(parent)
        try:
            self._fs.link(source_name, name, source_fd=source_fd, target_fd=dir_fd)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            self.copies = error.errno != errno.EMLINK
            return False
        # The name may have come to lead to another file since it was scanned (ST-20).
        if differences(entry, os.stat(name, dir_fd=dir_fd, follow_symlinks=False)):
            self._refuse(entry)
        return True

    def _copy(self, entry: Entry, name: bytes, dir_fd: int) -> None:
        parent, source_name = split(entry.path)
        source_fd = self._source.fd(parent)
        if not copy_entry(self._fs, entry, name, source_fd, source_name, dir_fd=dir_fd):
            self._refuse(entry)

    def _refuse(self, entry: Entry) -> None:
        shown = os.fsdecode(entry.path)
        raise InvalidInput(f"{shown} changed while it was taken in", hint="try again")

    def close(self) -> None:
        """Close the descriptors of the given tree."""
        self._source.forget()


def adopt(opened: Session, tree: str, number: TreeNumber) -> bool:
    """Take the tree at ``tree`` in as ``number``; return whether it shares its inodes with us.

    Raises:
        NotFound, InvalidInput: ``tree`` is not a directory, or not one to be taken in.
        RootmanError: refused or failed; the store is then as it was.
    """
    state = scan(opened.store)
    plan = plan_adoption(state, number)
    with explained(tree):
        try:
            source = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound(f"{tree}: no such directory") from error
        except NotADirectoryError as error:
            raise InvalidInput(f"{tree} is not a directory") from error
    content = AdoptedContent(opened.fs, source)
    try:
        _refuse_nested(tree, opened.store.path)
        content.copies = os.fstat(source).st_dev != os.fstat(opened.store.fd).st_dev
        opened.reporter.step(f"read {tree}")
        wanted, totals = pack_manifest(scan_tree(source))
        delta = Delta(wanted, None, ())
        delta.check(frozenset(), entries=totals.entries, seed_entries=0)
        _check_room(opened, delta, totals, copies=content.copies)
        building = Building(
            opened.store,
            opened.fs,
            opened.reporter,
            number=number,
            seed=None,
            wanted=wanted,
            delta=delta,
            content=content,
            supply=None,
            size=totals.size,
            release=None,
            forks=opened.forks,
            parts={BASE: wanted.digest},
        )
        Executor(opened.store, opened.fs, opened.reporter, state, building=building).run(plan)
    finally:
        content.close()
        os.close(source)
    return not content.copies


def _refuse_nested(tree: str, store: str) -> None:
    inner, outer = os.path.realpath(tree), os.path.realpath(store)
    if outer == inner or outer.startswith(inner.rstrip("/") + "/"):
        raise Refused(f"{tree} contains the store {store}", hint="give a tree outside of it")


def _check_room(opened: Session, delta: Delta, totals: Totals, *, copies: bool) -> None:
    """Refuse a tree for which bytes or inodes would not suffice: links need neither."""
    room = room_of(opened.store.fd)
    needed = delta.needs.fetch_bytes if copies else 0
    if needed > room.free_bytes:
        raise NoSpace(f"the tree has {needed >> 20} MiB, more than the filesystem has left")
    inodes = delta.needs.new_inodes if copies else totals.own_inodes
    if room.free_inodes is not None and inodes > room.free_inodes:
        raise NoSpace(f"the tree needs {inodes} inodes, and {room.free_inodes} are free")
