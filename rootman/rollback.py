"""Going back to a tree that is there already."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rootman.execute import Executor, explained
from rootman.plan import plan_config, plan_rollback
from rootman.store import scan

if TYPE_CHECKING:
    from rootman.difference import PathDifference
    from rootman.merge.planning import Finding
    from rootman.names import TreeNumber
    from rootman.session import Session
    from rootman.state import StoreState


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """The trees before and after, and the seconds until the switch was durable.

    ``left`` is the configuration that was changed in the tree before, and is not in that after;
    ``carried`` is what became of it where it was to be carried along.
    """

    os_name: str
    was: TreeNumber | None
    current: TreeNumber | None
    previous: TreeNumber | None
    seconds: float
    left: tuple[PathDifference, ...] = ()
    carried: tuple[Finding, ...] = ()


def rollback(
    opened: Session, to: TreeNumber | None, *, retry_bad: bool = False, keep_config: bool = False
) -> RollbackResult:
    """Exchange ``current`` and ``previous``, or make the tree ``to`` current.

    With ``keep_config`` the local configuration of the tree that is left is carried along.

    Raises:
        NotFound: there is no such tree.
        Refused: it is current already, or bad and not to be tried again.
        Busy: the tree that configuration would be carried into is in use.
        RootmanError: the switch failed; both links still lead to a tree.
    """
    began = time.monotonic()
    with explained(f"{opened.store.path}: reading the store"):
        state = scan(opened.store)
    plan = plan_rollback(state, to, retry_bad=retry_bad)
    carried: tuple[Finding, ...] = ()
    if keep_config:
        carried = _carry_along(opened, state, state.previous if to is None else to)
    Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
    seconds = time.monotonic() - began
    with explained(f"{opened.store.path}: reading the store"):
        after = scan(opened.store)
    from rootman.merge.difference import told_behind  # nothing before the switch needs it

    name = state.settings.os_name
    left = told_behind(opened, state.sealed(state.current), after.sealed(after.current))
    here = {path for one in carried for path in (one.path, one.beside)}
    left = tuple(one for one in left if one.path not in here)
    return RollbackResult(
        name, state.current, after.current, after.previous, seconds, left, carried
    )


def _carry_along(
    opened: Session, state: StoreState, target: TreeNumber | None
) -> tuple[Finding, ...]:
    """Carry the local configuration of the tree that is left into ``target``, durably (MG-20)."""
    old, new = state.sealed(state.current), state.sealed(target)
    if old is None or new is None:
        return ()
    from rootman.merge.anew import carry_along  # most rollbacks go without

    with ExitStack() as stack, explained(f"{new.name}: its configuration"):
        stage = carry_along(opened, old, new, stack)
        if stage is None:
            return ()
        executor = Executor(opened.store, opened.fs, opened.reporter, state, config=stage)
        executor.run(plan_config(old.number, new.number))
    findings = stage.carried.findings if stage.carried is not None else ()
    return tuple(replace(one, what=_of_a_tree(one.what, new.name)) for one in findings)


def _of_a_tree(what: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Say of the other side of a merge which tree it is, where at an upgrade it is a release."""
    return tuple(
        one.replace("by the release", f"in {name}").replace("the release", name) for one in what
    )
