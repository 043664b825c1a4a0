"""Going back to a tree that is there already."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootman.execute import Executor, explained
from rootman.plan import plan_rollback
from rootman.store import scan

if TYPE_CHECKING:
    from rootman.difference import PathDifference
    from rootman.names import TreeNumber
    from rootman.session import Session


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """The trees before and after, and the seconds until the switch was durable.

    ``left`` is the configuration that was changed in the tree before, and is not in that after.
    """

    os_name: str
    was: TreeNumber | None
    current: TreeNumber | None
    previous: TreeNumber | None
    seconds: float
    left: tuple[PathDifference, ...] = ()


def rollback(opened: Session, to: TreeNumber | None, *, retry_bad: bool = False) -> RollbackResult:
    """Exchange ``current`` and ``previous``, or make the tree ``to`` current.

    Raises:
        NotFound: there is no such tree.
        Refused: it is current already, or bad and not to be tried again.
        RootmanError: the switch failed; both links still lead to a tree.
    """
    began = time.monotonic()
    with explained(f"{opened.store.path}: reading the store"):
        state = scan(opened.store)
    plan = plan_rollback(state, to, retry_bad=retry_bad)
    Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
    seconds = time.monotonic() - began
    with explained(f"{opened.store.path}: reading the store"):
        after = scan(opened.store)
    from rootman.merge.difference import told_behind  # nothing before the switch needs it

    name = state.settings.os_name
    left = told_behind(opened, state.sealed(state.current), after.sealed(after.current))
    return RollbackResult(name, state.current, after.current, after.previous, seconds, left)
