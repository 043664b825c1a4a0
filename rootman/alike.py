"""Trees of a store that were sealed with the same: a tree, and what can be gone back to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rootman.state import StoreState, Tree


def alike(state: StoreState, tree: Tree) -> tuple[Tree, ...]:
    """Return the other trees that were sealed as ``tree`` was: ``previous`` first, then the newest.

    They are of its version, and have the same bundles, chosen or not.
    """
    found = [one for one in state.of_version(tree.number.version) if _is_alike(one, tree)]
    found.sort(key=lambda one: (one.number == state.previous, one.number), reverse=True)
    return tuple(found)


def _is_alike(one: Tree, other: Tree) -> bool:
    if one.seal is None or other.seal is None or one.number == other.number:
        return False
    return one.seal.parts == other.seal.parts and one.seal.bundles == other.seal.bundles
