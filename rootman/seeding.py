"""Finding what a new tree is made from: the spare, a clone of a tree, or nothing."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rootman.building import SeedTree
from rootman.errors import InvalidInput, RootmanError
from rootman.fsops import open_dir
from rootman.manifest import field_path
from rootman.merge.defaults import kept_among
from rootman.names import BASE, StageKind, StageName
from rootman.plan import Seed, choose_seed, without_spare
from rootman.seal import SealRecord
from rootman.store import STAGE_META, STAGE_ROOT
from rootman.supply import OldTree
from rootman.survey import Check
from rootman.wanted import Delta

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from rootman.delta import Drift
    from rootman.provision import Wanted
    from rootman.session import Session
    from rootman.state import StoreState
    from rootman.store import Store

# A spare with more changed paths than this, and than a tenth of it, is cloned afresh.
_TRUSTED_DRIFT: Final = 100


def trees_at_hand(store: Store, state: StoreState, stack: ExitStack) -> list[OldTree]:
    """Return what packs may lead from: the likely seed, and the tree that is current.

    They differ after a rollback, when the spare is a clone of what was current before.
    """
    seeds = [choose_seed(state)]
    if state.current is not None and state.sealed(state.current) is not None:
        seeds.append(Seed("tree", state.current))
    found = []
    for seed in dict.fromkeys(seeds):
        if seed.kind != "empty":
            with suppress(RootmanError, OSError):  # of a spare that will not be trusted
                tree = _open_tree(store, state, seed, stack)
                with tree.record.part(BASE):  # all its files are there
                    found.append(tree)
    return found


def _open_tree(store: Store, state: StoreState, seed: Seed, stack: ExitStack) -> OldTree:
    if seed.kind == "spare":
        stage = str(StageName(StageKind.SPARE, seed.number))
        root_fd = open_dir(f"{stage}/{STAGE_ROOT}", dir_fd=store.staging)
    else:
        root_fd = open_dir(state.name_of(seed.number), dir_fd=store.fd)
    stack.callback(os.close, root_fd)
    record_fd = _open_record(store, seed)
    stack.callback(os.close, record_fd)
    return OldTree(SealRecord(record_fd, f"seal record of version {seed.number}"), root_fd)


def _open_record(store: Store, seed: Seed) -> int:
    if seed.kind == "spare":
        stage = str(StageName(StageKind.SPARE, seed.number))
        return open_dir(f"{stage}/{STAGE_META}", dir_fd=store.staging)
    return open_dir(str(seed.number), dir_fd=store.trees)


def find_seed(
    opened: Session,
    state: StoreState,
    wanted: Wanted,
    stack: ExitStack,
) -> tuple[Seed, SeedTree | None, Delta]:
    """Return the seed, opened, and its delta; a spare that cannot be trusted is passed over."""
    seed = choose_seed(state)
    if seed.kind == "empty":
        return seed, None, _checked_delta(wanted, None, ())
    if seed.kind == "spare":
        try:
            return seed, *_try_seed(opened, state, seed, wanted, stack=stack)
        except _UntrustedSeed as reason:
            opened.reporter.warn(f"the spare cannot be trusted and is not used: {reason}")
            seed = choose_seed(without_spare(state))
    return seed, *_try_seed(opened, state, seed, wanted, stack=stack)


class _UntrustedSeed(Exception):
    """The spare is not to be used."""


def _try_seed(
    opened: Session,
    state: StoreState,
    seed: Seed,
    wanted: Wanted,
    *,
    stack: ExitStack,
) -> tuple[SeedTree, Delta]:
    """Compare the manifests while forks check the seed; again with its drift if there is any."""
    try:
        tree = _open_seed(opened, state, seed, stack)
    except (RootmanError, OSError) as error:
        if seed.kind == "spare":
            raise _UntrustedSeed(error) from error
        raise
    try:
        delta = _checked_delta(wanted, tree, ())
        drift = tree.check.drift()
    except (InvalidInput, OSError) as error:
        if seed.kind == "spare" and not tree.record.is_sound():
            raise _UntrustedSeed(error) from error
        raise
    if seed.kind == "tree":
        tree.kept.update(kept_among(tree.record, drift))
        drift = [one for one in drift if one.field not in tree.kept]
    if seed.kind == "spare" and len(drift) > max(_TRUSTED_DRIFT, tree.entries // 10):
        raise _UntrustedSeed(f"{len(drift)} of its paths were changed")
    return tree, _checked_delta(wanted, tree, drift) if drift else delta


def _checked_delta(wanted: Wanted, tree: SeedTree | None, drift: Sequence[Drift]) -> Delta:
    delta = Delta(wanted.manifest, tree.record if tree else None, drift)
    entries = tree.entries if tree else 0
    delta.check(_Directories(tree), entries=wanted.whole.entries, seed_entries=entries)
    return delta


def _open_seed(opened: Session, state: StoreState, seed: Seed, stack: ExitStack) -> SeedTree:
    """Open the seed and start its quick check."""
    tree = _open_tree(opened.store, state, seed, stack)
    record, root = tree.record, tree.root_fd
    digests = record.digests()
    # A spare is rootman's alone, in a directory that nobody else has a way into.
    stamps = record.stamps(digests) if seed.kind == "spare" else None
    check = Check(root, record, digests, forks=max(opened.forks - 1, 1), stamps=stamps)
    return SeedTree(record, root, record.summary().entries, digests, check)


class _Directories:
    """The path fields of the directories of a seed; few of them are ever asked for."""

    def __init__(self, tree: SeedTree | None) -> None:
        self._paths = tree.digests.keys() if tree is not None else frozenset()

    def __contains__(self, field: object) -> bool:
        return isinstance(field, bytes) and os.fsdecode(field_path(field)) in self._paths
