"""Which trees go and which stay, and what each new one gets: from wishes to steps. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rootman.errors import NotFound, Refused
from rootman.names import TreeNumber, check_package
from rootman.state import require
from rootman.steps import ClearObjects, DeleteTree, DropState, Plan, SaveSettings, UpdateMenu
from rootman.switching import check_menu

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rootman.state import StoreState

KEEP_DEFAULT: Final = 2


def plan_prune(
    state: StoreState,
    keep: int,
    numbers: Collection[TreeNumber],
    generations: Mapping[int, Collection[TreeNumber]] | None = None,
) -> Plan:
    """Return the steps that delete ``numbers``, or by default all but the newest ``keep``.

    ``generations`` says of the state that is there which trees have it: what none has goes, too.

    Raises:
        NotFound: there is no such tree.
        Refused: a tree that was asked for is current, previous or pinned.
    """
    for number in numbers:
        require(state, number)
        reason = protection(state, number)
        if reason is not None:
            hint = f"rootman unpin {number}" if reason == "pinned" else "rootman rollback --to N"
            raise Refused(f"{state.name_of(number)} is {reason}: not deleted", hint=hint)
    victims = sorted(set(numbers)) or _superfluous(state, keep)
    idle = [one for one, its in (generations or {}).items() if set(its) <= set(victims)]
    return (
        *take_leave(state, victims),
        *(DeleteTree(number) for number in victims),
        *(DropState(generation) for generation in sorted(idle)),
        ClearObjects(),
    )


def _superfluous(state: StoreState, keep: int) -> list[TreeNumber]:
    sealed = [tree.number for tree in state.trees if tree.seal is not None]
    newest = set(sorted(sealed)[max(len(sealed) - keep, 0) :]) if keep else set()
    return [
        number for number in sealed if number not in newest and protection(state, number) is None
    ]


def take_leave(state: StoreState, numbers: Collection[TreeNumber]) -> Plan:
    """Return the step that has a loader forget trees before they are gone.

    Raises:
        Refused: it could not be told.
    """
    if state.menu is None or not numbers:
        return ()
    check_menu(state)
    return (UpdateMenu(frozenset(numbers)),)


def protection(state: StoreState, number: TreeNumber) -> str | None:
    """Return why a tree must not be deleted, None where it may be."""
    if number == state.current:
        return "current"
    if number == state.previous:
        return "previous"
    return "pinned" if number in state.settings.pinned else None


def plan_pin(state: StoreState, number: TreeNumber, *, pinned: bool) -> Plan:
    """Return the step that pins a tree or lifts its pin; none where it is so already.

    Raises:
        NotFound: there is no such tree.
    """
    require(state, number)
    known = state.settings.pinned
    wanted = known | {number} if pinned else known - {number}
    return () if wanted == known else (SaveSettings(replace(state.settings, pinned=wanted)),)


def plan_layer(
    state: StoreState, *, added: Collection[str] = (), removed: Collection[str] = ()
) -> Plan:
    """Return the step that changes which packages each new tree gets; none where it is so already.

    Raises:
        InvalidInput: that is no name of a package.
        NotFound: one to be removed is not among them.
    """
    known = state.settings.layer
    for name in removed:
        if name not in known:
            raise NotFound(f"{name} is not in the layer", hint="rootman layer lists what is")
    wanted = {*known, *map(check_package, added)} - set(removed)
    settings = replace(state.settings, layer=tuple(sorted(wanted)))
    return () if settings == state.settings else (SaveSettings(settings),)
