"""Planners of what ``rootman boot`` changes: from the state of a store to steps. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rootman.boot import trial
from rootman.boot.block import BootState
from rootman.boot.first import after_passing
from rootman.errors import Refused
from rootman.state import require
from rootman.steps import SaveBoot, SaveSettings
from rootman.switching import follow_the_loader, then_menu
from rootman.upkeep import plan_pin

if TYPE_CHECKING:
    from rootman.names import TreeNumber
    from rootman.state import StoreState
    from rootman.steps import Plan


def plan_boot_init(state: StoreState) -> Plan:
    """Return the step that begins the boot state, or writes a damaged one anew."""
    if state.boot is not None and not state.is_boot_damaged:
        return ()
    return (SaveBoot(state.boot or BootState()),)


def plan_good(state: StoreState, number: TreeNumber) -> Plan:
    """Return the step that says of a tree that it has passed its checks; none where it is good.

    Raises:
        NotFound: there is no such tree.
    """
    require(state, number)
    if state.boot is None:
        return ()
    return then_menu(state, _save(state, trial.mark_good(state.boot, state.name_of(number))))


def plan_first(state: StoreState, number: TreeNumber, command_line: str) -> Plan:
    """Return the steps that say of a tree that it has passed the test of a first boot.

    None where this is no first boot, nor the one that proves it. What is kept of it comes last:
    a power cut before it has the test made again, one behind it does not (BT-63).

    Raises:
        NotFound: there is no such tree.
    """
    after = after_passing(state.settings.first_boot, command_line)
    if after == state.settings.first_boot:
        return ()
    settings = replace(state.settings, first_boot=after)
    return (*plan_good(state, number), SaveSettings(settings))


def plan_bad(state: StoreState, number: TreeNumber) -> Plan:
    """Return the steps that say of a tree that it failed, and switch to another if it is current.

    Raises:
        NotFound: there is no such tree.
        Refused: nothing was set up, or no other tree is left to boot.
    """
    require(state, number)
    boot = trial.mark_bad(require_boot(state), state.name_of(number))
    if set(state.sealed_names) <= set(boot.bad):
        raise Refused(
            f"{state.name_of(number)} is the last tree to boot from: not marked bad",
            hint="rootman upgrade brings another one",
        )
    after = replace(state, boot=boot)
    switch = follow_the_loader(after) if after.has_failed else ()
    return then_menu(state, (*_save(state, boot), *switch))


def plan_once(state: StoreState, number: TreeNumber | None) -> Plan:
    """Return the step that has the next boot, and no other, take a tree; None takes it back.

    Raises:
        NotFound: there is no such tree.
        Refused: nothing was set up, or the loader cannot do it.
    """
    if number is not None:
        require(state, number)
    once = "" if number is None else state.name_of(number)
    loader = state.settings.loader
    if once and loader is not None and not loader.counts:
        raise Refused(
            f"{loader.kind} cannot boot a tree once", hint=f"rootman rollback --to {number}"
        )
    return then_menu(state, _save(state, replace(require_boot(state), once=once)))


def plan_rescue(state: StoreState, number: TreeNumber | None) -> Plan:
    """Return the steps that keep a tree for when no other is left to boot; None: no more.

    Raises:
        NotFound: there is no such tree.
        Refused: nothing was set up.
    """
    boot = require_boot(state)
    if number is None:
        return then_menu(state, _save(state, replace(boot, rescue="")))
    pin = plan_pin(state, number, pinned=True)
    save = _save(state, replace(boot, rescue=state.name_of(number)))
    return then_menu(state, (*pin, *save))


def require_boot(state: StoreState) -> BootState:
    """Return the boot state.

    Raises:
        Refused: there is none.
    """
    if state.boot is None:
        raise Refused("this store has no boot state", hint="rootman boot init")
    return state.boot


def _save(state: StoreState, boot: BootState) -> Plan:
    return () if boot == state.boot else (SaveBoot(boot),)
