"""A session with a store: locked, and recovered from whatever was interrupted."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rootman.errors import Busy, NoSpace, RootmanError, SystemFailure
from rootman.lock import locked, undisturbed
from rootman.store import open_store, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootman.fsops import Fs
    from rootman.report import Reporter
    from rootman.state import StoreState
    from rootman.steps import Plan
    from rootman.store import Store

Recovery = Literal["none", "done", "in progress", "not possible"]


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
        _, state = recover(opened)
        _tell_of_a_failed_merge(opened, state)
        try:
            yield opened
        except RootmanError:
            recover_quietly(opened)
            raise


def read_state(opened: Session) -> StoreState:
    """Return what is in the store now.

    Raises:
        RootmanError: it cannot be read.
    """
    with _readable(opened.store):
        return scan(opened.store)


def _tell_of_a_failed_merge(opened: Session, state: StoreState) -> None:
    """Tell what could not be told when the machine went down (MG-19)."""
    current = state.sealed(state.current)
    if current is not None and current.note is not None:
        from rootman.merge.note import failed_merge

        if told := failed_merge(state):
            opened.reporter.warn(told)


def recover(opened: Session) -> tuple[Plan, StoreState]:
    """Finish or undo what an interrupted command left; return what was done, and the store now.

    Raises:
        RootmanError: a step of it failed.
    """
    from rootman.execute import Executor
    from rootman.recovery import plan_recovery

    state = read_state(opened)
    plan = plan_recovery(state)
    if not plan:
        return (), state
    if steps := told(plan):
        opened.reporter.warn(f"{_cause(state)}: {'; '.join(steps)}")
    Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
    return plan, read_state(opened)


def _cause(state: StoreState) -> str:
    from rootman.boot.menu import told_boot

    if state.current is not None and replace(state, boot=told_boot(state)).has_failed:
        return f"{state.name_of(state.current)} failed, and another tree boots"
    return "an earlier command was interrupted"


def told(plan: Plan) -> tuple[str, ...]:
    """Return what a recovery did or would do, in the words for its user.

    What it only read back from a loader, and told it, is nothing to tell; nor is that what was
    unlocked until the last boot is gone now.
    """
    from rootman.names import StageKind
    from rootman.steps import Discard, Publish, SaveBoot, UpdateMenu

    steps = [
        step
        for step in plan
        if not isinstance(step, Publish | UpdateMenu)
        and not (isinstance(step, Discard) and step.stage.kind is StageKind.UNLOCKED)
    ]
    return tuple(map(str, steps)) if any(not isinstance(one, SaveBoot) for one in steps) else ()


def recover_quietly(opened: Session) -> None:
    """Clean up after a command that failed; its own error is the one to tell."""
    from rootman.execute import Executor
    from rootman.recovery import plan_recovery
    from rootman.report import Silent

    try:
        state = scan(opened.store)
        Executor(opened.store, opened.fs, Silent(), state).run(plan_recovery(state))
    except (RootmanError, OSError):
        return  # the next command tries again


@dataclass(frozen=True, slots=True)
class View:
    """A store as a command sees it that only shows it.

    ``interrupted`` says what an earlier command left. With ``recovery`` ``done`` that
    is history and ``state`` is what came of it; ``in progress`` means that another
    rootman is at work, ``not possible`` that the store cannot be written, or is full.
    """

    store: Store
    state: StoreState
    recovery: Recovery = "none"
    interrupted: tuple[str, ...] = ()


@contextmanager
def look(path: str, make_fs: Callable[[], Fs], reporter: Reporter) -> Iterator[View]:
    """Open the store at ``path`` to show it, recovered first where that is possible.

    ``make_fs`` is only called where there is something to recover: a healthy store
    is looked at with as few modules as possible.

    Raises:
        NotFound, SystemFailure: the store cannot be read.
        RootmanError: the recovery failed.
    """
    with open_store(path) as store:
        with _readable(store):
            state = scan(store)
        if state.is_settled:
            yield View(store, state)
        else:
            yield _settle(store, state, make_fs, reporter)


def _settle(store: Store, state: StoreState, make_fs: Callable[[], Fs], reporter: Reporter) -> View:
    from rootman.recovery import plan_recovery

    plan = plan_recovery(state)
    if not plan:
        return View(store, state)
    try:
        with locked(store):
            done, state = recover(Session(store, make_fs(), reporter, 1))
    except Busy as busy:
        return View(store, state, "in progress", (str(busy),))
    except (SystemFailure, NoSpace):
        return View(store, state, "not possible", told(plan))
    return View(store, state, "done" if told(done) else "none", told(done))


@contextmanager
def rehearsal(path: str, fs: Fs, reporter: Reporter, *, forks: int) -> Iterator[Session]:
    """Open the store at ``path`` to plan on it; nothing of it is changed, recovered or locked.

    Raises:
        NotFound, SystemFailure: the store cannot be had.
        Busy: somebody changes it.
    """
    with open_store(path) as store, undisturbed(store):
        with _readable(store):
            settled = scan(store).is_settled
        if not settled:
            reporter.warn("an earlier command was interrupted; it would be recovered from first")
        yield Session(store, fs, reporter, forks)


@contextmanager
def _readable(store: Store) -> Iterator[None]:
    """``execute.explained``, and its many modules imported only where there is an error."""
    try:
        yield
    except OSError:
        from rootman.execute import explained

        with explained(f"{store.path}: reading the store"):
            raise
