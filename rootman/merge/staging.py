"""The configuration of a complete tree, merged anew in a stage and put into its place by renames.

The tree is used by nobody. What is made is made of new directories, and of hardlinks of what the
tree has: no inode of it is written, and each config path is as it was or as it is to be (MG-18).
Out of scope: whether it may be done (``anew``).
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.apply import Applier, LinkedContent
from rootman.delta import join_drift
from rootman.directory import rewind
from rootman.entries import make_file, make_plain
from rootman.errors import NotFound
from rootman.fsops import opened
from rootman.manifest import field_path, printable
from rootman.merge.configuration import note_of
from rootman.merge.local import changes_of
from rootman.merge.paths import ancestors
from rootman.names import StageKind, StageName
from rootman.objects import copy_entry
from rootman.reading import changed
from rootman.scanner import describe
from rootman.seal import SealRecord, stamps_without
from rootman.store import NOTE_FILE, STAGE_ROOT, STAMPS_FILE
from rootman.survey import whole_groups
from rootman.treedirs import ChangingDirs, TreeDirs
from rootman.walk import join, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootman.delta import Drift
    from rootman.fsops import Fs
    from rootman.manifest import Entry
    from rootman.merge.configuration import ConfigMerge
    from rootman.merge.local import Changes
    from rootman.merge.note import MergeNote
    from rootman.merge.planning import MergePlan
    from rootman.state import Tree
    from rootman.store import Store

# In the stage: the note that holds while config paths are replaced.
_NOTE_MEANWHILE: Final = "meanwhile.json"


@dataclass(frozen=True, slots=True)
class LastMerge:
    """What was merged into a tree before, by its note, and where it is not as sealed since."""

    note: MergeNote
    drift: Sequence[Drift]


class ConfigStage:
    """What the steps ``StageConfig`` and ``PutConfig`` work on.

    ``tree`` is the tree with ``root_fd`` and ``record``, ``merge`` what is merged into it, of which
    ``changes`` were found just now. With the ``last`` merge it is merged again: into what the
    release has, not into what that made, which is not even linked, or its imprint would be
    another. ``carried`` is what was carried over. Methods raise ``OSError`` and ``RootmanError``.
    """

    def __init__(
        self,
        store: Store,
        fs: Fs,
        tree: Tree,
        *,
        root_fd: int,
        record: SealRecord,
        merge: ConfigMerge,
        changes: Changes,
        last: LastMerge | None = None,
    ) -> None:
        self._store = store
        self._fs = fs
        self._root_fd = root_fd
        self._record = record
        self._merge = merge
        self._changes = changes
        self._last = last
        self._stage = str(StageName(StageKind.MERGING, tree.number))
        self._places: tuple[bytes, ...] = ()
        self.carried: MergePlan | None = None

    def make(self) -> None:
        """Make the configuration in the stage, and what is to be in the record then."""
        fs, config = self._fs, self._merge.config
        fs.mkdir(self._stage, 0o700, dir_fd=self._store.staging)
        fs.mkdir(f"{self._stage}/{STAGE_ROOT}", 0o700, dir_fd=self._store.staging)
        with (
            opened(self._stage, dir_fd=self._store.staging) as stage,
            opened(STAGE_ROOT, dir_fd=stage) as root,
        ):
            made = changes_of(self._root_fd, self._last.drift) if self._last is not None else {}
            _Linker(fs, made, self._root_fd, root).link(config.paths)
            if self._last is not None:
                self._restore_defaults(root, self._last.drift)
            carried = self._merge.carry(fs, stage, root, found=self._changes)
            self.carried = carried.plan
            beside = tuple(path for path in carried.beside if not config.covers(path))
            self._places = tuple(dict.fromkeys((*config.paths, *beside)))
            # All directories are new ones; a stamp may be that of the same tick of the clock.
            data = stamps_without(self._record, filter(self._is_anew, self._record.digests()))
            make_file(fs, iter([data]), STAMPS_FILE.encode(), dir_fd=stage)
            if self._last is not None:
                note, after = self._last.note, note_of(self._merge, carried, root, self._record)
                self._places = tuple(dict.fromkeys((*self._places, *note.beside)))
                self._write_notes(note.on_the_way_to(after), after, stage)

    def _is_anew(self, path: str) -> bool:
        config, name = self._merge.config, os.fsencode(path)
        return config.covers(name) or config.is_state(name)

    def _restore_defaults(self, root: int, drift: Sequence[Drift]) -> None:
        """Have in the stage what the tree was sealed with, instead of what the last merge made.

        Raises:
            NotFound: a default is not here any more.
        """
        config = self._merge.config
        drift = whole_groups(drift, self._record)
        own = [one for one in drift if config.covers(field_path(one.field))]
        with closing(_Defaults(self._fs, self._root_fd, self._record)) as content:
            Applier(self._fs, root, content, {}).apply(join_drift((), own))

    def _write_notes(self, meanwhile: MergeNote, after: MergeNote, stage: int) -> None:
        for name, note in ((_NOTE_MEANWHILE, meanwhile), (NOTE_FILE, after)):
            make_file(self._fs, iter([note.serialise()]), name.encode(), dir_fd=stage)

    def put(self) -> None:
        """Put what was made into its place; what was there is in the stage then.

        A power cut leaves each config path old or new, and a note that is true of both.
        """
        fs, record = self._fs, self._record.dir_fd
        fs.syncfs(self._store.fd)
        with (
            opened(self._stage, dir_fd=self._store.staging) as stage,
            opened(STAGE_ROOT, dir_fd=stage) as root,
            TreeDirs(root) as new,
            ChangingDirs(self._root_fd) as old,
        ):
            fs.rename(STAMPS_FILE, STAMPS_FILE, source_fd=stage, target_fd=record)
            if self._last is not None:
                fs.rename(_NOTE_MEANWHILE, NOTE_FILE, source_fd=stage, target_fd=record)
            fs.fsync(record)
            for path in self._places:
                self._put(path, new, old)
            old.restore_times(fs)
            for directory in old.times:
                fs.fsync(old.fd(directory))
            if self._last is not None:
                fs.rename(NOTE_FILE, NOTE_FILE, source_fd=stage, target_fd=record)
                fs.fsync(record)

    def _put(self, path: bytes, new: TreeDirs, old: ChangingDirs) -> None:
        name = split(path)[1]
        source, target = new.status(path), old.status(path)
        if source is None and target is None:
            return
        parent = split(path)[0]
        source_fd, target_fd = new.fd(parent), old.touch(parent)
        if target is None:
            self._fs.move(name, name, source_fd=source_fd, target_fd=target_fd)
        elif source is None:
            self._fs.move(name, name, source_fd=target_fd, target_fd=source_fd)
        else:
            self._fs.exchange(name, name, source_fd=source_fd, target_fd=target_fd)
        old.lose(path)
        if source is not None and stat.S_ISDIR(source.st_mode):
            old.times[path] = source.st_mtime_ns  # of which XFS makes the moment of the rename


class _Defaults(LinkedContent):
    """The sealed inodes of a tree, all of which are needed."""

    def place(
        self, entry: Entry, name: bytes, *, dir_fd: int, index: int, present: int | None
    ) -> bool:
        """Link the sealed inode.

        Raises:
            NotFound: it is neither in the tree nor kept.
            OSError: the system refused.
        """
        if not super().place(entry, name, dir_fd=dir_fd, index=index, present=present):
            raise NotFound(f"{printable(entry.path)}: what the release has there is gone")
        return True


class _Linker:
    """Has in an empty tree what is in another, by hardlinks in new directories.

    All but the files, and whatever else has no names in it, that ``skip`` names.
    """

    def __init__(self, fs: Fs, skip: Changes, source_fd: int, target_fd: int) -> None:
        self._fs = fs
        self._skip = skip
        self._source = TreeDirs(source_fd)
        self._target = ChangingDirs(target_fd)

    def link(self, paths: tuple[bytes, ...]) -> None:
        """Have there what is at ``paths``.

        Raises:
            OSError: the system refused.
        """
        with self._source, self._target:
            for path in paths:
                self._make_above(path)
                status = self._source.status(path)
                if status is not None:
                    self._link(path, status)
            self._target.restore_times(self._fs)

    def _make_above(self, path: bytes) -> None:
        for directory in reversed([*ancestors(path)]):
            parent, name = split(directory)
            with suppress(FileExistsError):
                self._fs.mkdir(name, 0o700, dir_fd=self._target.fd(parent))

    def _link(self, path: bytes, status: os.stat_result) -> None:
        if not stat.S_ISDIR(status.st_mode):
            if path not in self._skip:
                self._link_file(path)
            return
        parent, name = split(path)
        entry = describe(self._source.fd(parent), name, path, status)
        make_plain(self._fs, entry, name, dir_fd=self._target.fd(parent))
        self._target.times[path] = entry.time_ns
        fd = self._source.fd(path)
        rewind(fd)
        with os.scandir(fd) as found:
            inner = [(os.fsencode(one.name), one.stat(follow_symlinks=False)) for one in found]
        for one, facts in inner:
            self._link(join(path, one), facts)

    def _link_file(self, path: bytes) -> None:
        """Give an inode one more name; where it has no room for that (ext4: 65,000), copy it."""
        parent, name = split(path)
        source_fd, target_fd = self._source.fd(parent), self._target.fd(parent)
        try:
            self._fs.link(name, name, source_fd=source_fd, target_fd=target_fd)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            status = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
            entry = describe(source_fd, name, path, status)
            if not copy_entry(self._fs, entry, name, source_fd, name, dir_fd=target_fd):
                raise changed(path) from error
