"""Which state paths are there, and which a tree wants (spec/55-state.md); nothing is changed."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rootman.statepaths import NO_STATE, StateRecord, parse_state_record, state_path
from rootman.store import STATE_PATHS, STATES, open_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootman.names import TreeNumber
    from rootman.store import Store

PLACE: Final = "/run/rootman/state/rootman-state"
"""Where the initramfs mounts what the kernel command line names by ``rootman.state=``."""
LACKS: Final = "/run/rootman/lacks"
"""Where the initramfs notes what is not where it belongs, a line each."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def read_state_record(store: Store, number: TreeNumber | None) -> StateRecord:
    """Return what a tree wants of the state; what nothing says is the default.

    Raises:
        InvalidInput: its record is damaged.
        OSError: it cannot be read.
    """
    if number is None:
        return NO_STATE
    try:
        with open_below(f"{number}/{STATE_PATHS}", store.trees) as file:
            data = file.read()
    except FileNotFoundError:
        return NO_STATE
    return parse_state_record(data, f"{store.path}/.rootman/trees/{number}/{STATE_PATHS}")


def names_there(state_fd: int, generation: int) -> list[str]:
    """Return the names of the state paths that a generation has, in their order.

    Raises:
        OSError: they cannot be read.
    """
    try:
        fd = os.open(str(generation), _DIRECTORY | os.O_NOFOLLOW, dir_fd=state_fd)
    except FileNotFoundError:
        return []
    try:
        return sorted(name for name in os.listdir(fd) if not name.startswith("."))
    finally:
        os.close(fd)


def generations_there(store: Store) -> list[int]:
    """Return the generations that have directories, in the store or in their place.

    Raises:
        OSError: they cannot be read.
    """
    found = {int(name) for fd in places(store) for name in os.listdir(fd) if name.isdigit()}
    return sorted(found)


def trees_by_generation(store: Store, numbers: Iterable[TreeNumber]) -> dict[int, list[TreeNumber]]:
    """Return of each generation that has directories which of the trees ``numbers`` have it.

    Raises:
        InvalidInput: the record of one is damaged.
        OSError: they cannot be read.
    """
    found: dict[int, list[TreeNumber]] = {one: [] for one in generations_there(store)}
    if found:
        for number in numbers:
            found.setdefault(read_state_record(store, number).generation, []).append(number)
    return found


def names_anywhere(store: Store, generation: int) -> list[str]:
    """Return the names of the state paths of a generation, in the store or in their place.

    Raises:
        OSError: they cannot be read.
    """
    return sorted({name for fd in places(store) for name in names_there(fd, generation)})


def places(store: Store) -> Iterator[int]:
    """Yield each directory that has generations, open."""
    for folder, outer in ((STATES, store.control), (PLACE, None)):
        with suppress(FileNotFoundError, NotADirectoryError):
            fd = os.open(folder, _DIRECTORY, dir_fd=outer)
            try:
                yield fd
            finally:
                os.close(fd)


def paths_for(store: Store, number: TreeNumber | None) -> list[str]:
    """Return the state paths that are bound into a tree when it is booted.

    Raises:
        InvalidInput: the record of the tree is damaged.
        OSError: they cannot be read.
    """
    generation = read_state_record(store, number).generation
    return [state_path(name) for name in names_anywhere(store, generation)]


def told_lacks() -> list[str]:
    """Return what of the state is not where it belongs since this boot."""
    with suppress(OSError), open(LACKS, encoding="utf-8", errors="replace") as file:
        return file.read().split()
    return []
