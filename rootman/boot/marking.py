"""What ``rootman boot`` does to the boot state, from the open store to what was done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from rootman.boot.attention import boot_hint, boot_warnings
from rootman.boot.block import BootState
from rootman.boot.first import is_due
from rootman.boot.planning import plan_boot_init, plan_first
from rootman.boot.running import booted_name, kernel_command_line, require_booted
from rootman.boot.trial import standing
from rootman.execute import Executor
from rootman.session import read_state
from rootman.steps import Publish
from rootman.switching import choose_next, forget_merge, links_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootman.boot.first import Trial
    from rootman.boot.trial import Standing
    from rootman.merge.planning import MergePlan
    from rootman.names import TreeNumber
    from rootman.session import Session
    from rootman.state import StoreState
    from rootman.steps import Plan


@dataclass(frozen=True, slots=True)
class Marked:
    """The name of the tree, "" for none; whether anything changed, and what boots next."""

    name: str
    changed: bool
    next: str


def begin_boot(opened: Session) -> Marked:
    """Begin to keep a boot state, or write a damaged one anew.

    Raises:
        RootmanError: it could not be written.
    """
    state = read_state(opened)
    return _carry_out(opened, state, plan_boot_init(state), "")


def mark(
    opened: Session,
    planner: Callable[[StoreState, TreeNumber], Plan],
    number: TreeNumber | None,
) -> Marked:
    """Carry out what ``planner`` says of a tree, for None of the one that was booted.

    Raises:
        NotFound: there is no such tree, or it is not known which one was booted.
        Refused: the planner refuses it.
        RootmanError: it could not be written.
    """
    state = read_state(opened)
    if number is None:
        number = require_booted(state.settings.os_name)
    return _carry_out(opened, state, planner(state, number), state.name_of(number))


def choose_for(
    opened: Session,
    planner: Callable[[StoreState, TreeNumber | None], Plan],
    number: TreeNumber | None,
) -> Marked:
    """Carry out what ``planner`` says of a tree, or of none.

    Raises:
        NotFound: there is no such tree.
        Refused: the planner refuses it.
        RootmanError: it could not be written.
    """
    state = read_state(opened)
    name = "" if number is None else state.name_of(number)
    return _carry_out(opened, state, planner(state, number), name)


def pass_first_boot(opened: Session, number: TreeNumber, command_line: str) -> Trial | None:
    """Keep that the booted tree has passed the test of a first boot, if it is one (BT-63).

    Return what is kept of that from now on, None where nothing changed.

    Raises:
        RootmanError: it could not be written.
    """
    state = read_state(opened)
    if not _carry_out(opened, state, plan_first(state, number, command_line), "").changed:
        return None
    return read_state(opened).settings.first_boot


@dataclass(frozen=True, slots=True)
class Finished:
    """What boots next, "" for no tree, and the configuration that was merged into it again."""

    next: str
    merge: MergePlan | None


def finish(opened: Session, booted: str) -> Finished:
    """Leave the store as the next boot is to find it, where the tree named ``booted`` runs.

    What was interrupted was finished or undone when it was opened. Configuration that was
    changed since an upgrade is merged again (MG-17). A root filesystem that
    is in use to the end is not unmounted, and GRUB does not replay what its journal has (S3).

    Raises:
        RootmanError: it could not be written.
    """
    from rootman.merge.anew import merge_again
    from rootman.merge.note import has_run

    state = read_state(opened)
    number = has_run(state, booted)
    forget = () if number is None else forget_merge(state, number)
    try:
        merge = merge_again(opened, state, booted)
    finally:
        marked = _carry_out(opened, state, (*forget, Publish()), "")
    return Finished(marked.next, merge)


def _carry_out(opened: Session, state: StoreState, plan: Plan, name: str) -> Marked:
    """Carry out what is planned for the tree ``name``."""
    Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
    return Marked(name, bool(plan), choose_next(read_state(opened)).tree)


class TreeBoot(TypedDict):
    """A tree and its boot state; ``tries`` are the attempts that are left of its trial."""

    name: str
    state: Standing
    tries: int | None


class BootOverview(TypedDict):
    """What ``rootman boot status`` shows; names of trees are "" for none.

    ``set_up`` says whether there is a boot state at all, ``current`` and ``previous`` where the
    links lead, ``next`` and ``reason`` what boots next and why, ``bad`` what failed, also of
    trees that are not here any more. ``first_boot`` is ``due``, or what came of its test, "" where
    nobody asked for one. Each of the ``problems`` is one line with its way out.
    """

    set_up: bool
    booted: str
    current: str
    previous: str
    next: str
    reason: str
    once: str
    rescue: str
    bad: list[str]
    first_boot: str
    problems: list[str]
    trees: list[TreeBoot]


def boot_overview(state: StoreState, store: str) -> BootOverview:
    """Return what is known about how the store at the path ``store`` boots."""
    boot = state.boot or BootState()
    choice = choose_next(state)
    links = links_of(state)
    trial = state.settings.first_boot
    return {
        "set_up": state.boot is not None,
        "booted": booted_name(),
        "current": links.current,
        "previous": links.previous,
        "next": choice.tree,
        "reason": choice.reason or "",
        "once": boot.once,
        "rescue": boot.rescue,
        "bad": list(boot.bad),
        "first_boot": "due" if is_due(trial, kernel_command_line()) else trial,
        "problems": [
            *(
                f"{one} (hint: {hint})"
                for one in state.problems
                if (hint := boot_hint(state, one)) is not None
            ),
            *boot_warnings(state, store),
        ],
        "trees": [
            {
                "name": name,
                "state": standing(boot, name),
                "tries": boot.tries if name == boot.pending else None,
            }
            for name in state.sealed_names
        ],
    }
