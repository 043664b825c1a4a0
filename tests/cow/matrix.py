"""A guarded tree of cells beside a plain copy of it: is a cell as it is on plain ext4.

In scope: doing an operation in both, comparing, looking at the other trees and at what was
sealed. Out of scope: making the trees and mounting (``farms``).
"""

from __future__ import annotations

import errno
import os
import stat
import textwrap
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Self

from tests.cow.actions import attempt, moment
from tests.cow.cells import Cell
from tests.cow.guarding import Snapshot, snapshot_entry, snapshot_of, unseen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.cow.actions import Action
    from tests.cow.operations import Operation

Inodes = dict[str, int]
CellName = tuple[str, str, str]
"""Situation, operation and kind."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How an operation ended, and what it left.

    ``names`` says which of the names before each name after has the inode of, ``links``
    how many names it has.
    """

    result: tuple[str, object]
    entries: Snapshot
    names: dict[str, set[str]]
    links: dict[str, int]

    def differences(self, plain: _Outcome) -> list[str]:
        """Return in what this differs from the same on a plain filesystem."""
        found = []
        if self.result != plain.result:
            found.append(f"{_told(self.result)} instead of {_told(plain.result)}")
        found += [f"entry {one}" for one in _differences(self.entries, plain.entries)]
        found += [f"names {one}" for one in _differences(self.names, plain.names)]
        return found + [f"links {one}" for one in _differences(self.links, plain.links)]


