"""What happens to a tree on trial: it begins, it passes, it fails, it is tried again. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from rootman.boot.block import without_trial

if TYPE_CHECKING:
    from rootman.boot.block import BootState

# One that the power was cut in, one that was the fault of something else, and one more.
ATTEMPTS: Final = 3

Standing = Literal["good", "pending", "bad"]


def standing(boot: BootState, tree: str) -> Standing:
    """Return the state of a tree, ``good`` where nothing is known of it.

    One that is in its last attempt is still pending: whether that one fails shows when
    the next boot finds it so.
    """
    if tree in boot.bad:
        return "bad"
    return "pending" if tree == boot.pending else "good"


def begin(boot: BootState, tree: str, limit: int = 0) -> BootState:
    """Return the state in which ``tree`` is pending, whatever it was before (BT-10).

    ``limit`` is how far the firmware may count while it is (BT-32).

    There is one trial at a time. A tree whose trial this one ends is bad: it has not shown
    that it works, and a loader must not fall back to it without counting (BT-7).
    """
    if boot.pending not in ("", tree):
        boot = mark_bad(boot, boot.pending)
    return replace(forget(boot, tree), pending=tree, tries=ATTEMPTS, limit=limit)


def mark_good(boot: BootState, tree: str) -> BootState:
    """Return the state after ``tree`` has passed its checks (BT-12)."""
    boot = boot if boot.pending != tree else without_trial(boot)
    return forget(boot, tree)


def mark_bad(boot: BootState, tree: str) -> BootState:
    """Return the state after ``tree`` has failed (BT-12)."""
    boot = boot if boot.pending != tree else without_trial(boot)
    return boot if tree in boot.bad else replace(boot, bad=(*boot.bad, tree))


def forget(boot: BootState, tree: str) -> BootState:
    """Return the state in which ``tree`` is not bad."""
    return replace(boot, bad=tuple(one for one in boot.bad if one != tree))
