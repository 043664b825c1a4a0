"""What a tree is to have of the local changes of another: from three sides to outcomes. Pure.

Each path that was changed locally is decided by itself (``decision``). Then what follows for
the paths above and below it: nothing is below what is no directory, and what has to be
somewhere has its directories (MG-4). The three sides may be any: at an upgrade they are the
default of the tree that is left, what is there now, and the default of the tree that is
made; at a rollback the last is what the tree has that is gone back to (MG-20).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from rootman.errors import Refused
from rootman.manifest import printable
from rootman.merge.decision import Decision, body, decide, is_same
from rootman.merge.paths import ancestors, beside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rootman.manifest import Entry
    from rootman.merge.decision import Merged, Source
    from rootman.merge.paths import ConfigPaths

Kind = Literal["kept", "merged", "conflict"]
_DIR: Final = "dir"
# What ldconfig(8) makes of the libraries in a tree: that of another tree is wrong (MG-21).
_CACHE: Final = b"etc/ld.so.cache"


@dataclass(frozen=True, slots=True)
class Sides:
    """The three sides of a merge, by path. ``local`` has what is not as in ``base``, None: gone."""

    base: Mapping[bytes, Entry]
    local: Mapping[bytes, Entry | None]
    new: Mapping[bytes, Entry]

    def here(self, path: bytes) -> Entry | None:
        """Return what is at ``path`` locally, None where nothing is."""
        return self.local[path] if path in self.local else self.base.get(path)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A path of the new tree that is not to be what the release has there.

    ``entry`` is what it is to be, of content from ``source``; None is nothing. ``beside`` is
    the name that the new default gets, ``old`` that of the local entry ``was``.
    """

    path: bytes
    entry: Entry | None
    source: Source
    beside: bytes | None = None
    old: bytes | None = None
    was: Entry | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What there is to tell of one path: a change that was ``kept``, ``merged``, or a loss.

    A ``conflict`` is where something gave way; ``what`` says what, ``beside`` is the path at
    which it is kept, if it is.
    """

    path: bytes
    kind: Kind
    what: tuple[str, ...] = ()
    beside: bytes | None = None


@dataclass(frozen=True, slots=True)
class MergePlan:
    """What becomes of all local changes, in the order of paths."""

    outcomes: tuple[Outcome, ...] = ()
    findings: tuple[Finding, ...] = ()


def contested(sides: Sides) -> Iterator[bytes]:
    """Yield the files that both sides changed differently: their contents may be merged."""
    for path, local in sides.local.items():
        base, new = sides.base.get(path), sides.new.get(path)
        if local is None or new is None or not local.type == new.type == "file":
            continue
        if base is not None and (base.type != "file" or body(base) in (body(local), body(new))):
            continue
        if body(local) != body(new):
            yield path


def plan_merge(
    sides: Sides, config: ConfigPaths, merged: Mapping[bytes, Merged] | None = None
) -> MergePlan:
    """Return what is to be done to the new tree, and what there is to tell.

    ``merged`` has what became of contested contents.

    Raises:
        Refused: the release has no directory above ``config`` for what has to be in it.
    """
    merged = merged or {}
    decisions = {
        path: decide(sides.base.get(path), local, sides.new.get(path), merged.get(path))
        for path, local in sides.local.items()
        if not _is_cache(path, sides)
    }
    structure = _Structure(sides, config, decisions)
    structure.settle_directories()
    structure.settle_parents()
    return _told(sides, decisions, merged)


def _is_cache(path: bytes, sides: Sides) -> bool:
    """Return whether what is at ``path`` is made of the rest of a tree, and the new one has it."""
    return path == _CACHE and path in sides.new and sides.new[path].type == "file"


@dataclass(slots=True)
class _Structure:
    """Decisions brought in line with what is above and below their paths."""

    sides: Sides
    config: ConfigPaths
    decisions: dict[bytes, Decision]
    _paths: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._paths = sorted(self.sides.new)

    def settle_directories(self) -> None:
        """See to the directories of the release that are none here."""
        for path in sorted(self.decisions):
            new = self.sides.new.get(path)
            if path in self.decisions and new is not None and new.type == _DIR:
                local = self.sides.local[path]
                if local is None:
                    self._keep_what_is_needed(path, new)
                elif self._is_other(path):
                    self._give_way(path, local)

    def _is_other(self, path: bytes) -> bool:
        """Return whether a path is to be something else than a directory."""
        entry = self.decisions[path].entry
        return entry is not None and entry.type != _DIR

    def _below(self, path: bytes) -> list[bytes]:
        """Return the paths of the release below ``path``."""
        start = bisect_left(self._paths, path + b"/")
        return self._paths[start : bisect_left(self._paths, path + b"0", start)]

    def _keep_what_is_needed(self, path: bytes, new: Entry) -> None:
        if any(inner not in self.decisions for inner in self._below(path)):
            told = "deleted here; needed for what the release put into it"
            self.decisions[path] = Decision(new, losses=(told,))

    def _give_way(self, path: bytes, local: Entry) -> None:
        """Put another thing in the place of a directory; all of it moves aside if it has news."""
        inner = self._below(path)
        has_news = not all(
            is_same(self.sides.base.get(one), self.sides.new[one]) for one in (path, *inner)
        )
        told = ("not a directory here, changed by the release",) if has_news else ()
        self.decisions[path] = Decision(local, "local", "new" if has_news else None, told)
        for one in inner:
            self.decisions.pop(one, None)

    def settle_parents(self) -> None:
        """See to it that all that is to be somewhere has its directories."""
        for path in sorted(self.decisions, reverse=True):
            one = self.decisions[path]
            if one.entry is not None or one.beside is not None:
                for parent in ancestors(path):
                    self._have_directory(parent, path)

    def _have_directory(self, path: bytes, inner: bytes) -> None:
        new, here = self.sides.new.get(path), self.sides.here(path)
        decision = self.decisions.get(path)
        result = decision.entry if decision is not None else new
        if result is not None and result.type == _DIR:
            return
        if not self.config.covers(path):
            raise Refused(
                f"{printable(path)}: no directory in the release, and {printable(inner)}"
                " was changed here",
                hint="move it elsewhere",
            )
        if here is not None and here.type == _DIR:
            told = "in use here, no directory in the release" if new else "removed by the release"
            losses = (told,) if new else (f"{told}; needed for what was changed in it",)
            self.decisions[path] = Decision(here, "local", "new" if new else None, losses)
        elif new is not None:
            told = "deleted here; needed for what the release changed in it"
            self.decisions[path] = Decision(new, losses=(told,))


def _told(
    sides: Sides, decisions: Mapping[bytes, Decision], merged: Mapping[bytes, Merged]
) -> MergePlan:
    """Return the decisions as outcomes and findings, with names for what is put beside."""
    taken = {*sides.base, *sides.local, *sides.new}
    outcomes: dict[bytes, Outcome] = {}
    findings: list[Finding] = []
    for path in sorted(decisions):
        one, local = decisions[path], sides.here(path)
        name = _name_beside(path, one, sides, taken)
        if name is not None:
            taken.add(name)
        if name is not None or not _is_default(one, sides.new.get(path)):
            is_new = one.beside == "new"
            outcomes[path] = Outcome(
                path,
                one.entry,
                one.source,
                name if is_new else None,
                None if is_new else name,
                local if name is not None and not is_new else None,
            )
        finding = _finding(path, one, sides, name, merged.get(path))
        if finding is not None:
            findings.append(finding)
    replaced = {one.beside for one in outcomes.values() if one.beside is not None}

    def is_there(path: bytes) -> bool:
        return path not in replaced and replaced.isdisjoint(ancestors(path))

    return MergePlan(
        tuple(outcomes[path] for path in sorted(outcomes) if is_there(path)),
        tuple(one for one in findings if is_there(one.path)),
    )


def _name_beside(path: bytes, decision: Decision, sides: Sides, taken: set[bytes]) -> bytes | None:
    """Return the path beside ``path`` for what gave way, if something did.

    A new default takes the place of an older one; what was here is never overwritten.
    """
    if decision.beside is None:
        return None
    if decision.beside == "old":
        return beside(path, "old", taken)
    return beside(path, "new", sides.new)


def _is_default(decision: Decision, new: Entry | None) -> bool:
    return decision.entry == new and (new is None or decision.source == "new")


def _finding(
    path: bytes, decision: Decision, sides: Sides, name: bytes | None, merged: Merged | None
) -> Finding | None:
    """Return what to tell of a path; nothing where the release stands and nothing was lost."""
    losses = decision.losses
    if losses or name is not None:
        return Finding(path, "conflict", losses, name)
    new = sides.new.get(path)
    if _is_default(decision, new) or is_same(decision.entry, new):
        return None
    if merged is not None:
        return Finding(path, "merged", (merged.how, *merged.notes))
    is_changed_by_both = not is_same(sides.base.get(path), new)
    return Finding(path, "merged" if is_changed_by_both and new is not None else "kept")
