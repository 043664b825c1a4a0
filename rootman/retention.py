"""Which trees stay: pruning and pins, from the open store to what was done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootman.boot.states import trees_by_generation
from rootman.execute import Executor, explained
from rootman.sizes import freed_size
from rootman.steps import DeleteTree, DropState
from rootman.store import scan
from rootman.upkeep import plan_pin, plan_prune
from rootman.usage import refuse_in_use

if TYPE_CHECKING:
    from collections.abc import Collection

    from rootman.names import TreeNumber
    from rootman.session import Session


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The trees that were deleted, and the bytes of file content that went with them.

    ``generations`` are those of the state that only they had.
    """

    os_name: str
    deleted: tuple[TreeNumber, ...]
    freed: int
    generations: tuple[int, ...] = ()


def prune(opened: Session, *, keep: int, numbers: Collection[TreeNumber]) -> PruneResult:
    """Delete ``numbers``, or all but the newest ``keep`` where none is named.

    Raises:
        NotFound: there is no such tree.
        Refused: a tree that was asked for is current, previous or pinned.
        Busy: a process or a mount uses one; none was deleted then.
        RootmanError: deleting failed; the rest goes with the next command.
    """
    store = opened.store
    with explained(f"{store.path}: reading the store"):
        state = scan(store)
        sealed = [tree.number for tree in state.trees if tree.seal is not None]
        generations = trees_by_generation(store, sealed)
        plan = plan_prune(state, keep, frozenset(numbers), generations)
        victims = tuple(step.number for step in plan if isinstance(step, DeleteTree))
        for number in victims:
            refuse_in_use(store.path, state.name_of(number))
        freed = freed_size(store, state.trees, victims) if victims else 0
    Executor(store, opened.fs, opened.reporter, state).run(plan)
    dropped = tuple(step.generation for step in plan if isinstance(step, DropState))
    return PruneResult(state.settings.os_name, victims, freed, dropped)


@dataclass(frozen=True, slots=True)
class PinResult:
    """The name of the tree, and whether anything had to be changed."""

    name: str
    changed: bool


def set_pin(opened: Session, number: TreeNumber, *, pinned: bool) -> PinResult:
    """Pin a tree, so that it is never deleted, or lift its pin.

    Raises:
        NotFound: there is no such tree.
        RootmanError: it could not be recorded.
    """
    with explained(f"{opened.store.path}: reading the store"):
        state = scan(opened.store)
    plan = plan_pin(state, number, pinned=pinned)
    Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
    return PinResult(state.name_of(number), bool(plan))
