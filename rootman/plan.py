"""Planners: from the state of a store to the steps that make a tree, or boot another. Pure.

Each refuses what would break a promise before the first step (S6).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from rootman.admission import check_boot, refuse_obstacles
from rootman.errors import NotFound, Refused
from rootman.names import LINKS, StageKind, StageName, TreeNumber
from rootman.recovery import best_spare
from rootman.state import require
from rootman.steps import (
    Apply,
    ClearObjects,
    CloneSpare,
    CloneTree,
    CloseStage,
    Discard,
    Fetch,
    KeepKernel,
    KeepRelease,
    Layer,
    Merge,
    Plan,
    PointPrevious,
    PutConfig,
    Record,
    Retire,
    RollForward,
    SealTree,
    StageConfig,
    StartEmpty,
    Step,
    TakeSpare,
    UpdateMenu,
)
from rootman.switching import check_menu, plan_known, plan_switch, plan_trial, then_menu
from rootman.upkeep import take_leave

if TYPE_CHECKING:
    from rootman.delta import Needs
    from rootman.state import StoreState

_NO_TREE: Final = TreeNumber(0)


@dataclass(frozen=True, slots=True)
class Seed:
    """What a new tree is made from: the spare (of tree ``number``), that tree, or nothing."""

    kind: Literal["spare", "tree", "empty"]
    number: TreeNumber = _NO_TREE


def plan_rollback(state: StoreState, to: TreeNumber | None, *, retry_bad: bool = False) -> Plan:
    """Return the steps of a rollback to ``previous``, or to the tree ``to``.

    Raises:
        NotFound: there is no tree to go back to.
        Refused: it is current already, or bad; or something else has the name of a link.
    """
    refuse_obstacles(state, *LINKS)
    target = state.previous if to is None else to
    if target is None:
        raise NotFound(
            "there is no previous version to roll back to",
            hint="rootman status lists the trees; rootman rollback --to N takes any of them",
        )
    require(state, target)
    if target == state.current:
        raise Refused(f"{state.name_of(target)} is current already: nothing to roll back")
    check_boot(state, target, retry_bad=retry_bad)
    return then_menu(state, plan_known(state, target))


def plan_config(source: TreeNumber, number: TreeNumber) -> Plan:
    """Return the steps that merge configuration into a complete tree, which nobody uses."""
    stage = StageName(StageKind.MERGING, number)
    return (StageConfig(source, number), PutConfig(number), Discard(stage))


def choose_seed(state: StoreState) -> Seed:
    """Return what the next tree should be made from."""
    spare = best_spare(state)
    if spare is not None:
        return Seed("spare", spare.name.number)
    source = state.current if state.sealed(state.current) else state.newest
    return Seed("empty") if source is None else Seed("tree", source)


def without_spare(state: StoreState) -> StoreState:
    """Return ``state`` as if it had no spare, for where that cannot be trusted."""
    kept = tuple(one for one in state.stages if one.name.kind is not StageKind.SPARE)
    return replace(state, stages=kept)


def plan_upgrade(
    state: StoreState,
    number: TreeNumber,
    seed: Seed,
    needs: Needs,
    *,
    merged_from: TreeNumber | None = None,
    packages: tuple[str, ...] = (),
) -> Plan:
    """Return the steps from the seed to the new current tree, without the spare's.

    ``merged_from`` is the tree whose local changes of configuration are carried over,
    ``packages`` are to be installed in the new one.
    """
    return (
        *_plan_tree(state, number, seed, needs, merged_from=merged_from, packages=packages),
        *then_menu(state, plan_trial(state, number)),
        CloseStage(number),
        ClearObjects(),
    )


def plan_fallback(
    state: StoreState,
    number: TreeNumber,
    seed: Seed,
    needs: Needs,
    *,
    merged_from: TreeNumber | None = None,
) -> Plan:
    """Return the steps from the seed to a new tree that ``previous`` leads to (UL-4).

    Of the same release as what is current, which works here, it is not on trial.
    """
    return (
        *_plan_tree(state, number, seed, needs, merged_from=merged_from),
        *plan_way_back(state, number),
        Discard(StageName(StageKind.FALLBACK, number)),
        ClearObjects(),
    )


def plan_way_back(state: StoreState, number: TreeNumber) -> Plan:
    """Return the steps that make ``number`` what a rollback goes to.

    Raises:
        Refused: something else has the name of a link, or the loader could not be told.
    """
    refuse_obstacles(state, *LINKS)
    return () if state.previous == number else then_menu(state, (PointPrevious(number),))


def _plan_tree(
    state: StoreState,
    number: TreeNumber,
    seed: Seed,
    needs: Needs,
    *,
    merged_from: TreeNumber | None,
    packages: tuple[str, ...] = (),
) -> Plan:
    """Return the steps from the seed to a sealed tree."""
    start: Step = StartEmpty(number)
    if seed.kind == "spare":
        start = TakeSpare(seed.number, number)
    elif seed.kind == "tree":
        start = CloneTree(seed.number, number)
    changes = needs.added + needs.removed + needs.changed + needs.restored
    return (
        Fetch(needs.fetch_objects, needs.fetch_bytes),
        start,
        Apply(number, changes),
        Record(number),
        *((Merge(merged_from, number),) if merged_from is not None else ()),
        *((Layer(number, packages),) if packages else ()),
        *_keep_kernel(state, number),
        SealTree(number),
    )


def _keep_kernel(state: StoreState, number: TreeNumber) -> Plan:
    """Return the step that a loader with kernels of its own needs before a tree is sealed.

    Raises:
        Refused: they are not where they were.
    """
    check_menu(state)
    return () if state.menu is None else (KeepKernel(number),)


def plan_download(version: int, needs: Needs) -> Plan:
    """Return the steps that fetch what an upgrade to ``version`` needs, and leave it at that."""
    return (Fetch(needs.fetch_objects, needs.fetch_bytes), KeepRelease(version))


def plan_adoption(state: StoreState, number: TreeNumber) -> Plan:
    """Return the steps that take a tree in as ``number``; it is current if nothing is.

    Raises:
        Refused: there is a tree of that version, or something else has its name or a link's.
    """
    check_menu(state)
    refuse_obstacles(state, *LINKS, state.name_of(number))
    for tree in state.of_version(number.version):
        raise Refused(f"{tree.name} is here already", hint="use another --version")
    steps: Plan = (
        StartEmpty(number),
        Apply(number, 0),
        Record(number),
        SealTree(number),
    )
    return (
        *steps,
        *(plan_switch(state, number) if state.current is None else ()),
        *((UpdateMenu(),) if state.menu is not None else ()),
        CloseStage(number),
    )


def falling_out(state: StoreState, number: TreeNumber) -> TreeNumber | None:
    """Return the tree that no link names any more once ``number`` is current."""
    fallen = state.sealed(state.previous)
    if fallen is None or fallen.number in (number, state.current):
        return None
    return None if fallen.number in state.settings.pinned else fallen.number


def plan_spare(state: StoreState, fallen: TreeNumber | None) -> Plan:
    """Return the steps that leave a spare of ``current`` behind (``state`` is after the switch)."""
    if state.current is None:
        return ()
    stale = [Discard(one.name) for one in state.stages if one.name.kind is StageKind.SPARE]
    if fallen is not None:
        steps = (Retire(fallen), RollForward(fallen, state.current))
        return (*stale, *take_leave(state, (fallen,)), *steps)
    return (*stale, CloneSpare(state.current))
