"""How the two links come to lead to another tree, and what the boot state says first. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rootman.boot import trial
from rootman.boot.block import BootState
from rootman.boot.choice import Links, choose
from rootman.errors import Refused
from rootman.names import LINKS
from rootman.steps import (
    Exchange,
    ForgetMerge,
    PointCurrent,
    PointPrevious,
    SaveBoot,
    UpdateMenu,
)

if TYPE_CHECKING:
    from rootman.boot.choice import Choice
    from rootman.names import TreeNumber
    from rootman.state import StoreState
    from rootman.steps import Plan


def then_menu(state: StoreState, plan: Plan) -> Plan:
    """Return the plan, and after it the update of the loader's menu, if it has one (BT-21).

    Raises:
        Refused: the menu is not there, and the loader would not know.
    """
    if state.menu is None or not plan:
        return plan
    check_menu(state)
    return (*plan, UpdateMenu())


def check_menu(state: StoreState) -> None:
    """Refuse to go on where the loader could not be told.

    Raises:
        Refused: its menu is not there.
    """
    if state.menu is not None and state.menu.problem and state.settings.loader is not None:
        raise Refused(state.menu.problem, hint=state.settings.loader.hint)


def plan_switch(state: StoreState, number: TreeNumber) -> Plan:
    """Return the steps of S2 that make ``number`` current."""
    if state.current == number:
        return ()
    if state.current is None:
        return (PointCurrent(number),)
    exchange = Exchange(number, state.current)
    if state.previous == number:
        return (exchange,)
    return (PointPrevious(number), exchange)


def plan_trial(state: StoreState, number: TreeNumber) -> Plan:
    """Return the switch to a tree that has to prove itself.

    The boot state comes first: no loader ever finds a link to a new tree that it does not
    know to be on trial (BT-10).
    """
    switch = plan_switch(state, number)
    if state.boot is None or not switch:
        return switch
    return (SaveBoot(trial.begin(state.boot, state.name_of(number), state.limit)), *switch)


def plan_known(state: StoreState, number: TreeNumber) -> Plan:
    """Return the switch to a tree that is here; one that failed before is on trial again.

    It is taken as it is: nothing is merged into it at shutdown (MG-16).
    """
    switch = plan_trial(state, number) if state.is_bad(number) else plan_switch(state, number)
    return (*forget_merge(state, number), *switch) if switch else ()


def forget_merge(state: StoreState, number: TreeNumber) -> Plan:
    """Return the step after which nothing is merged into a tree again, if it has a note."""
    tree = state.tree(number)
    return (ForgetMerge(number),) if tree is not None and tree.note is not None else ()


def finish_switch(state: StoreState, number: TreeNumber) -> Plan:
    """Return the rest of a switch, on trial; attempts that were made count (BT-10)."""
    if state.boot is not None and state.boot.pending == state.name_of(number):
        return plan_switch(state, number)
    return plan_trial(state, number)


def choose_next(state: StoreState) -> Choice:
    """Return what the loader makes of the store: the tree that boots next, and why."""
    return choose(state.boot or BootState(), links_of(state), state.sealed_names)


def follow_the_loader(state: StoreState) -> Plan:
    """Return the switch to what boots in place of a current tree that is bad (BT-11)."""
    if state.boot is None or state.obstacles.intersection(LINKS):
        return ()
    names = {tree.name: tree.number for tree in state.trees}
    choice = choose_next(replace(state, boot=replace(state.boot, once="")))
    return plan_switch(state, names[choice.tree]) if choice.is_good else ()


def links_of(state: StoreState) -> Links:
    """Return the names of the sealed trees that the links lead to."""
    return Links(_link_name(state, state.current), _link_name(state, state.previous))


def _link_name(state: StoreState, number: TreeNumber | None) -> str:
    tree = state.sealed(number)
    return "" if tree is None else tree.name
