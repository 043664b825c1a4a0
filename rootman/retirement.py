"""Trees that leave: retired to become the spare, or deleted.

A tree loses its final name, durably and for every loader, before the first file
in it is changed (S1, S3).
"""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rootman.apply import Applier, LinkedContent
from rootman.clone import clone_tree
from rootman.comparison import compare
from rootman.fsops import open_dir
from rootman.links import publish
from rootman.manifest import HARDLINK
from rootman.names import StageKind, StageName
from rootman.removal import remove_tree
from rootman.seal import SealRecord, is_shared
from rootman.store import STAGE_META, STAGE_ROOT, STAGE_SEAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootman.comparison import Change
    from rootman.fsops import Fs
    from rootman.state import Tree
    from rootman.store import Store


def retire(fs: Fs, store: Store, tree: Tree) -> None:
    """Move a complete tree and its record into a stage of their own.

    Raises:
        OSError: the system refused; the tree has its name still, or is in staging.
    """
    stage = str(StageName(StageKind.RETIRED, tree.version))
    fs.mkdir(stage, 0o700, dir_fd=store.staging)
    fs.move(tree.name, f"{stage}/{STAGE_ROOT}", source_fd=store.fd, target_fd=store.staging)
    fs.move(
        str(tree.version), f"{stage}/{STAGE_META}", source_fd=store.trees, target_fd=store.staging
    )
    fs.fsync(store.trees)
    publish(fs, store)


def delete_tree(fs: Fs, store: Store, tree: Tree) -> None:
    """Delete a complete tree and its record.

    Nothing is made for it, because this is what a full disk must not refuse.

    Raises:
        Busy: something is mounted in it.
        OSError: the system refused; the rest goes with the next command.
    """
    stage = str(StageName(StageKind.DELETING, tree.version))
    fs.move(tree.name, stage, source_fd=store.fd, target_fd=store.staging)
    publish(fs, store)
    remove_tree(fs, str(tree.version).encode(), dir_fd=store.trees)
    remove_tree(fs, stage.encode(), dir_fd=store.staging)


def roll_forward(fs: Fs, store: Store, stage: str, target: Tree) -> None:
    """Make the retired tree in ``stage`` a clone of the tree ``target``: the spare.

    Only what differs between the two manifests is touched; local changes that the
    retired tree had are found when the spare is checked.

    Raises:
        OSError, RootmanError: the stage is then of no use any more.
    """
    with (
        _open(store.fd, target.name) as source,
        closing(LinkedContent(fs, source)) as content,
        _record(store.trees, str(target.version)) as new,
        _record(store.staging, f"{stage}/{STAGE_META}") as old,
        _open(store.staging, f"{stage}/{STAGE_ROOT}") as root,
        old.manifest() as before,
        new.manifest() as after,
    ):
        Applier(fs, root, content, {}).apply(_without_own_groups(compare(before, after)))
    remove_tree(fs, f"{stage}/{STAGE_META}".encode(), dir_fd=store.staging)
    _keep_as_spare(fs, store, stage, target)


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

    Raises:
        OSError, RootmanError: what was made so far is removed by the next command.
    """
    stage = str(StageName(StageKind.RETIRED, target.version))
    fs.mkdir(stage, 0o700, dir_fd=store.staging)
    fs.mkdir(f"{stage}/{STAGE_ROOT}", 0o755, dir_fd=store.staging)
    entries = target.seal.entries if target.seal else 0
    with (
        _open(store.fd, target.name) as source,
        _open(store.staging, f"{stage}/{STAGE_ROOT}") as root,
        _record(store.trees, str(target.version)) as record,
    ):
        clone_tree(fs, source, root, record, entries=entries, forks=forks)
    _keep_as_spare(fs, store, stage, target)


def _keep_as_spare(fs: Fs, store: Store, stage: str, target: Tree) -> None:
    """Give the finished clone of ``target`` its record, by links, and its name."""
    fs.mkdir(f"{stage}/{STAGE_SEAL}", 0o700, dir_fd=store.staging)
    with (
        _open(store.trees, str(target.version)) as record,
        _open(store.staging, f"{stage}/{STAGE_SEAL}") as copy,
    ):
        for name in sorted(os.listdir(record)):
            fs.link(name, name, source_fd=record, target_fd=copy)
    staging = store.staging
    fs.move(f"{stage}/{STAGE_SEAL}", f"{stage}/{STAGE_META}", source_fd=staging, target_fd=staging)
    fs.syncfs(store.fd)
    spare = str(StageName(StageKind.SPARE, target.version))
    fs.move(stage, spare, source_fd=staging, target_fd=staging)
    fs.fsync(staging)


def drop_stage(fs: Fs, store: Store, stage: str) -> None:
    """Remove a stage and all that is in it.

    Raises:
        Busy: something is mounted in it.
        OSError: the system refused.
    """
    remove_tree(fs, stage.encode(), dir_fd=store.staging)


@contextmanager
def _open(dir_fd: int, path: str) -> Iterator[int]:
    fd = open_dir(path, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _record(dir_fd: int, path: str) -> Iterator[SealRecord]:
    with _open(dir_fd, path) as fd:
        yield SealRecord(fd, path)
