"""Trees that leave: retired to become the spare, or deleted.

A tree loses its final name, durably and for every loader, before the first file
in it is changed (S1, S3).
"""

from __future__ import annotations

import os
from array import array
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from rootman import foresight
from rootman.apply import Applier, LinkedContent
from rootman.clone import clone_tree, misplaced
from rootman.comparison import Change, compare, known_lines
from rootman.delta import is_directory, join_drift, note_other_inodes
from rootman.directory import rewind
from rootman.edits import compose, inverted
from rootman.entries import make_file
from rootman.fsops import opened
from rootman.layer.record import is_layered
from rootman.links import publish
from rootman.manifest import HARDLINK, ROOT, field_path, line_path
from rootman.merge.defaults import kept_among
from rootman.merge.local import find_drift, sealed_config
from rootman.names import StageKind, StageName, parse_stage_name
from rootman.removal import remove_tree
from rootman.seal import SealRecord, is_shared, pack_stamps
from rootman.store import NOTE_FILE, STAGE_META, STAGE_ROOT, STAGE_SEAL, STAMPS_FILE
from rootman.survey import Check, stamps_of
from rootman.treedirs import TreeDirs
from rootman.walk import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rootman.delta import Drift
    from rootman.fsops import Fs
    from rootman.state import Tree
    from rootman.store import Store


def retire(fs: Fs, store: Store, tree: Tree) -> None:
    """Move a complete tree and its record into a stage of their own.

    Raises:
        OSError: the system refused; the tree has its name still, or is in staging.
    """
    stage = str(StageName(StageKind.RETIRED, tree.number))
    fs.mkdir(stage, 0o700, dir_fd=store.staging)
    fs.move(tree.name, f"{stage}/{STAGE_ROOT}", source_fd=store.fd, target_fd=store.staging)
    publish(fs, store)
    # After the tree, however a filesystem orders them: a name never lacks its record.
    fs.move(
        str(tree.number), f"{stage}/{STAGE_META}", source_fd=store.trees, target_fd=store.staging
    )
    fs.fsync(store.trees)


def delete_tree(fs: Fs, store: Store, tree: Tree) -> None:
    """Delete a complete tree and its record.

    Nothing is made for it, because this is what a full disk must not refuse.

    Raises:
        Busy: something is mounted in it.
        OSError: the system refused; the rest goes with the next command.
    """
    stage = str(StageName(StageKind.DELETING, tree.number))
    fs.move(tree.name, stage, source_fd=store.fd, target_fd=store.staging)
    publish(fs, store)
    remove_tree(fs, str(tree.number).encode(), dir_fd=store.trees)
    remove_tree(fs, stage.encode(), dir_fd=store.staging)


def roll_forward(fs: Fs, store: Store, stage: str, target: Tree) -> None:
    """Make the retired tree in ``stage`` a clone of the tree ``target``: the spare.

    Only what differs between the two manifests is touched, or is another inode of the
    same, or was changed in configuration, as something is in any tree; or, in one with a layer,
    anywhere. Other local changes that the retired tree had are found when the spare is checked,
    because what changed, here too, does not keep its stamp.

    Raises:
        OSError, RootmanError: the stage is then of no use any more.
    """
    with (
        opened(target.name, dir_fd=store.fd) as source,
        _record(store.trees, str(target.number)) as new,
        closing(LinkedContent(fs, source, new)) as content,
        _record(store.staging, f"{stage}/{STAGE_META}") as old,
        opened(f"{stage}/{STAGE_ROOT}", dir_fd=store.staging) as root,
        foresight.looking(_places(old, new, root)),
    ):
        local = _local_changes(root, old, old)
        noted = array("Q")
        changes = note_other_inodes(_differing(old, new), old.inodes(), new.inodes(), noted)
        applier = Applier(fs, root, content, {})
        applier.apply(_only_directories(local))
        applier.apply(chain(_without_own_groups(changes), _again(new, noted)))
        if local:
            left = join_drift((), _local_changes(root, new, old))
            applier.apply(_without_own_groups(left))
        stamps = old.stamps(old.digests())
        for path in applier.touched:
            stamps.pop(os.fsdecode(path or ROOT), None)
    remove_tree(fs, f"{stage}/{STAGE_META}".encode(), dir_fd=store.staging)
    _keep_as_spare(fs, store, stage, target, stamps)


def _local_changes(root_fd: int, record: SealRecord, old: SealRecord) -> list[Drift]:
    """Return what is not as in ``record`` of what is undone in a tree that had ``old``.

    That is configuration, and of a tree with a layer all, as most of it is in any directory.
    """
    if is_layered(old):
        return Check(root_fd, record, record.digests(), forks=1).drift()
    config = sealed_config(old)
    return find_drift(root_fd, record, config) if config else []


def _only_directories(drift: Iterable[Drift]) -> Iterator[Change]:
    """Yield changes that undo ``drift`` as far as directories go; of the rest nothing stays.

    So all that comes has its place. What is then missing is linked in the end.
    """
    for one in drift:
        line = one.line if one.line is not None and is_directory(one.line) else None
        yield Change(one.field, one.line, line, one.index, one.index, untrusted=True)


def _differing(old: SealRecord, new: SealRecord) -> Iterator[Change]:
    """Yield what makes the manifest of ``old`` that of ``new``."""
    if new.shares_manifest(old):
        yield from compose(inverted(old.edits()), new.edits())
        return
    with old.manifest() as before, new.manifest() as after:
        yield from compare(before, after)


