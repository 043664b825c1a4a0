"""Lists of bundles, and which line of a tree's manifest they make part of which bundle. Pure.

A list is what a publisher writes (spec/39-bundles.md): paths of the tree, one a line, and
what is to be known of the bundle. All that no list names is the bundle ``base``. Out of
scope: where lists and lines come from, and where the parts go (``repo.parts``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rootman.delta import is_directory
from rootman.errors import InvalidInput, InvalidManifest
from rootman.includes import find_cycle, told
from rootman.manifest import (
    HARDLINK,
    HEADER,
    ROOT,
    field_path,
    line_path,
    parent_field,
    path_field,
    printable,
)
from rootman.names import BASE
from rootman.release import DESCRIPTION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_INCLUDE: Final = b"include"
_DESCRIPTION: Final = b"description"
_ESCAPE: Final = re.compile(rb"\\([0-3][0-7]{2})")


@dataclass(frozen=True, slots=True)
class BundleList:
    """What the list ``origin`` says of a bundle.

    ``paths`` are the path fields of what it names, ``includes`` other bundles, each with
    the number of its line; ``description`` is a line of text, "" where there is none.
    """

    origin: str
    paths: Mapping[bytes, int]
    includes: Mapping[str, int] = field(default_factory=dict)
    description: str = ""


def parse_list(data: bytes, origin: str) -> BundleList:
    """Return what a list says (BU-1).

    Raises:
        InvalidInput: a line of it says nothing, or no path is named; the message has
            ``origin`` and the number of the line.
    """
    paths: dict[bytes, int] = {}
    includes: dict[str, int] = {}
    description = None
    for number, raw in enumerate(data.split(b"\n"), 1):
        line, where = raw.strip(), f"{origin}:{number}"
        word, _, rest = line.partition(b" ")
        if not line or line.startswith(b"#"):
            continue
        if line.startswith(b"/"):
            paths.setdefault(_field(line, where), number)
        elif word == _INCLUDE and rest.strip():
            includes.setdefault(rest.strip().decode("utf-8", "backslashreplace"), number)
        elif word == _DESCRIPTION and rest.strip():
            if description is not None:
                raise InvalidInput(f"{where}: a second description")
            description = _text(rest.strip(), where)
        else:
            raise InvalidInput(
                f"{where}: {printable(line[:80])}: not what a list has",
                hint="a line is /PATH, include NAME, description TEXT or # and a comment",
            )
    if not paths:
        raise InvalidInput(f"{origin}: names no path, so the bundle would be empty")
    return BundleList(origin, paths, includes, description or "")


def _field(line: bytes, where: str) -> bytes:
    """Return the path field of the path on a line; names may be written as in a manifest."""
    path = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), line)
    if b"\\" in _ESCAPE.sub(b"", line):
        raise InvalidInput(f"{where}: {printable(line)}: a backslash is written as \\134")
    encoded = path_field(path.removesuffix(b"/")[1:] or ROOT)
    if encoded == ROOT:
        raise InvalidInput(f"{where}: names the whole tree, and {BASE} would be empty")
    try:
        field_path(encoded)
    except InvalidManifest as error:
        raise InvalidInput(f"{where}: {error}") from error
    return encoded


def _text(data: bytes, where: str) -> str:
    text = data.decode("utf-8", "surrogateescape")
    if DESCRIPTION.pattern.fullmatch(text) is None:
        raise InvalidInput(f"{where}: {printable(data[:80])} is not {DESCRIPTION.meaning}")
    return text


def check_includes(lists: Mapping[str, BundleList]) -> None:
    """Refuse lists of which one is that of base, or includes what is none, or itself (BU-4).

    Raises:
        InvalidInput: they do; the message has the line.
    """
    if BASE in lists:
        raise InvalidInput(f"{lists[BASE].origin}: {BASE} is what no list names, and has none")
    for one in lists.values():
        for name, number in one.includes.items():
            where = f"{one.origin}:{number}"
            if name == BASE:
                raise InvalidInput(f"{where}: {BASE} is always there, and not to be included")
            if name not in lists:
                raise InvalidInput(f"{where}: there is no bundle {name}")
    cycle = find_cycle({name: one.includes.keys() for name, one in lists.items()})
    if cycle:
        first = lists[cycle[0]]
        raise InvalidInput(f"{first.origin}:{first.includes[cycle[1]]}: {told(cycle)}")


class Parting:
    """Which bundles the lines of one manifest are part of (BU-2, BU-3).

    Lines are given in their order. Memory grows with the lists and the hardlink groups.
    """

    def __init__(self, lists: Mapping[str, BundleList]) -> None:
        self._lists = lists
        self._naming: dict[bytes, frozenset[str]] = {}
        self._above: dict[bytes, frozenset[str]] = {}  # directories with something named below
        self._missing: set[bytes] = set()
        self._groups: dict[bytes, tuple[bytes, frozenset[str]]] = {}
        self._directory = b""
        self._inherited = _BASE
        for name, one in lists.items():
            for path in one.paths:
                self._missing.add(path)
                _add(self._naming, path, name)
                while (path := parent_field(path)) != ROOT:
                    _add(self._above, path, name)

    def part(self, lines: Iterable[bytes]) -> Iterator[tuple[frozenset[str], bytes]]:
        """Yield each entry line with the bundles that it is part of, none being those of base.

        Raises:
            InvalidInput: a list names a path that no line has, or a part of a hardlink group.
        """
        for line in lines:
            if line != HEADER:
                yield self._bundles(line), line
        if self._missing:
            path = min(self._missing)
            raise InvalidInput(
                f"{self._where(path)}: {_shown(path)} is not in the tree",
                hint="a path leads through no symlink; rootman manifest TREE lists all",
            )

    def _bundles(self, line: bytes) -> frozenset[str]:
        path = line_path(line)
        found = self._owners(path)
        if found and is_directory(line):
            # What has something below it has it itself, as base has not.
            return found | self._above.get(path, _BASE)
        group = HARDLINK.search(line)
        if group is not None:
            first, owners = self._groups.setdefault(group[1], (path, found))
            if owners != found:
                raise self._split(first, owners, path, found)
        return found

    def _owners(self, path: bytes) -> frozenset[str]:
        """Return the bundles whose list names ``path`` or a directory above it."""
        if path == ROOT:
            return _BASE
        directory = parent_field(path)
        if directory != self._directory:
            self._directory, self._inherited = directory, _BASE
            while directory != ROOT:
                self._inherited |= self._naming.get(directory, _BASE)
                directory = parent_field(directory)
        if path not in self._naming:
            return self._inherited
        self._missing.discard(path)
        return self._inherited | self._naming[path]

    def _split(
        self, one: bytes, its: frozenset[str], other: bytes, theirs: frozenset[str]
    ) -> InvalidInput:
        """Return the error that two names of one file are not in the same bundles."""
        name = min(its ^ theirs)
        named = one if name in its else other
        while named not in self._lists[name].paths:
            named = parent_field(named)
        return InvalidInput(
            f"{self._where(named, name)}: {_shown(one)} ({_names(its)}) and"
            f" {_shown(other)} ({_names(theirs)}) are one file, and not in the same bundles",
            hint="name all names of a file in the same lists",
        )

    def _where(self, path: bytes, name: str | None = None) -> str:
        """Return which line names ``path``."""
        one = self._lists[min(self._naming[path]) if name is None else name]
        return f"{one.origin}:{one.paths[path]}"


_BASE: Final = frozenset[str]()


def _add(found: dict[bytes, frozenset[str]], path: bytes, name: str) -> None:
    found[path] = found.get(path, _BASE) | {name}


def _shown(path: bytes) -> str:
    """Return a path field as a list has it."""
    return printable(path[1:])


def _names(bundles: frozenset[str]) -> str:
    return ", ".join(sorted(bundles)) or BASE
