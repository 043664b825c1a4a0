"""The examination of one tree by ``verify`` and ``repair``: which, what differs, the verdict.

Out of scope: how a tree is compared with its manifest (``verify``), and how it is
brought back to it (``repair``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootman.difference import Differing, PathDifference, differing
from rootman.execute import Executor, explained
from rootman.objects import NoOrigin, Objects
from rootman.repair import repair_tree
from rootman.steps import ClearObjects
from rootman.store import require_tree, scan
from rootman.verify import verdict, verify_quickly, verify_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootman.names import TreeNumber
    from rootman.objects import Origin
    from rootman.session import Session, View
    from rootman.state import Tree
    from rootman.verify import Difference, Verdict

# What the quick check says of a path that is as sealed, because another name of its
# inode is not.
_ONLY_ITS_GROUP = ("group",)


@dataclass(frozen=True, slots=True)
class Finding:
    """One path that is not as sealed; ``damaged`` ones are so in every tree that shares them."""

    difference: PathDifference
    damaged: bool


@dataclass(frozen=True, slots=True)
class Examination:
    """What there is to say of a tree.

    ``repaired`` are the findings that there were before, ``local`` counts the changes of
    configuration that a repair leaves alone.
    """

    number: TreeNumber
    name: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    repaired: tuple[Finding, ...] = ()
    local: int = 0


def examine(
    view: View,
    number: TreeNumber | None,
    *,
    quick: bool,
    forks: int,
    on_tree: Callable[[Tree], Callable[[int], None]],
) -> Examination:
    """Compare the tree ``number``, by default the current one, with what it was sealed as.

    ``on_tree`` is called with the tree that it is, and returns what is told the number
    of entries done so far.

    Raises:
        NotFound: there is no such tree.
        RootmanError: it cannot be read.
    """
    tree = require_tree(view.state, number)
    on_progress = on_tree(tree)
    with explained(tree.name):
        if quick:
            found: Sequence[Difference] = verify_quickly(view.store, tree, forks=forks)
            found = [one for one in found if one.what != _ONLY_ITS_GROUP]
        else:
            found = verify_tree(view.store, tree, on_progress=on_progress)
    return Examination(tree.number, tree.name, verdict(found), _findings(found))


def mend(opened: Session, number: TreeNumber | None, origin: Origin | None) -> Examination:
    """Bring the tree ``number``, by default the current one, back to its manifest.

    Content that no tree of the store has comes from ``origin``.

    Raises:
        NotFound: there is no such tree, or some content is nowhere.
        RootmanError: the repair failed; every path is as it was, or repaired.
    """
    store = opened.store
    with explained(f"{store.path}: reading the store"):
        state = scan(store)
        tree = require_tree(state, number)
    objects = Objects(opened.fs, store.objects, origin or NoOrigin())
    opened.reporter.step(f"repair {tree.name}")
    result = repair_tree(opened, tree, objects)
    if origin is not None:
        Executor(store, opened.fs, opened.reporter, state).run((ClearObjects(),))
    return Examination(
        tree.number,
        tree.name,
        verdict(result.left),
        _findings(result.left),
        _findings(result.repaired),
        result.local,
    )


def _findings(found: Sequence[Difference]) -> tuple[Finding, ...]:
    return tuple(Finding(_explain(one), one.damaged) for one in found)


def _explain(one: Difference) -> PathDifference:
    if one.sealed is not None and one.found is not None:
        what = differing(one.sealed, one.found)
    else:
        what = tuple(map(Differing, one.what))
    return PathDifference(one.path, one.kind, what)
