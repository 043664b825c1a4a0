"""Bringing a tree back to its manifest.

The tree keeps its name and may be in use, but not through a guard (TR-19). So every
path goes from what it is to what it should be by one rename of a new inode; an inode
that is there is never written, because other trees may share it. New inodes are made in
a stage of their own and are durable before the first rename. A power cut in between
leaves some paths repaired and the others as they were; the seal record follows last,
and a stale record only makes the quick check look closer.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.comparison import known_lines
from rootman.delta import Drift
from rootman.entries import make_file, make_plain, open_quietly, set_metadata
from rootman.execute import explained
from rootman.fsops import open_dir
from rootman.manifest import ROOT, Entry, field_path, line_path, parse_line, path_field
from rootman.merge.local import sealed_config
from rootman.names import StageKind, StageName
from rootman.objects import copy_verified
from rootman.removal import remove_tree
from rootman.retirement import distrust_spares, drop_stage
from rootman.seal import is_shared, pack_digests, pack_inodes
from rootman.store import DIGESTS_FILE, INODES_FILE, scan
from rootman.survey import digests_of, whole_groups
from rootman.treedirs import ChangingDirs, TreeDirs
from rootman.usage import unguarded
from rootman.verify import open_tree, verify_tree
from rootman.walk import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rootman.merge.paths import ConfigPaths
    from rootman.objects import Objects
    from rootman.seal import SealRecord
    from rootman.session import Session
    from rootman.state import Tree
    from rootman.verify import Difference

_DIGEST: Final = b" sha256digest="


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What a repair did: the differences there were, and those that are left.

    ``local`` counts the paths of configuration that were changed here, and stay so.
    """

    repaired: Sequence[Difference]
    left: Sequence[Difference]
    local: int = 0


def repair_tree(opened: Session, tree: Tree, objects: Objects) -> RepairResult:
    """Bring ``tree`` back to its manifest, but for local configuration; then verify it again.

    Content comes from the sealed content of any tree of the store, verified on the
    way, else from ``objects``.

    Raises:
        Busy: a guard has it, which relies on nobody else changing it.
        NotFound: some content is nowhere; nothing was changed then.
        RootmanError, OSError: the repair failed; every path is as it was, or repaired.
    """
    store = opened.store
    with explained(f"repair {tree.name}"), unguarded(store.path, tree.name):
        with ExitStack() as stack:
            root, record = stack.enter_context(open_tree(store, tree))
            config = sealed_config(record)
            found, local = _without_local(verify_tree(store, tree), config)
            if not found:
                return RepairResult((), (), local)
            sources = _Sources(opened, stack)
            repair = _Repair(
                opened, tree, root, record, sources=sources, objects=objects, config=config
            )
            repair.run(found)
        return RepairResult(found, *_without_local(verify_tree(store, tree), config))


