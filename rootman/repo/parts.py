"""The manifests of a release's bundles, made from one reading of the tree.

One reading, because only then the parts agree with each other: the time of a directory, the
number of a hardlink group. Out of scope: what the lists say (``rootman.bundles``).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from rootman.bundles import BundleList, Parting, parse_list
from rootman.errors import InvalidInput
from rootman.manifest import HEADER
from rootman.names import BASE
from rootman.release import Bundle
from rootman.repo.objects import LEVEL
from rootman.smallfiles import read_given
from rootman.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rootman.repo.writer import Writer

# Bytes of lines that wait to be compressed, of all parts together: a compressor for each
# would need more.
_WAITING: Final = 8 << 20
_LIST_LIMIT: Final = 32 << 20


def read_lists(files: Iterable[tuple[str, str]]) -> dict[str, BundleList]:
    """Return the lists of bundles; ``files`` have the name of each and its file.

    Raises:
        InvalidInput: one is no list, or a bundle has two.
        NotFound, SystemFailure: as for ``read_list``.
    """
    lists: dict[str, BundleList] = {}
    for name, path in files:
        if name in lists:
            raise InvalidInput(f"bundle {name} has two lists, {lists[name].origin} and {path}")
        lists[name] = read_list(path)
    return lists


def read_list(path: str) -> BundleList:
    """Return what the list in the file ``path`` says.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is no list.
        SystemFailure: it cannot be read.
    """
    data = read_given(path, _LIST_LIMIT + 1)
    if len(data) > _LIST_LIMIT:
        raise InvalidInput(f"{path}: not a list: larger than {_LIST_LIMIT} bytes")
    return parse_list(data, path)


def sum_parts(lines: Iterable[bytes], lists: Mapping[str, BundleList]) -> tuple[Bundle, ...]:
    """Return the bundles that ``lists`` make of the manifest ``lines``, base first.

    Raises:
        InvalidInput: the lists do not fit the tree (``bundles.Parting``).
    """
    return _part(lines, lists, lambda _, __: None)


def write_parts(
    writer: Writer, lines: Iterable[bytes], lists: Mapping[str, BundleList]
) -> tuple[Bundle, ...]:
    """Write the manifest of each bundle to ``tmp/``, under its ``part_file``; return them.

    Raises:
        InvalidInput: as for ``sum_parts``.
        OSError: they cannot be written.
    """
    with ExitStack() as stack:
        files: dict[str, int] = {}
        for name in (BASE, *sorted(lists)):
            files[name] = writer.create(part_file(name))
            stack.callback(os.close, files[name])
        shelf = _Shelf(writer, files)
        found = _part(lines, lists, shelf.put)
        shelf.clear()
    return found


def part_file(name: str) -> str:
    """Return the name, in ``tmp``, of the manifest of the bundle ``name``."""
    return f"{name}.manifest"


def _part(
    lines: Iterable[bytes], lists: Mapping[str, BundleList], put: Callable[[str, bytes], None]
) -> tuple[Bundle, ...]:
    """Give each line with the bundle that it is part of to ``put``; return the bundles."""
    sums = {name: _Sum() for name in (BASE, *sorted(lists))}

    def add(name: str, line: bytes) -> None:
        sums[name].add(line)
        put(name, line)

    for name in sums:
        add(name, HEADER)
    for names, line in Parting(lists).part(lines):
        for name in sorted(names) or (BASE,):
            add(name, line)
    return tuple(one.bundle(name, lists.get(name)) for name, one in sums.items())


class _Sum(Totals):
    """What a part adds up to, and the hash of its manifest."""

    def __init__(self) -> None:
        super().__init__()
        self._hash = hashlib.sha256()

    def add(self, line: bytes) -> None:
        super().add(line)
        self._hash.update(line)

    def bundle(self, name: str, made_of: BundleList | None) -> Bundle:
        return Bundle(
            name,
            self._hash.hexdigest(),
            self.bytes,
            self.entries,
            self.size,
            includes=tuple(sorted(made_of.includes)) if made_of else (),
            description=made_of.description if made_of else "",
        )


class _Shelf:
    """Lines on their way into the compressed files of their parts, a frame for many of them."""

    def __init__(self, writer: Writer, files: Mapping[str, int]) -> None:
        import zstandard

        self._compress = zstandard.ZstdCompressor(level=LEVEL).compress
        self._writer = writer
        self._files = files
        self._lines: dict[str, list[bytes]] = {name: [] for name in files}
        self._sizes = dict.fromkeys(files, 0)
        self._waiting = 0

    def put(self, name: str, line: bytes) -> None:
        """Put one line; the part with the most of them is written when there are too many."""
        self._lines[name].append(line)
        self._sizes[name] += len(line)
        self._waiting += len(line)
        if self._waiting >= _WAITING:
            self._write(max(self._sizes, key=self._sizes.__getitem__))

    def clear(self) -> None:
        """Write what is left."""
        for name, size in self._sizes.items():
            if size:
                self._write(name)

    def _write(self, name: str) -> None:
        self._writer.fs.write(self._files[name], self._compress(b"".join(self._lines[name])))
        self._waiting -= self._sizes[name]
        self._lines[name].clear()
        self._sizes[name] = 0
