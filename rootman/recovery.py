"""What an interrupted command left: from the state of a store to the steps that settle it. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rootman.boot.menu import is_settled, told_boot
from rootman.names import LINKS, StageKind, TreeNumber
from rootman.steps import (
    CloseStage,
    Discard,
    DropRecord,
    Plan,
    Publish,
    SaveBoot,
    Step,
    Sweep,
    UpdateMenu,
)
from rootman.switching import finish_switch, follow_the_loader

if TYPE_CHECKING:
    from rootman.state import Stage, StoreState


def plan_recovery(state: StoreState) -> Plan:
    """Return what finishes or undoes an interrupted command (S4)."""
    steps: list[Step] = []
    is_shown = is_settled(state)
    boot = told_boot(state)
    if boot is not None and boot != state.boot:
        steps.append(SaveBoot(boot))
        state = replace(state, boot=boot)
    steps += [Sweep(name) for name in state.litter]
    steps += [DropRecord(number) for number in state.orphans]
    spare = best_spare(state)
    is_switched = False
    for stage in state.stages:
        if stage == spare or stage.in_use:
            continue
        if _is_sealed(state, stage):
            # Sealed, and then cut off before or within the switch, if that was asked for.
            if state.obstacles.intersection(LINKS):
                continue  # it is reported, and waits
            if _is_switched_to(state, stage.name.number):
                steps += finish_switch(state, stage.name.number)
                is_switched = True
            steps.append(CloseStage(stage.name.number))
        else:
            steps.append(Discard(stage.name))
    if state.has_failed and not is_switched:
        steps += follow_the_loader(state)
    if state.menu is not None and not state.menu.problem and (steps or not is_shown):
        steps.append(UpdateMenu(recovering=True))
    # Killed, not cut off from its power, a command may have died before it made durable
    # what this builds on, or removes.
    return (Publish(), *steps) if steps else ()


def _is_sealed(state: StoreState, stage: Stage) -> bool:
    return (
        stage.name.kind is StageKind.BUILDING
        and not stage.has_root
        and state.sealed(stage.name.number) is not None
    )


def _is_switched_to(state: StoreState, number: TreeNumber) -> bool:
    """Return whether a new tree becomes current: an adopted one only where nothing is.

    One that the loader has tried since, and given up, is not.
    """
    if state.is_bad(number):
        return False
    tree = state.tree(number)
    return state.current is None or tree is None or not tree.adopted


def best_spare(state: StoreState) -> Stage | None:
    """Return the usable spare nearest to current, None where there is none."""
    usable = [
        stage
        for stage in state.stages
        if stage.name.kind is StageKind.SPARE and stage.has_root and stage.has_meta
    ]
    usable.sort(key=lambda stage: (stage.name.number == state.current, stage.name.number))
    return usable[-1] if usable else None
