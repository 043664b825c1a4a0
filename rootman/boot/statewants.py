"""What a new tree wants of the state, and what it takes to make it; nothing is made here."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootman.boot.states import generations_there, names_anywhere, read_state_record
from rootman.fsops import opened
from rootman.reading import tree_failure
from rootman.statepaths import StateRecord, state_path
from rootman.treedirs import GONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.release import Release
    from rootman.state import StoreState
    from rootman.store import Store


@dataclass(frozen=True, slots=True)
class WantedState:
    """``record`` is that of the new tree, ``new`` has the paths that its first boot makes.

    ``sizes`` has the bytes of each entry that is copied then, as it is now.
    """

    record: StateRecord
    new: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()


def wanted_state(
    store: Store, state: StoreState, release: Release, *, is_new: bool = False
) -> WantedState:
    """Return what a new tree of ``release`` is to want: what ``current`` has goes on.

    But for state that ``is_new``: that is of a generation which nothing has had.

    Raises:
        RootmanError: the tree that is current cannot be read, or its record is damaged.
        OSError: the store cannot be read.
    """
    generation = read_state_record(store, state.current).generation
    if is_new:
        numbers = (tree.number for tree in state.trees)
        known = (read_state_record(store, number).generation for number in numbers)
        generation = max((*known, *generations_there(store))) + 1
    record = StateRecord.of(release.state, generation)
    new = tuple(map(state_path, record.missing(names_anywhere(store, generation))))
    current = state.sealed(state.current)
    if not new or current is None:
        return WantedState(record, new)
    with opened(current.name, dir_fd=store.fd) as root:
        return WantedState(record, new, tuple(one for path in new for one in _sizes(root, path)))


def _sizes(root_fd: int, path: str) -> Iterator[int]:
    """Yield the size of each entry of a directory of a tree, and of all below it."""
    pending = [path[1:]]
    while pending:
        folder = pending.pop()
        try:
            with opened(folder, dir_fd=root_fd) as fd, os.scandir(fd) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    yield min(status.st_size, status.st_blocks * 512)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(f"{folder}/{entry.name}")
        except OSError as error:
            if error.errno not in GONE:
                raise tree_failure(error, os.fsencode(folder)) from error