def _places(old: SealRecord, new: SealRecord, root_fd: int) -> list[foresight.Look]:
    """Return what looks at the places that differ, where that is known without a comparison."""
    if not new.shares_manifest(old):
        return []
    return foresight.below(root_fd, [change.field for change in _differing(old, new)])


def _again(record: SealRecord, numbers: array[int]) -> Iterator[Change]:
    """Yield changes that make the entries of these lines of the manifest once more.

    ``numbers`` are looked at when the first is asked for.
    """
    if not numbers:
        return
    wanted = set(numbers)
    with record.manifest() as stream:
        for index, line in enumerate(known_lines(stream)):
            if index in wanted:
                yield Change(line_path(line), line, line, index, index, untrusted=True)


def _without_own_groups(changes: Iterable[Change]) -> Iterator[Change]:
    """Yield ``changes`` with hardlink groups of inodes that are not shared only removed.

    Names that stay have no line here to be linked to. Whoever uses the spare finds what
    is missing, and makes the group whole.
    """
    for change in changes:
        line = change.new
        if line is not None and not is_shared(line) and HARDLINK.search(line) is not None:
            yield replace(change, new=None)
        else:
            yield change


def clone_spare(fs: Fs, store: Store, target: Tree, *, forks: int) -> None:
    """Clone the tree ``target`` as the spare, where no tree fell out.

    Whoever uses the spare makes what was left out.

    Raises:
        OSError, RootmanError: what was made so far is removed by the next command.
    """
    stage = str(StageName(StageKind.RETIRED, target.number))
    fs.mkdir(stage, 0o700, dir_fd=store.staging)
    fs.mkdir(f"{stage}/{STAGE_ROOT}", 0o755, dir_fd=store.staging)
    entries = target.seal.entries if target.seal else 0
    with (
        opened(target.name, dir_fd=store.fd) as source,
        opened(f"{stage}/{STAGE_ROOT}", dir_fd=store.staging) as root,
        _record(store.trees, str(target.number)) as record,
    ):
        stamps = _clone_sealed(fs, source, root, record, entries=entries, forks=forks)
    _keep_as_spare(fs, store, stage, target, stamps)


def _clone_sealed(
    fs: Fs, source: int, root: int, record: SealRecord, *, entries: int, forks: int
) -> dict[str, int]:
    """Clone what is as sealed in ``source``, which may be in use already; return the stamps."""
    digests = record.digests()
    check = Check(source, record, digests, forks=forks, stamps=record.stamps(digests))
    drift = check.drift()
    kept = kept_among(record, drift)
    drifted = {one.field for one in drift} - kept.keys()
    cloned = clone_tree(
        fs,
        source,
        root,
        record,
        entries=entries,
        moments=check.moments,
        skip=drifted,
        kept=kept,
        forks=forks,
    )
    with TreeDirs(root) as dirs:
        for wrong in misplaced(root, record, digests, cloned):
            if wrong.line is not None and is_shared(wrong.line):
                parent, name = split(field_path(wrong.field))
                with suppress(FileNotFoundError):
                    fs.unlink(name, dir_fd=dirs.fd(parent))
    return stamps_of(root, check.stamps.keys() - cloned.mixed - cloned.doubtful)


def _keep_as_spare(
    fs: Fs, store: Store, stage: str, target: Tree, stamps: Mapping[str, int]
) -> None:
    """Give the clone of ``target`` its record, by links, and its name.

    It has stamps of its own, and nothing was merged into it.
    """
    fs.mkdir(f"{stage}/{STAGE_SEAL}", 0o700, dir_fd=store.staging)
    with (
        _record(store.trees, str(target.number)) as record,
        opened(f"{stage}/{STAGE_SEAL}", dir_fd=store.staging) as copy,
    ):
        for name in sorted(set(os.listdir(record.dir_fd)) - {STAMPS_FILE, NOTE_FILE}):
            fs.link(name, name, source_fd=record.dir_fd, target_fd=copy)
        data = pack_stamps(stamps, record.digests())
        make_file(fs, iter([data]), STAMPS_FILE.encode(), dir_fd=copy)
    staging = store.staging
    fs.move(f"{stage}/{STAGE_SEAL}", f"{stage}/{STAGE_META}", source_fd=staging, target_fd=staging)
    fs.syncfs(store.fd)
    spare = str(StageName(StageKind.SPARE, target.number))
    fs.move(stage, spare, source_fd=staging, target_fd=staging)
    fs.fsync(staging)


def distrust_spares(fs: Fs, store: Store) -> None:
    """Have the next upgrade look at every inode of the spare, by taking its stamps from it.

    For when it is known that inodes were changed in place: the spare may share them.

    Raises:
        OSError: the system refused.
    """
    rewind(store.staging)
    for name in os.listdir(store.staging):
        stage = parse_stage_name(name)
        if stage is None or stage.kind is not StageKind.SPARE:
            continue
        with (
            suppress(FileNotFoundError),
            opened(f"{name}/{STAGE_META}", dir_fd=store.staging) as meta,
        ):
            fs.unlink(STAMPS_FILE, dir_fd=meta)
            fs.fsync(meta)


def drop_stage(fs: Fs, store: Store, stage: str) -> None:
    """Remove a stage and all that is in it.

    Raises:
        Busy: something is mounted in it.
        OSError: the system refused.
    """
    remove_tree(fs, stage.encode(), dir_fd=store.staging)


@contextmanager
def _record(dir_fd: int, path: str) -> Iterator[SealRecord]:
    with opened(path, dir_fd=dir_fd) as fd:
        yield SealRecord(fd, path)
