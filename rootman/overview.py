"""What ``status`` shows of a store, assembled from what was read.

The overview is at once the document of ``status --json`` and what is rendered for
people, so neither can say more than the other. Out of scope: reading the store
(``session.look``) and how it looks on a terminal (``cli``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypedDict

from rootman.boot.attention import boot_hint, boot_warnings
from rootman.boot.running import BOOTED, booted_name
from rootman.boot.trial import standing
from rootman.errors import RootmanError
from rootman.names import BASE, CURRENT, StageKind
from rootman.sizes import tree_sizes
from rootman.store import STATES
from rootman.usage import guards, is_guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rootman.boot.unlocked import Unlocking
    from rootman.fsops import Fs
    from rootman.names import TreeNumber
    from rootman.session import Recovery, View
    from rootman.sizes import TreeSize
    from rootman.state import StoreState, Tree
    from rootman.store import Store

# Made by rootman's initramfs.
_RUN: Final = os.path.dirname(BOOTED)


class TreeOverview(TypedDict):
    """One tree. Sizes are bytes of file content, None where they are not known.

    ``shared`` is what other trees of the store have too, ``exclusive`` what would be
    freed without this one; ``sealed_at`` is in seconds since 1970. ``boot`` is its boot state,
    None where none is kept. ``mounted_at`` are the mount points of its guard, ``unlocked`` says
    how it was made writable where it runs. ``bundles`` were chosen, ``included`` came with them.
    """

    version: int
    revision: int
    name: str
    state: str
    boot: str | None
    pinned: bool
    bundles: list[str]
    included: list[str]
    size: int | None
    shared: int | None
    exclusive: int | None
    sealed_at: int | None
    mounted_at: list[str]
    unlocked: Unlocking | None


class Overview(TypedDict):
    """A store. ``spare`` is what the spare is a clone of.

    A tree that is meant is two keys, its version and its name: ``current_name`` for example.
    ``state_paths`` are those that are bound into ``current``, wherever they are kept.
    ``staged`` names the other stages, ``downloads`` counts verified objects that wait
    for an upgrade to use them; ``recovery`` and ``interrupted`` are those of
    ``session.View``. Each of the ``problems`` is one line with its way out.
    """

    rootfs: str
    name: str
    compatible: str
    current: int | None
    current_name: str | None
    previous: int | None
    previous_name: str | None
    trees: list[TreeOverview]
    state_paths: list[str]
    spare: int | None
    spare_name: str | None
    staged: list[str]
    downloads: int
    recovery: Recovery
    interrupted: list[str]
    problems: list[str]


def overview(view: View, make_fs: Callable[[], Fs]) -> Overview:
    """Return the overview of a store; ``make_fs`` is called where sizes can be kept for later.

    Raises:
        OSError: the store cannot be read.
    """
    state = view.state
    problems = _problems(state, view.store.path)
    sizes: Mapping[TreeNumber, TreeSize] = {}
    try:
        sizes = tree_sizes(view.store, make_fs, state.trees)
    except (RootmanError, OSError) as error:
        problems.append(f"the sizes are not known: {error}")
    mounts = _mounts(view.store, problems)
    unlocked = _unlocked(view.store)
    spares = [one.name for one in state.stages if one.name.kind is StageKind.SPARE]
    spare = spares[0].number if spares else None
    return {
        "rootfs": view.store.path,
        "name": state.settings.os_name,
        "compatible": state.settings.compatible,
        "current": _version(state.current),
        "current_name": _name(state, state.current),
        "previous": _version(state.previous),
        "previous_name": _name(state, state.previous),
        "trees": [
            _tree(state, tree, sizes.get(tree.number), mounts, unlocked) for tree in state.trees
        ],
        "state_paths": _state_paths(view.store, state.current, problems),
        "spare": _version(spare),
        "spare_name": _name(state, spare),
        "staged": [
            str(one.name) for one in state.stages if one.name not in spares[:1] and not one.in_use
        ],
        "downloads": len(os.listdir(view.store.objects)),
        "recovery": view.recovery,
        "interrupted": list(view.interrupted),
        "problems": problems,
    }


def _version(number: TreeNumber | None) -> int | None:
    return None if number is None else number.version


def _name(state: StoreState, number: TreeNumber | None) -> str | None:
    return None if number is None else state.name_of(number)


def _unlocked(store: Store) -> dict[str, Unlocking | None]:
    """Return how the tree that runs was made writable, by its name; nothing where none runs."""
    name = booted_name()
    if not name:
        return {}
    from rootman.boot.unlocked import how_unlocked

    return {name: how_unlocked(store, name)}


def _state_paths(store: Store, number: TreeNumber | None, problems: list[str]) -> list[str]:
    if not os.path.isdir(_RUN) and STATES not in os.listdir(store.control):
        return []
    from rootman.boot.states import paths_for, told_lacks

    problems += [
        f"no state {name} since this boot: what is written there stays in the tree that runs"
        " (hint: make room, mend what the console said, and reboot)"
        for name in told_lacks()
    ]
    try:
        return paths_for(store, number)
    except (RootmanError, OSError) as error:
        problems.append(f"the state paths are not known: {error}")
        return []


def _mounts(store: Store, problems: list[str]) -> dict[str, list[str]]:
    """Return the mount points of the guards of each tree; tell of those that died."""
    found: dict[str, list[str]] = {}
    path = os.path.realpath(store.path)
    for guard in guards():
        base, name = os.path.split(guard.tree)
        if base != path:
            continue
        if is_guarded(guard.tree):
            found.setdefault(name, []).append(guard.mountpoint)
        else:
            problems.append(
                f"the guard of {name} at {guard.mountpoint} has died"
                f" (hint: rootman umount {guard.mountpoint}, and mount it again)"
            )
    return found


def _tree(
    state: StoreState,
    tree: Tree,
    size: TreeSize | None,
    mounts: Mapping[str, list[str]],
    unlocked: Mapping[str, Unlocking | None],
) -> TreeOverview:
    bundles = tree.seal.bundles if tree.seal else ()
    parts = tree.seal.parts.keys() if tree.seal else set()
    return {
        "version": tree.number.version,
        "revision": tree.number.revision,
        "name": tree.name,
        "state": tree.state,
        "boot": standing(state.boot, tree.name) if state.boot and tree.seal else None,
        "pinned": tree.number in state.settings.pinned,
        "bundles": list(bundles),
        "included": sorted(parts - {BASE, *bundles}),
        "size": tree.seal.size if tree.seal else None,
        "shared": size.shared if size else None,
        "exclusive": size.exclusive if size else None,
        "sealed_at": tree.seal.sealed_at if tree.seal else None,
        "mounted_at": mounts.get(tree.name, []),
        "unlocked": unlocked.get(tree.name),
    }


def _problems(state: StoreState, path: str) -> list[str]:
    """Return what is wrong with the store at ``path``, each with what to do about it."""
    newest = state.newest
    way_out = "rootman upgrade" if newest is None else f"rootman rollback --to {newest}"
    found: list[str] = []
    for problem in state.problems:
        hint = way_out if problem.startswith(CURRENT) else "the next upgrade makes it anew"
        if "not a symlink" in problem:
            hint = "move it out of the way"
        found.append(f"{problem} (hint: {boot_hint(state, problem) or hint})")
    is_told = any(one.startswith(CURRENT) for one in state.problems)
    if state.current is None and newest is not None and not is_told:
        found.append(f"no tree is current (hint: {way_out})")
    current = state.sealed(state.current)
    if current is not None and current.note is not None:
        from rootman.merge.note import failed_merge

        found += filter(None, (failed_merge(state),))
    found += boot_warnings(state, path)
    for tree in state.trees:
        if tree.seal is None and tree.number == state.current:
            found.append(f"{tree.name} is current and rootman did not make it (hint: {way_out})")
        elif tree.seal is None:
            hint = "move it out of the way"
            found.append(f"{tree.name} was not made by rootman and is left alone (hint: {hint})")
    return found
