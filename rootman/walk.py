"""The order of a manifest, walked without holding the tree in memory. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rootman.manifest import ROOT, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# What a directory stands for in the list of names that are still to come. No name
# has either of these bytes.
_ITSELF: Final = b"\0"
_BELOW: Final = b"/"


def walk(
    list_directory: Callable[[bytes], Iterable[tuple[bytes, bool]]],
) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield (directory, name, whether it is one itself) of all entries, in manifest order.

    ``list_directory`` gives the names in a directory, and whether each is one. The
    directory of the root's entries, and of the root itself, is empty.

    A manifest is ordered by whole encoded paths, in which ``/`` sorts after ``-`` and
    ``.``: ``a``, ``a-b``, ``a/x``. Within one directory, ``a`` stands for the entry
    itself and ``a/`` for all below it. No other name there begins with ``a/``, so what
    is below stays together, and sorting these is enough.
    """
    yield b"", ROOT, True
    levels = [(b"", _last_to_first(list_directory(ROOT)))]
    while levels:
        parent, names = levels[-1]
        if not names:
            levels.pop()
            continue
        name = names.pop()
        if name.endswith(_BELOW):
            path = join(parent, name[:-1])
            levels.append((path, _last_to_first(list_directory(path))))
        elif name.endswith(_ITSELF):
            yield parent, name[:-1], True
        else:
            yield parent, name, False


def join(parent: bytes, name: bytes) -> bytes:
    """Return the path of ``name`` in ``parent``, which is empty for the root."""
    return parent + b"/" + name if parent else name


def split(path: bytes) -> tuple[bytes, bytes]:
    """Return the parent (b"" for the root) and the name of a decoded path."""
    parent, _, name = path.rpartition(b"/")
    return parent, name


def is_in(path: bytes, directories: Iterable[bytes]) -> bool:
    """Return whether a decoded path is one of the ``directories``, or below one."""
    return any(path == one or path.startswith(one + _BELOW) for one in directories)


def _last_to_first(entries: Iterable[tuple[bytes, bool]]) -> list[bytes]:
    """Return the names, those of directories for both of their parts, to be taken off the end."""
    names: list[bytes] = []
    for name, is_directory in entries:
        if is_directory:
            names += (name + _ITSELF, name + _BELOW)
        else:
            names.append(name)
    names.sort(key=_place, reverse=True)
    return names


def _place(name: bytes) -> bytes:
    return encode(name.removesuffix(_ITSELF))
