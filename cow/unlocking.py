"""Making a tree that runs read-only writable, through a guard over the system as it runs.

A guard is mounted aside, and its directories over those of ``/`` (``binding``). It guards the
tree itself, or a clone of it that is thrown away. Out of scope: the trees and what becomes of
them (``rootman.fallback``, ``rootman.throwaway``).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cow.binding import cover, uncover
from cow.guard import Subject
from cow.mounting import BIND, mount, unmount
from cow.mounts import in_background, of_tree
from cow.shutdown import uncover_at_shutdown
from rootman.boot.programs import run
from rootman.boot.unlocked import WHOLE, WRITABLE, how_unlocked, what_runs
from rootman.errors import Refused, SystemFailure
from rootman.execute import explained
from rootman.fallback import secure_fallback
from rootman.names import CONTROL
from rootman.session import read_state
from rootman.state import require
from rootman.store import STAGE_ROOT
from rootman.throwaway import clone_as_it_is, stage_of
from rootman.usage import guards, wait_until_unguarded

if TYPE_CHECKING:
    from cow.seal import SealedInodes
    from rootman.boot.unlocked import Unlocking
    from rootman.fallback import Fallback
    from rootman.repo.repository import Repository
    from rootman.session import Session
    from rootman.state import Tree
    from rootman.store import Store

_FUSE: Final = "/dev/fuse"
_SCRATCH: Final = "guard"
_READ_ONLY: Final = "ro"
_WRITABLE_MODES: Final = ("guard", "overlay")


@dataclass(frozen=True, slots=True)
class Unlocked:
    """How ``tree``, which runs as ``mode``, can be written now.

    ``how`` is None where it could be already, because of its mode; ``is_new`` says that this
    unlocked it. ``covered`` are the directories that are writable.
    """

    tree: Tree
    mode: str
    how: Unlocking | None
    is_new: bool = False
    covered: tuple[str, ...] = ()
    fallback: Fallback | None = None


def unlock(opened: Session, *, hotfix: bool, repository: Repository | None = None) -> Unlocked:
    """Make what runs writable: for as long as it runs, or as a lasting ``hotfix``.

    ``repository`` is for the tree to go back to, where the store lacks something of it.

    Raises:
        NotFound: no tree of this store runs.
        Refused: that would change what other trees have, or not be seen by the system.
        RootmanError: it failed; what runs is then as it was.
    """
    state = read_state(opened)
    running = what_runs(state.settings.os_name)
    tree = require(state, running.number)
    how = how_unlocked(opened.store, tree.name)
    _check(opened.store, tree, running.mode, how, hotfix=hotfix)
    fallback = secure_fallback(opened, tree.number, repository) if hotfix else None
    if running.mode in _WRITABLE_MODES:
        return Unlocked(tree, running.mode, None, fallback=fallback)
    is_new = how is None
    if is_new and not hotfix:
        clone_as_it_is(opened, tree)
    with explained(f"unlock {tree.name}"):
        if is_new:
            how = _guard(opened.store, tree, hotfix=hotfix)
        covered = _cover(opened.store, tree, how, is_new=is_new)
    return Unlocked(tree, running.mode, how, is_new, tuple(covered), fallback)


def _check(store: Store, tree: Tree, mode: str, how: Unlocking | None, *, hotfix: bool) -> None:
    """Refuse what would leak, or would not be what was asked for (UL-1, UL-2)."""
    if mode in _WRITABLE_MODES:
        return
    if mode != _READ_ONLY:
        raise Refused(
            f"{tree.name} runs as {mode}: a change of a file that versions share is one of all",
            hint="boot it with rootman.mode=ro or guard",
        )
    if hotfix and how == "throw-away":
        raise Refused(
            f"{tree.name} is unlocked already, and what is changed is gone at the next boot",
            hint="reboot, then rootman unlock --hotfix",
        )
    if not _runs_from(store, tree):
        raise Refused(
            f"/ is not {tree.name} of the store {store.path}",
            hint="name the store that was booted: rootman --rootfs DIR",
        )
    if not os.path.samefile("/proc/self/ns/mnt", "/proc/1/ns/mnt"):
        raise Refused(
            "the system does not see what is mounted here",
            hint="nsenter --mount=/proc/1/ns/mnt rootman unlock",
        )


def _runs_from(store: Store, tree: Tree) -> bool:
    return os.path.samestat(os.stat("/"), os.stat(tree.name, dir_fd=store.fd))


def _guard(store: Store, tree: Tree, *, hotfix: bool) -> Unlocking:
    """Have a guard of the tree, or of its clone, that outlives the system's own unmounting."""
    if hotfix and any(
        one.mountpoint == WHOLE and one.tree == _path(store, tree) for one in guards()
    ):
        os.makedirs(WRITABLE, mode=0o700, exist_ok=True)
        mount(WHOLE, WRITABLE, BIND)  # without what is mounted below it
        return "hotfix"
    subject, sealed = of_tree(store, tree) if hotfix else _of_clone(store, tree)
    if not os.path.exists(_FUSE):
        with suppress(SystemFailure):  # the mount says what is missing
            run("modprobe", "fuse")
    os.makedirs(WRITABLE, mode=0o700, exist_ok=True)
    in_background(subject, WRITABLE, sealed, storage_daemon=True)
    return "hotfix" if hotfix else "throw-away"


def _path(store: Store, tree: Tree) -> str:
    """Return what the guard of a tree itself is called in the mount table."""
    return f"{os.path.realpath(store.path)}/{tree.name}"


def _of_clone(store: Store, tree: Tree) -> tuple[Subject, SealedInodes]:
    of_sealed, sealed = of_tree(store, tree)
    stage = f"{CONTROL}/staging/{stage_of(tree.number)}"
    path = f"{stage}/{STAGE_ROOT}"
    return Subject(of_sealed.base, path, f"{stage}/{_SCRATCH}", f"{of_sealed.base}/{path}"), sealed


def _cover(store: Store, tree: Tree, how: Unlocking | None, *, is_new: bool) -> list[str]:
    """Cover the directories of /; where that fails a new guard is ended again.

    A clone covers the configuration, too, that could be written before: all of it is thrown away.

    Raises:
        SystemFailure: there is none to be covered.
        OSError: the system refused.
    """
    covered: list[str] = []
    try:
        covered = cover(WRITABLE, hidden="" if how == "hotfix" else _path(store, tree))
        if not covered:
            raise SystemFailure("each directory at the top of / is a mount point")
        uncover_at_shutdown((*covered, WRITABLE))
    except BaseException:
        if is_new:
            uncover(covered)
            _end_guard()
        raise
    return covered


def _end_guard() -> None:
    ended = {one.tree for one in guards() if one.mountpoint == WRITABLE}
    with suppress(OSError):
        unmount(WRITABLE, lazily=True)
    for tree in ended - {one.tree for one in guards()}:
        wait_until_unguarded(tree)