def _differences(mine: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    return [
        f"{name}: {_told_apart(mine.get(name), wanted.get(name))}"
        for name in sorted(mine.keys() | wanted.keys())
        if mine.get(name) != wanted.get(name)
    ]


def _told_apart(mine: object, wanted: object) -> str:
    """Return what differs, in rows of one shape only the fields that do."""
    if isinstance(mine, tuple) and isinstance(wanted, tuple) and len(mine) == len(wanted):
        pairs = [(one, other) for one, other in zip(mine, wanted, strict=True) if one != other]
        return ", ".join(f"{_cut(one)} instead of {_cut(other)}" for one, other in pairs)
    return f"{_cut(mine)} instead of {_cut(wanted)}"


def _cut(value: object) -> str:
    return textwrap.shorten(repr(value), 300)


def _told(result: tuple[str, object]) -> str:
    kind, value = result
    return (
        errno.errorcode.get(value, str(value))
        if isinstance(value, int)
        else f"{kind} {_cut(value)}"
    )


@dataclass
class Matrix:
    """The guarded tree ``tree``, mounted at ``mnt``, and the ``others``; entered while it is used.

    In ``late`` is what another tree links while the guard is mounted. The guard copies in
    ``scratch``. ``pairs`` are the situations with two names.
    """

    tree: Path
    mnt: Path
    plain: Path
    others: tuple[Path, ...]
    late: Path
    scratch: Path
    pairs: frozenset[str]
    _stack: ExitStack = field(default_factory=ExitStack)
    _views: tuple[str, ...] = ()
    _below: str = ""
    _first: list[Snapshot] = field(default_factory=list)
    _cells: list[dict[str, Snapshot]] = field(default_factory=list)
    _late: str = ""
    _linked: Snapshot = field(default_factory=dict)
    _sealed: dict[CellName, list[tuple[int, tuple[object, ...]]]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._below = self._stack.enter_context(unseen(self.tree))
        self._views = tuple(self._stack.enter_context(unseen(one)) for one in self.others)
        self._late = self._stack.enter_context(unseen(self.late))
        self._first = [snapshot_of(view) for view in self._views]
        self._cells = [_by_cell(first) for first in self._first]
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def watch(self, cells: Iterable[CellName]) -> None:
        """Keep hold of what is in the cells now: inodes that no tree has any more are seen."""
        for cell in cells:
            where = f"{self._below}/{'/'.join(cell)}"
            self._sealed[cell] = held = []
            for name in ("source", "subject", "victim"):
                fd = os.open(f"{where}/{name}", os.O_PATH | os.O_NOFOLLOW)
                self._stack.callback(os.close, fd)
                held.append((fd, _inode(fd)))

    def changes(self) -> list[str]:
        """Return what is not as it was in the other trees."""
        found: list[str] = []
        for view, first in zip(self._views, self._first, strict=True):
            found += _differences(snapshot_of(view), first)
        late = snapshot_of(self._late)
        del late["."]
        return found + _differences(late, self._linked)

    def violations(self, operation: Operation, situation: str, kind: str) -> list[str]:
        """Do the operation in its cell, and return what is wrong then."""
        cell = (situation, operation.name, kind)
        where = "/".join(cell)
        below = f"{self._below}/{where}"
        links = [_links(f"{view}/{where}") for view in self._views]
        inodes = set(_inodes(below).values())

        pair = situation in self.pairs
        share = partial(self._share, where)
        mine = _perform(operation.act, Cell(str(self.mnt / where), pair, share))
        on_plain = Cell(str(self.plain / where), pair, lambda: None)
        if operation.refused:
            theirs = _look(on_plain.root, ("error", operation.refused), _inodes(on_plain.root))
        else:
            theirs = _perform(operation.on_plain or operation.act, on_plain)
        wrong = mine.differences(theirs)
        wrong += [f"below, {one}" for one in _differences(_described(below), mine.entries)]
        for at, first in enumerate(self._cells):
            now = self._cell_of(at, where)
            wrong += [f"LEAK {at}: {one}" for one in _differences(now, first.get(where, {}))]
            for name, count in _links(f"{self._views[at]}/{where}").items():
                if count > links[at][name]:
                    wrong.append(f"LEAK {at}: {name} has a further name")
        wrong += [f"SEALED: {one}" for one in self._sealed_changes(cell)]
        wrong += [f"LEAK to a later tree: {one}" for one in self._late_changes(where)]
        if operation.keeps and not inodes.issuperset(_inodes(below).values()):
            wrong.append("a copy was made for nothing")
        wrong += [f"litter: {name}" for name in os.listdir(self.scratch)]
        return [f"{where}: {one}" for one in wrong]

    def _share(self, where: str) -> None:
        name = where.replace("/", ".")
        os.link(self.tree / where / "subject", self.late / name)
        self._linked[name] = snapshot_entry(f"{self._late}/{name}")

    def _late_changes(self, where: str) -> list[str]:
        name = where.replace("/", ".")
        if name not in self._linked:
            return []
        now = snapshot_entry(f"{self._late}/{name}")
        return _differences({name: now}, {name: self._linked[name]})

    def _cell_of(self, at: int, where: str) -> Snapshot:
        path = f"{self._views[at]}/{where}"
        return snapshot_of(path) if os.path.exists(path) else {}

    def _sealed_changes(self, cell: CellName) -> list[str]:
        return [
            f"{_inode(fd)} instead of {first}"
            for fd, first in self._sealed.get(cell, ())
            if _inode(fd) != first
        ]


def _by_cell(found: Snapshot) -> dict[str, Snapshot]:
    cells: dict[str, Snapshot] = {}
    for name, row in found.items():
        parts = name.split("/", 3)
        if len(parts) >= 3:
            cells.setdefault("/".join(parts[:3]), {})["".join(parts[3:]) or "."] = row
    return cells


def _perform(act: Action, cell: Cell) -> _Outcome:
    before = _inodes(cell.root)
    # The number of an inode that loses its last name is not to be another's meanwhile.
    with ExitStack() as held:
        for name in before:
            fd = os.open(f"{cell.root}/{name}", os.O_PATH | os.O_NOFOLLOW)
            held.callback(os.close, fd)
        return _look(cell.root, attempt(act, cell), before)


def _look(root: str, result: tuple[str, object], before: Inodes) -> _Outcome:
    after = _inodes(root)
    names = {
        name: {old for old, number in before.items() if number == inode}
        for name, inode in after.items()
    }
    links = {name: os.lstat(f"{root}/{name}").st_nlink for name in after}
    return _Outcome(result, _described(root), names, links)


def _inodes(root: str) -> Inodes:
    """Return the inode of each name of a cell, directories too."""
    below = [f"below/{name}" for name in os.listdir(f"{root}/below")]
    return {name: os.lstat(f"{root}/{name}").st_ino for name in (".", *os.listdir(root), *below)}


def _links(root: str) -> dict[str, int]:
    """Return how many names the inode of each name has in all trees."""
    if not os.path.exists(root):
        return {}
    return {name: os.lstat(f"{root}/{name}").st_nlink for name in os.listdir(root)}


def _described(root: str) -> Snapshot:
    """Return what is compared between trees: without inodes and access times."""
    return {
        name: (*row[:5], moment(row[6] if isinstance(row[6], int) else 0), *row[7:10])
        for name, row in snapshot_of(root).items()
    }


def _inode(fd: int) -> tuple[object, ...]:
    """Return what there is to say of an inode that may have no name any more."""
    path = f"/proc/self/fd/{fd}"
    status = os.fstat(fd)
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(b"", dir_fd=fd)
    elif stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = file.read()
    else:
        content = b""
    names = sorted(os.listxattr(path))
    return (
        oct(status.st_mode), status.st_uid, status.st_gid, status.st_size, status.st_blocks,
        status.st_mtime_ns, content, [(name, os.getxattr(path, name)) for name in names],
    )  # fmt: skip
