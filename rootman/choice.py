"""Which bundles a tree is to have: what was chosen, and what comes with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootman.errors import NotFound, Refused
from rootman.includes import closure
from rootman.names import BASE, tree_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rootman.release import Bundle, Release


@dataclass(frozen=True, slots=True)
class Choice:
    """The names of the bundles that were chosen, sorted, and all that a tree has by that.

    ``parts`` are base and then the others by their names.
    """

    bundles: tuple[str, ...]
    parts: tuple[Bundle, ...]

    @property
    def manifests(self) -> dict[str, str]:
        """The manifests of the parts, by the names of their bundles."""
        return {one.name: one.manifest for one in self.parts}


def choose(release: Release, names: Iterable[str]) -> Choice:
    """Return what a tree of ``release`` has where the bundles ``names`` are chosen (BU-7).

    Raises:
        Refused: the release has not one of them.
    """
    chosen = tuple(sorted(set(names)))
    known = _optional(release)
    for name in chosen:
        if name not in known:
            raise Refused(
                f"{_title(release)} has no bundle {name}, which was chosen here",
                hint=f"rootman bundle remove {name}",
            )
    includes = {name: bundle.includes for name, bundle in known.items()}
    return Choice(chosen, (release.base, *(known[one] for one in closure(chosen, includes))))


def with_added(release: Release, chosen: Iterable[str], names: Sequence[str]) -> Choice:
    """Return the choice ``chosen`` with ``names``, too.

    Raises:
        NotFound: the release has no such bundle.
        Refused: it is base, which is always there, or one that was chosen is gone.
    """
    _require(release, names)
    return choose(release, {*chosen, *names})


def with_removed(release: Release, chosen: Sequence[str], names: Sequence[str]) -> Choice:
    """Return the choice ``chosen`` without ``names``, of which some may not be there.

    Raises:
        NotFound: the release has no such bundle.
        Refused: it is base, or there because another bundle that stays includes it.
    """
    _require(release, names)
    left = choose(release, set(chosen) - set(names))
    for name in names:
        keepers = [one for one in left.bundles if name in choose(release, [one]).manifests]
        if keepers:
            raise Refused(
                f"bundle {name} comes with {', '.join(keepers)}",
                hint=f"rootman bundle remove {' '.join((name, *keepers))}",
            )
    return left


def _require(release: Release, names: Sequence[str]) -> None:
    """Refuse names that nobody can add or remove."""
    known = _optional(release)
    for name in names:
        if name == BASE:
            raise Refused(f"{BASE} is what every tree has")
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise NotFound(f"{_title(release)} has no bundle {name}", hint=f"there are: {there}")


def _optional(release: Release) -> dict[str, Bundle]:
    return {bundle.name: bundle for bundle in release.bundles if bundle.name != BASE}


def _title(release: Release) -> str:
    return tree_name(release.name, release.version)