def _without_local(
    found: Sequence[Difference], config: ConfigPaths
) -> tuple[Sequence[Difference], int]:
    """Return what is to be mended of what was ``found``, and how much else there is (MG-15)."""
    mended = [one for one in found if one.damaged or not config.covers(one.path)]
    return mended, len(found) - len(mended)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where some content lies: a path of a tree, and the line that was sealed there."""

    tree: TreeDirs
    line: bytes


class _Sources:
    """The sealed content of every tree in the store, by hash."""

    def __init__(self, opened: Session, stack: ExitStack) -> None:
        self._trees: list[tuple[TreeDirs, SealRecord]] = []
        for tree in scan(opened.store).trees:
            if tree.seal is not None:
                root, record = stack.enter_context(open_tree(opened.store, tree))
                dirs = stack.enter_context(TreeDirs(root))
                self._trees.append((dirs, record))

    def find(self, digests: Iterable[str]) -> dict[str, list[_Place]]:
        """Return the places where content with these hashes was sealed, in one pass a tree."""
        places: dict[bytes, list[_Place]] = {one.encode(): [] for one in digests}
        for dirs, record in self._trees:
            with record.manifest() as stream:
                for line in known_lines(stream):
                    start = line.find(_DIGEST) + len(_DIGEST)
                    if line[start : start + 64] in places:
                        place = _Place(dirs, line)
                        places[line[start : start + 64]].append(place)
        return {digest.decode(): found for digest, found in places.items()}


class _Repair:
    """One repair, its new inodes numbered in a stage of its own."""

    def __init__(
        self,
        opened: Session,
        tree: Tree,
        root: int,
        record: SealRecord,
        *,
        sources: _Sources,
        objects: Objects,
        config: ConfigPaths,
    ) -> None:
        self._fs = opened.fs
        self._store = opened.store
        self._tree = tree
        self._record = record
        self._dirs = ChangingDirs(root)
        self._sources = sources
        self._objects = objects
        self._config = config
        self._stage = str(StageName(StageKind.REPAIR, tree.number))
        self._groups: dict[int, bytes] = {}

    def run(self, found: Sequence[Difference]) -> None:
        drift = [
            Drift(path_field(one.path), one.sealed, one.what, one.index)
            for one in found
            if one.sealed is not None
        ]
        drift = whole_groups(drift, self._record)
        entries = [(one.index, one.line, parse_line(one.line)) for one in drift if one.line]
        self._fs.mkdir(self._stage, 0o700, dir_fd=self._store.staging)
        stage = open_dir(self._stage, dir_fd=self._store.staging)
        try:
            distrust_spares(self._fs, self._store)
            with self._dirs:
                self._make_new(entries, stage)
                self._fs.syncfs(self._store.fd)
                self._remove_extras([one.path for one in found if one.kind == "added"])
                for index, _, entry in entries:
                    self._put(entry, b"%d" % index, stage)
                self._restore_times()
                self._fs.syncfs(self._store.fd)
                self._update_record(entries, stage)
        finally:
            os.close(stage)
        drop_stage(self._fs, self._store, self._stage)

    def _make_new(self, entries: Sequence[tuple[int, bytes, Entry]], stage: int) -> None:
        wanted = {entry.sha256 for _, line, entry in entries if entry.sha256 and is_shared(line)}
        places = self._sources.find(wanted)
        for index, line, entry in entries:
            name = b"%d" % index
            first = self._groups.get(entry.inode) if entry.nlink > 1 else None
            if entry.type == "dir":
                continue
            if first is not None:
                self._fs.link(first, name, source_fd=stage, target_fd=stage)
            elif entry.type == "file" and is_shared(line):
                self._make_file(entry, name, stage, places[entry.sha256])
            else:
                make_plain(self._fs, entry, name, dir_fd=stage)
            if entry.nlink > 1:
                self._groups.setdefault(entry.inode, name)

    def _make_file(self, entry: Entry, name: bytes, stage: int, places: Sequence[_Place]) -> None:
        """Make a file of sealed content found locally, else of the repository's."""
        for place in places:
            parent, source_name = split(field_path(line_path(place.line)))
            try:
                parent_fd = place.tree.fd(parent)
                source = open_quietly(source_name, dir_fd=parent_fd)
            except OSError:
                continue  # that tree changed there, too
            try:
                if copy_verified(self._fs, source, entry, name, dir_fd=stage):
                    return
            finally:
                os.close(source)
        self._objects.give(entry, name, dir_fd=stage, keep=True)

    def _remove_extras(self, paths: Sequence[bytes]) -> None:
        for path in reversed(paths):
            parent, name = split(path)
            self._dirs.lose(path)
            remove_tree(self._fs, name, dir_fd=self._dirs.touch(parent))

    def _put(self, entry: Entry, staged: bytes, stage: int) -> None:
        """Put one entry in its place, by one rename where there is no directory in the way."""
        if entry.path == ROOT:
            set_metadata(self._fs, entry, b".", dir_fd=self._dirs.root_fd)
            self._dirs.times[b""] = entry.time_ns
            return
        parent, name = split(entry.path)
        parent_fd = self._dirs.touch(parent)
        try:
            present: int | None = open_dir(name, dir_fd=parent_fd)
        except OSError:
            present = None
        if present is not None:
            os.close(present)
        if entry.type == "dir":
            self._put_directory(entry, name, parent_fd, there=present is not None)
            return
        if present is not None:
            self._dirs.lose(entry.path)
            remove_tree(self._fs, name, dir_fd=parent_fd)
        self._fs.rename(staged, name, source_fd=stage, target_fd=parent_fd)

    def _put_directory(self, entry: Entry, name: bytes, parent_fd: int, *, there: bool) -> None:
        if there:
            set_metadata(self._fs, entry, name, dir_fd=parent_fd)
        else:
            remove_tree(self._fs, name, dir_fd=parent_fd)
            make_plain(self._fs, entry, name, dir_fd=parent_fd)
        self._dirs.times[entry.path] = entry.time_ns

    def _restore_times(self) -> None:
        """Give the touched directories the times they were sealed with."""
        fields = {path_field(path or ROOT): path for path in self._dirs.times}
        with self._record.manifest() as stream:
            for line in known_lines(stream):
                path = fields.get(line_path(line))
                if path is not None:
                    parent, name = split(path)
                    time_ns = parse_line(line).time_ns
                    self._fs.set_time(name or b".", time_ns, dir_fd=self._dirs.fd(parent))

    def _has_local(self, path: bytes) -> bool:
        """Return whether local configuration may be in a directory: its digest is to show that."""
        return self._config.covers(path) or path in self._config.parents

    def _update_record(self, entries: Sequence[tuple[int, bytes, Entry]], stage: int) -> None:
        """Record the new inodes, so that they are the sealed ones from now on."""
        inodes, digests = self._record.inodes(), self._record.digests()
        for index, line, entry in entries:
            if is_shared(line):
                parent, name = split(entry.path)
                status = os.stat(name, dir_fd=self._dirs.fd(parent), follow_symlinks=False)
                inodes[index] = status.st_ino
        touched = [path or ROOT for path in self._dirs.times]
        paths = sorted(os.fsdecode(path) for path in touched if not self._has_local(path))
        digests.update(digests_of(self._dirs.root_fd, paths, forks=1)[0])
        files = {INODES_FILE: pack_inodes(inodes), DIGESTS_FILE: pack_digests(digests)}
        for file, data in files.items():
            make_file(self._fs, iter([data]), file.encode(), dir_fd=stage)
        self._fs.syncfs(self._store.fd)
        for file in files:
            self._fs.rename(file, file, source_fd=stage, target_fd=self._record.dir_fd)
        self._fs.fsync(self._record.dir_fd)
