"""A session with a store: locked, and recovered from whatever was interrupted."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootman.errors import Busy, RootmanError, SystemFailure
from rootman.lock import locked
from rootman.plan import plan_recovery
from rootman.store import open_store, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.fsops import Fs
    from rootman.report import Reporter
    from rootman.state import StoreState
    from rootman.steps import Plan
    from rootman.store import Store


@dataclass(frozen=True, slots=True)
class Session:
    """An open store that nobody else changes, and the door to change it."""

    store: Store
    fs: Fs
    reporter: Reporter
    forks: int


@contextmanager
def session(path: str, fs: Fs, reporter: Reporter, *, forks: int) -> Iterator[Session]:
    """Open the store at ``path`` to change it, its recovery done.

    A command that fails is undone, or finished where it was sealed already, before
    the context ends; one that is killed, by the next session.

    Raises:
        NotFound, Busy, SystemFailure: the store cannot be had.
        RootmanError: the recovery failed.
    """
    with open_store(path) as store, locked(store):
        opened = Session(store, fs, reporter, forks)
        recover(opened)
        try:
            yield opened
        except RootmanError:
            _recover_quietly(opened)
            raise


def recover(opened: Session) -> Plan:
    """Finish or undo what an interrupted command left; return what was done.

    Raises:
        RootmanError: a step of it failed.
    """
    from rootman.execute import Executor, explained

    with explained(f"{opened.store.path}: reading the store"):
        state = scan(opened.store)
    plan = plan_recovery(state)
    if plan:
        opened.reporter.warn("an earlier command was interrupted: " + "; ".join(map(str, plan)))
        Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
    return plan


def _recover_quietly(opened: Session) -> None:
    """Clean up after a command that failed; its own error is the one to tell."""
    from rootman.execute import Executor
    from rootman.report import Silent

    try:
        state = scan(opened.store)
        Executor(opened.store, opened.fs, Silent(), state).run(plan_recovery(state))
    except (RootmanError, OSError):
        return  # the next command tries again


def look(path: str, fs: Fs, reporter: Reporter) -> tuple[StoreState, bool]:
    """Return the state of the store for a command that only shows it.

    What was interrupted is recovered first where that is possible: not where another
    rootman is at work (the second value is then True) or the disk is read-only.

    Raises:
        NotFound, SystemFailure: the store cannot be read.
    """
    from rootman.execute import explained

    with open_store(path) as store, explained(f"{path}: reading the store"):
        state = scan(store)
        if not plan_recovery(state):
            return state, False
        try:
            with locked(store):
                recover(Session(store, fs, reporter, 1))
        except Busy:
            return state, True
        except SystemFailure:
            return state, False
        return scan(store), False
