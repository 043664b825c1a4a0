"""Which packages each new tree gets: kept for the store, changed, and shown."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootman.execute import Executor, explained
from rootman.fsops import open_inside
from rootman.fsops import opened as opened_directory
from rootman.layer.managers import find_manager
from rootman.session import read_state
from rootman.store import scan
from rootman.upkeep import plan_layer

if TYPE_CHECKING:
    from collections.abc import Collection

    from rootman.layer.managers import Manager
    from rootman.session import Session
    from rootman.state import StoreState
    from rootman.store import Store


@dataclass(frozen=True, slots=True)
class Kept:
    """The layer of a store; ``current`` is the name of the tree that is, "" for none.

    ``there`` are the packages of the layer that it has, ``manager`` the name of its package
    manager, "" where none is known.
    """

    os_name: str
    layer: tuple[str, ...]
    current: str = ""
    there: frozenset[str] = frozenset()
    manager: str = ""


def change_layer(
    opened: Session, *, added: Collection[str] = (), removed: Collection[str] = ()
) -> Kept:
    """Change the layer of the store; no tree is changed.

    Raises:
        InvalidInput: that is no name of a package.
        NotFound: one to be removed is not in the layer.
        RootmanError: it could not be recorded.
    """
    state = read_state(opened)
    plan = plan_layer(state, added=added, removed=removed)
    Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
    with explained(f"{opened.store.path}: reading the store"):
        return look_at_layer(opened.store, scan(opened.store))


def look_at_layer(store: Store, state: StoreState) -> Kept:
    """Return the layer, and what of it is in the tree that is current.

    Raises:
        OSError: that cannot be read.
    """
    layer = state.settings.layer
    current = state.sealed(state.current)
    if current is None:
        return Kept(state.settings.os_name, layer)
    with opened_directory(current.name, dir_fd=store.fd) as root:
        manager = find_manager(lambda path: _exists(root, path))
        there = _installed(root, manager) if manager is not None else frozenset()
    name = manager.name if manager is not None else ""
    return Kept(state.settings.os_name, layer, current.name, there & set(layer), name)


def _exists(root_fd: int, path: bytes) -> bool:
    try:
        os.close(open_inside(os.fsdecode(path), dir_fd=root_fd))
    except OSError:
        return False
    return True


def _installed(root_fd: int, manager: Manager) -> frozenset[str]:
    with suppress(OSError), opened_directory(manager.database, dir_fd=root_fd) as fd:
        return manager.installed(
            manager.database + b"/" + os.fsencode(name) for name in os.listdir(fd)
        )
    return frozenset()
