"""Which tree boots, and what the attempt makes of the boot state. Pure.

The machine of spec/50-boot.md. ``data/choose.sh`` and ``data/rootman.cfg`` are the same
machine for what runs before Python; tests hold the three together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rootman.boot.block import without_trial

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rootman.boot.block import BootState

Reason = Literal["once", "current", "previous", "newest", "rescue", "last resort"]


@dataclass(frozen=True, slots=True)
class Links:
    """The names of the complete trees that the two links lead to, "" for none."""

    current: str = ""
    previous: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The tree that boots, "" where there is none, why it does, and the state to be kept."""

    tree: str
    reason: Reason | None
    after: BootState

    @property
    def is_good(self) -> bool:
        """Whether there is a tree, and it is not only taken for want of a better one."""
        return self.reason not in (None, "last resort")


def choose(boot: BootState, links: Links, trees: Collection[str], count: int = 0) -> Choice:
    """Return what boots of the complete ``trees``, and the boot state after the choice.

    That state is kept before the tree is booted: an attempt that is not counted first
    might never be (BT-6). ``count`` is how far the firmware has counted, 0 where it does not.
    """
    boot = settle(boot, count)
    once, boot = boot.once, replace(boot, once="")
    if once in trees:
        return Choice(once, "once", _counted(boot, once, is_turn=False))
    ordered = list(candidates(boot, links, trees))
    for tree, reason in ordered:
        if tree not in boot.bad:
            return Choice(tree, reason, _counted(boot, tree))
    for tree, _ in ordered:
        return Choice(tree, "last resort", _counted(boot, tree, is_turn=False))
    return Choice("", None, boot)


def settle(boot: BootState, count: int = 0) -> BootState:
    """Return the state with a pending tree that has no attempt left among the bad ones (BT-7).

    None is left, either, where the firmware has counted further than it may (BT-32).
    """
    if not boot.pending or (boot.tries and not 0 < boot.limit < count):
        return boot
    bad = boot.bad if boot.pending in boot.bad else (*boot.bad, boot.pending)
    return replace(without_trial(boot), bad=bad)


def _counted(boot: BootState, tree: str, *, is_turn: bool = True) -> BootState:
    """Return the state after the attempt to boot ``tree``, by its turn or not.

    Where it is none of the pending tree, what the firmware counts says no more about that (BT-32).
    """
    if tree == boot.pending and is_turn:
        return replace(boot, tries=boot.tries - 1)
    return replace(boot, limit=0)


def candidates(
    boot: BootState, links: Links, trees: Collection[str]
) -> Iterator[tuple[str, Reason]]:
    """Give the trees in the order in which they are tried (BT-5)."""
    if links.current:
        yield links.current, "current"
    if links.previous:
        yield links.previous, "previous"
    for tree in sorted(trees, key=age, reverse=True):
        if tree != boot.rescue:
            yield tree, "newest"
    if boot.rescue in trees:
        yield boot.rescue, "rescue"


def age(tree: str) -> tuple[int, ...]:
    """Return what trees are ordered by: version and revision."""
    return tuple(int(number) for number in tree.split(".")[1:])
