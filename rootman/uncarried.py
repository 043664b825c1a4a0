"""The local changes that an upgrade does not carry over: all but configuration and state.

They stay in the tree that is left. Found as configuration's are, by the digests of directories;
a directory that has its stamp is not looked at, so that a tree which nobody changed costs a
few microseconds for each. Nothing is read but names and lstat(2), and which packages came only
because others needed them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rootman.comparison import lines_within
from rootman.delta import is_directory
from rootman.difference import PathDifference
from rootman.errors import RootmanError
from rootman.execute import explained
from rootman.fsops import open_inside
from rootman.fsops import opened as opened_directory
from rootman.layer.managers import MANAGERS, Packages
from rootman.layer.record import marks_of, read_layer
from rootman.manifest import encode, field_path, path_field
from rootman.merge.local import is_as_sealed
from rootman.merge.paths import ConfigPaths
from rootman.seal import UNKNOWN
from rootman.survey import look_closer
from rootman.verify import open_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootman.delta import Drift
    from rootman.release import Release
    from rootman.seal import SealRecord
    from rootman.session import Session
    from rootman.state import StoreState, Tree
    from rootman.store import Store

_FIRST: Final = 3  # paths that are named


@dataclass(frozen=True, slots=True)
class Uncarried:
    """What is in a tree alone, and is not going to be in the next.

    ``wanted`` are those of the packages that were added which nobody else needed.
    ``str`` is for people.
    """

    paths: tuple[PathDifference, ...] = ()
    packages: Packages = field(default_factory=Packages)
    wanted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.paths)

    def __str__(self) -> str:
        return "; ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        first = ", ".join(encode(one.path).decode("ascii") for one in self.paths[:_FIRST])
        more = ", ..." if len(self.paths) > _FIRST else ""
        noun = "path" if len(self.paths) == 1 else "paths"
        yield f"not carried over: {len(self.paths)} {noun} changed outside of configuration: " + (
            first + more
        )
        if self.wanted:
            names = " ".join(self.wanted)
            yield f"packages installed here: {names} (rootman layer add {names} keeps them)"
        if self.packages.removed:
            yield f"packages removed here: {' '.join(self.packages.removed)}"
        if self.packages.changed:
            yield f"packages changed here: {' '.join(self.packages.changed)}"


def find_uncarried(
    opened: Session, state: StoreState, release: Release, layer: Sequence[str]
) -> Uncarried:
    """Return what is not carried from the tree that is current to that of ``release``.

    ``layer`` are the packages that the new tree gets. An upgrade does not fail where that
    cannot be found out: a warning tells.
    """
    current = state.sealed(state.current)
    if current is None:
        return Uncarried()
    try:
        with explained(f"{current.name}: its local changes"):
            if _is_changed_below_an_overlay(opened.store, current):
                opened.reporter.warn(
                    f"what was changed in {current.name} below an overlay is not carried over,"
                    " nor is configuration there; state is"
                )
            return _find(opened, current, release, frozenset(layer))
    except RootmanError as error:
        opened.reporter.warn(f"what is not carried over is not known: {error}")
        return Uncarried()


def _is_changed_below_an_overlay(store: Store, tree: Tree) -> bool:
    """Return whether an overlay has something of a tree, which the tree itself has not (BT-43)."""
    try:
        with opened_directory(f"overlay/{tree.number}/upper", dir_fd=store.control) as fd:
            return bool(os.listdir(fd))
    except FileNotFoundError:
        return False


def _find(opened: Session, tree: Tree, release: Release, layer: frozenset[str]) -> Uncarried:
    carried = ConfigPaths.of((*release.config, *release.state))
    with open_tree(opened.store, tree) as (root, record):
        drift = [
            one
            for one in _drift(root, record, carried)
            if not carried.covers(field_path(one.field)) and not _is_time_alone(one)
        ]
        drift = _without_layer(root, record, drift, layer)
        paths = tuple(map(_difference, drift))
        packages = _packages(paths, layer)
        automatic = _automatic(root) if packages.added else frozenset()
    return Uncarried(paths, packages, tuple(one for one in packages.added if one not in automatic))


def _drift(root_fd: int, record: SealRecord, carried: ConfigPaths) -> list[Drift]:
    """Return what is not as sealed in directories that are not ``carried``."""
    digests = record.digests()
    stamps = record.stamps(digests)
    changed = [
        path
        for path, digest in digests.items()
        if not carried.covers(os.fsencode(path))
        and not _has_stamp(root_fd, path, stamps.get(path, UNKNOWN))
        and not is_as_sealed(root_fd, path, digest)
    ]
    if not changed:
        return []
    fields = [path_field(os.fsencode(path)) for path in changed]
    with record.manifest() as stream:
        lines = lines_within(stream, fields)
        return sorted(look_closer(root_fd, changed, lines, record.inodes()), key=_field)


def _has_stamp(root_fd: int, path: str, stamp: int) -> bool:
    """Return whether a directory is the one that has this stamp.

    By its path, in one call: if that leads elsewhere by now, a directory above is not as sealed.
    """
    if stamp == UNKNOWN:
        return False
    try:
        return os.stat(path, dir_fd=root_fd, follow_symlinks=False).st_ctime_ns == stamp
    except OSError:
        return False


def _field(one: Drift) -> bytes:
    return one.field


def _is_time_alone(one: Drift) -> bool:
    """Return whether a directory has another time: what came or went in it is told."""
    return one.what == ("time",) and one.line is not None and is_directory(one.line)


def _without_layer(
    root_fd: int, record: SealRecord, drift: list[Drift], layer: frozenset[str]
) -> list[Drift]:
    """Return ``drift`` without what a layer did that is going to be done again."""
    known = read_layer(record) if drift else None
    if known is None or not layer.issuperset(known.packages):
        return drift
    there = marks_of(root_fd, [one.field for one in drift if one.field in known.marks])
    return [
        one for one in drift if one.field not in there or there[one.field] != known.marks[one.field]
    ]


def _difference(one: Drift) -> PathDifference:
    path = field_path(one.field)
    if one.line is None:
        return PathDifference(path, "added")
    return PathDifference(path, "removed" if one.what == ("missing",) else "changed")


def _packages(paths: Sequence[PathDifference], layer: frozenset[str]) -> Packages:
    """Return the packages that differ by ``paths``, without those that come again."""
    for manager in MANAGERS:
        if found := manager.differing(paths):
            added = tuple(one for one in found.added if one not in layer)
            return Packages(added, found.removed, found.changed)
    return Packages()


def _automatic(root_fd: int) -> frozenset[str]:
    """Return the packages that came because others needed them, as far as that is known."""
    found: set[str] = set()
    for manager in MANAGERS:
        with suppress(OSError):
            fd = open_inside(os.fsdecode(manager.reasons), dir_fd=root_fd)
            with open(fd, encoding="utf-8", errors="replace") as file:
                found |= manager.automatic(file.read())
    return frozenset(found)
