"""What follows from the checks of a booted tree. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rootman.boot.block import BootState

# To "prove" a tree is to see it come up once more, after a first boot.
Verdict = Literal["mark good", "prove", "try again", "fall back", "stay"]


def decide(boot: BootState, tree: str, *, is_healthy: bool) -> Verdict:
    """Return what is to be done about the booted ``tree`` (BT-15).

    Only a tree on trial is rebooted: what a machine fell back to stays up, so that somebody
    can reach it, and there is no way from here to a loop.
    """
    if is_healthy:
        return "mark good" if tree == boot.pending else "stay"
    if tree != boot.pending:
        return "stay"
    return "try again" if boot.tries else "fall back"
