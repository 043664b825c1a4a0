"""Which bundles come with which: includes, their cycles, and what a choice leads to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_SHOWN: Final = 8


def find_cycle(includes: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return bundles of which each includes the next, the last being the first again.

    None of that kind: an empty tuple.
    """
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter(includes).prepare()
    except CycleError as error:
        return tuple(reversed(error.args[1]))
    return ()


def told(cycle: tuple[str, ...]) -> str:
    """Return on a line what is wrong with a cycle, of a long one its beginning."""
    shown = cycle if len(cycle) <= _SHOWN else (*cycle[: _SHOWN - 1], "...")
    return " includes ".join(shown)


def closure(chosen: Iterable[str], includes: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return the names ``chosen`` and all that they include, sorted; each is in ``includes``."""
    found = set[str]()
    pending = list(chosen)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(includes[name])
    return tuple(sorted(found))
