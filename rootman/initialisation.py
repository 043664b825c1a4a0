"""From nothing to a store: what ``init`` makes of what is there."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rootman.adopt import adopt, make_store
from rootman.errors import InvalidInput, NotFound, Refused
from rootman.execute import Executor, explained
from rootman.names import CONTROL, DEFAULT_OS, TreeNumber, tree_name
from rootman.session import session
from rootman.state import Settings
from rootman.steps import SaveSettings
from rootman.store import scan

if TYPE_CHECKING:
    from rootman.fsops import Fs
    from rootman.report import Reporter
    from rootman.session import Session


@dataclass(frozen=True, slots=True)
class Request:
    """What ``init`` is asked for: ``tree`` is taken in as ``version``.

    ``os_name`` None means the store's own, and the default for a new one;
    ``compatible`` None leaves the name of the hardware alone. ``trust`` is the file of
    the root of trust, None leaves that alone.
    """

    tree: str | None = None
    version: int = 0
    os_name: str | None = None
    compatible: str | None = None
    trust: str | None = None

    @property
    def is_bare(self) -> bool:
        """Whether nothing is asked for but a store."""
        return self.tree is None and self.compatible is None and self.trust is None


@dataclass(frozen=True, slots=True)
class InitResult:
    """What was done. ``files`` says how a tree was taken in, ``current`` what is current now."""

    os_name: str
    made: bool
    compatible: str
    adopted: TreeNumber | None = None
    files: Literal["linked", "copied"] | None = None
    current: TreeNumber | None = None


def initialise(
    path: str, request: Request, fs: Fs, reporter: Reporter, *, forks: int
) -> InitResult:
    """Make the store at ``path`` where there is none, and take in the tree of the ``request``.

    Raises:
        Refused: there is a store already and nothing was asked for, or it is of another OS.
        NotFound, InvalidInput: the tree is no directory, or not one to be taken in.
        RootmanError: it failed; without a tree the store is as it was.
    """
    _check_tree(request.tree)
    made = not os.path.lexists(os.path.join(path, CONTROL))
    root = _read_root(request.trust)
    if made or request.is_bare:
        name = request.os_name or DEFAULT_OS
        make_store(path, fs, Settings(name, compatible=request.compatible or ""))
    with session(path, fs, reporter, forks=forks) as opened:
        settings = _settle(opened, request)
        if root is not None:
            from rootman.repo.anchor import give_root

            give_root(opened, root)
        result = InitResult(settings.os_name, made, settings.compatible)
        if request.tree is not None:
            number = TreeNumber(request.version)
            linked = adopt(opened, request.tree, number)
            result = replace(result, adopted=number, files="linked" if linked else "copied")
        with explained(f"{path}: reading the store"):
            return replace(result, current=scan(opened.store).current)


def _read_root(path: str | None) -> bytes | None:
    """Return the root to be trusted, looked at before a store is made for it."""
    if path is None:
        return None
    from rootman.repo.anchor import read_root

    return read_root(path)


def _check_tree(tree: str | None) -> None:
    """Refuse what is no directory before a store is made for it."""
    if tree is None or os.path.isdir(tree):
        return
    if os.path.lexists(tree):
        raise InvalidInput(f"{tree} is not a directory")
    raise NotFound(f"{tree}: no such directory")


def _settle(opened: Session, request: Request) -> Settings:
    """Bring the store's settings in line with the request."""
    with explained(f"{opened.store.path}: reading the store"):
        state = scan(opened.store)
    settings = state.settings
    if request.os_name not in (None, settings.os_name):
        raise Refused(
            f"{opened.store.path} is a store of {settings.os_name}, not of {request.os_name}",
            hint=f"its trees are called {tree_name(settings.os_name, 1)} and so on",
        )
    if request.compatible in (None, settings.compatible):
        return settings
    wanted = replace(settings, compatible=request.compatible or "")
    Executor(opened.store, opened.fs, opened.reporter, state).run((SaveSettings(wanted),))
    return wanted
