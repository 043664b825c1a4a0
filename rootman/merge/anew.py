"""Merging into a tree that is complete: once more at shutdown (MG-17), and at a rollback (MG-20).

Both make the configuration of the tree anew beside it, and put that into its place
(``staging``). Nobody may use the tree meanwhile.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from rootman.demand import require_room
from rootman.errors import Refused, RootmanError, SystemFailure
from rootman.execute import Executor, explained
from rootman.layer.record import is_layered
from rootman.merge.configuration import ConfigMerge, LocalTree, read_rules
from rootman.merge.imprint import imprints
from rootman.merge.local import (
    changes_of,
    describe_changes,
    find_changes,
    find_drift,
    sealed_config,
)
from rootman.merge.note import failed_merge, second_merge
from rootman.merge.staging import ConfigStage, LastMerge
from rootman.plan import plan_config
from rootman.room import room_of
from rootman.session import read_state, recover_quietly
from rootman.steps import NoteMerge
from rootman.usage import refuse_in_use, unguarded
from rootman.verify import open_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.merge.local import Changes
    from rootman.merge.note import MergeNote, SecondMerge
    from rootman.merge.paths import ConfigPaths
    from rootman.merge.planning import MergePlan
    from rootman.seal import SealRecord
    from rootman.session import Session
    from rootman.state import StoreState, Tree

SECONDS: Final = 10
"""What a merge at shutdown may take until it is put into its place; then it is given up."""


def merge_again(opened: Session, state: StoreState, booted: str) -> MergePlan | None:
    """Merge what was changed since the upgrade in the tree named ``booted``, which runs.

    Return what was carried over, all in all; None where nothing was to be done. A failure leaves
    what the upgrade had merged; it is noted for the next boot, and told.
    """
    due = second_merge(state, booted)
    if due is None:
        return None
    try:
        with explained(f"{due.target.name}: its configuration"):
            return _merge_again(opened, state, due)
    except RootmanError as error:
        recover_quietly(opened)
        _fail(opened, due.target, str(error))
        return None


def _merge_again(opened: Session, state: StoreState, due: SecondMerge) -> MergePlan | None:
    with ExitStack() as stack:
        with _bounded(SECONDS):
            stage = _stage_again(opened, due, stack)
            if stage is None:
                if due.note.failure:
                    _note(opened, due.target, replace(due.note, failure=""))
                return None
            executor = Executor(opened.store, opened.fs, opened.reporter, state, config=stage)
            make, put, discard = plan_config(due.source.number, due.target.number)
            executor.run((make,))
        executor.run((put,))
        try:
            executor.run((discard,))
        except RootmanError:  # it is merged, and of the rest takes care who comes next
            recover_quietly(opened)
        return stage.carried


def _stage_again(opened: Session, due: SecondMerge, stack: ExitStack) -> ConfigStage | None:
    """Return what merges again, None where the tree that runs is as it was merged.

    Raises:
        Busy: the tree that it would be merged into is in use.
        Refused: that was changed since, or has a layer.
        NoSpace: there is no room.
        RootmanError, OSError: one of the trees cannot be read.
    """
    store = opened.store
    with open_tree(store, due.target) as (_, record):
        config = sealed_config(record)
    root, record = stack.enter_context(open_tree(store, due.source))
    source = LocalTree(due.source.number, root, record)
    changes = find_changes(root, record, config)
    if imprints(root, changes, record.inodes(), config) == due.note.local:
        return None
    root, record = _reserve(opened, due.target, stack)
    if is_layered(record):
        raise Refused(f"{due.target.name} has configuration of a layer, which is not made anew")
    drift = find_drift(root, record, config)
    made = changes_of(root, drift)
    if not due.note.fits(imprints(root, made, record.inodes(), config)):
        raise Refused(f"{due.target.name} was changed since, too")
    _check_room(opened, config, changes, record)
    rules = read_rules(source.root_fd, opened.reporter)
    merge = ConfigMerge(source, config, partial(_manifest, record), rules)
    return ConfigStage(
        store,
        opened.fs,
        due.target,
        root_fd=root,
        record=record,
        merge=merge,
        changes=changes,
        last=LastMerge(due.note, drift),
    )


def carry_along(opened: Session, old: Tree, new: Tree, stack: ExitStack) -> ConfigStage | None:
    """Return what carries the local configuration of ``old`` into ``new``, as that is now.

    None is returned where there is none. Until ``stack`` ends nobody else can begin to guard
    ``new``.

    Raises:
        Busy: ``new`` is in use.
        NoSpace: there is no room.
        RootmanError, OSError: one of the trees cannot be read.
    """
    store = opened.store
    root, record = stack.enter_context(open_tree(store, old))
    source, config = LocalTree(old.number, root, record), sealed_config(record)
    changes = find_changes(root, record, config)
    if not changes:
        return None
    root, record = _reserve(opened, new, stack)
    used = describe_changes(root, find_changes(root, record, config))
    _check_room(opened, config, changes, record)
    rules = read_rules(source.root_fd, opened.reporter)
    merge = ConfigMerge(source, config, partial(_manifest, record), rules, used)
    return ConfigStage(
        store, opened.fs, new, root_fd=root, record=record, merge=merge, changes=changes
    )


def _reserve(opened: Session, tree: Tree, stack: ExitStack) -> tuple[int, SealRecord]:
    """Open a tree that nobody uses, and that nobody can guard until ``stack`` ends.

    Raises:
        Busy: it is in use.
        OSError: it cannot be opened.
    """
    refuse_in_use(opened.store.path, tree.name)
    stack.enter_context(unguarded(opened.store.path, tree.name))
    return stack.enter_context(open_tree(opened.store, tree))


def _check_room(opened: Session, config: ConfigPaths, changes: Changes, record: SealRecord) -> None:
    directories = sum(config.covers(os.fsencode(path)) for path in record.digests())
    local = [status.st_size for status in changes.values() if status is not None]
    require_room(room_of(opened.store.fd), sum(local), directories + len(local))


def _manifest(record: SealRecord) -> Iterator[bytes]:
    with record.manifest() as stream:
        yield from stream


def _fail(opened: Session, target: Tree, reason: str) -> None:
    """Note for the next boot why nothing was merged again, and tell it."""
    try:
        tree = read_state(opened).sealed(target.number)
        if tree is not None and tree.note is not None:
            _note(opened, tree, replace(tree.note, failure=reason))
        told = failed_merge(read_state(opened))
        opened.reporter.warn(told or reason)
    except RootmanError as error:
        opened.reporter.warn(f"{reason}; and that is not noted for the next boot: {error}")


def _note(opened: Session, target: Tree, note: MergeNote) -> None:
    executor = Executor(opened.store, opened.fs, opened.reporter, read_state(opened))
    executor.run((NoteMerge(target.number, note),))


@contextmanager
def _bounded(seconds: int) -> Iterator[None]:
    """Have an end put to the context after so many ``seconds``.

    Raises:
        SystemFailure: it took longer.
    """

    def end(*_: object) -> None:
        raise SystemFailure(f"it took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    rest = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *rest)
        signal.signal(signal.SIGALRM, before)
