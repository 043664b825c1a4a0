"""How what runs can be written: in which mode it came up, and whether it was unlocked since."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rootman.boot.running import BOOTED
from rootman.errors import NotFound
from rootman.names import CONTROL, StageKind, parse_tree_name
from rootman.usage import guards, is_guarded

if TYPE_CHECKING:
    from rootman.names import TreeNumber
    from rootman.store import Store

Unlocking = Literal["throw-away", "hotfix"]

WHOLE: Final = "/run/rootman/whole"
"""Where the initramfs has the guard by which configuration is changed in the mode ``ro``."""
WRITABLE: Final = "/run/rootman/writable"
"""Where the guard of an unlocked tree is mounted, whose directories cover those of /."""


@dataclass(frozen=True, slots=True)
class Running:
    """What the initramfs brought up: a tree, in which mode (BT-42)."""

    number: TreeNumber
    mode: str


def what_runs(os_name: str) -> Running:
    """Return the tree that runs, as the initramfs says it.

    Raises:
        NotFound: none does, or not by the initramfs of rootman.
    """
    try:
        with open(BOOTED, encoding="utf-8", errors="replace") as file:
            name, _, mode = file.read().splitlines()[:3]
    except (OSError, ValueError):
        name = mode = ""
    number = parse_tree_name(os_name, name)
    if number is None:
        raise NotFound(
            f"this machine does not run a tree of {os_name}",
            hint="its initramfs brings one up: rootman boot install-initramfs",
        )
    return Running(number, mode)


def how_unlocked(store: Store, tree_name: str) -> Unlocking | None:
    """Return how the tree of this name, which runs, was unlocked; None where it was not.

    It is read off the mounts: a guard that has died unlocks nothing.
    """
    base = os.path.realpath(store.path)
    throwaway = f"{base}/{CONTROL}/staging/{StageKind.UNLOCKED.value}.{tree_name.partition('.')[2]}"
    kinds: dict[str, Unlocking] = {
        f"{base}/{tree_name}": "hotfix",
        f"{throwaway}/root": "throw-away",
    }
    for one in guards():
        if one.mountpoint == WRITABLE and one.tree in kinds and is_guarded(one.tree):
            return kinds[one.tree]
    return None
