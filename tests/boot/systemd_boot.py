"""systemd-boot's choice, as its boot.c makes it: a model, which a real boot is compared with.

Entries that have no attempt left are last; of the others the least ``sort-key`` is the first,
and of the same the highest ``version``. The counter in the name of the one that is booted is
counted down before anything is loaded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_COUNTER = re.compile(r"^(.*)\+([0-9]+)(?:-([0-9]+))?\.conf$")


def sort_key(name: str) -> tuple[bool, str, list[int]]:
    """Return what an entry of ours is ordered by: its file says the same of itself."""
    found = _COUNTER.match(name)
    title, _, place = _base(name).rpartition("-")
    version = title.partition(".")[2]
    numbers = [-int(number) for number in version.split(".")]
    return bool(found and found[2] == "0"), f"rootman-{place}", [*numbers, 0]


def _base(name: str) -> str:
    found = _COUNTER.match(name)
    return found[1] if found else name.removesuffix(".conf")


def choose_entry(names: Iterable[str]) -> tuple[str, str]:
    """Return the tree that boots of a menu that is not empty, and its entry."""
    first = min(names, key=sort_key)
    return _base(first).removeprefix("rootman-").rpartition("-")[0], first


def boot_entry(names: Iterable[str]) -> tuple[str, frozenset[str]]:
    """Return the tree that boots, and the menu as it is then."""
    names = frozenset(names)
    tree, first = choose_entry(names)
    found = _COUNTER.match(first)
    if found is None:
        return tree, names
    left, done = max(int(found[2]) - 1, 0), int(found[3] or 0) + 1
    return tree, names - {first} | {f"{found[1]}+{left}-{done}.conf"}
