"""What is on a kernel command line: text in, options out. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rootman.boot.block import parse_count

if TYPE_CHECKING:
    from collections.abc import Sequence

TREE: Final = "rootman.tree"
VERSION: Final = "rootman.version"
# What a loader says of itself, and of the tree that it loaded; who starts a kernel by kexec counts.
_OF_THE_LOADER: Final = ("BOOT_IMAGE", "initrd", TREE, VERSION, "rootman.count")
_WORD: Final = re.compile(r'(?:"[^"]*"|[^\s"])+')


def words(text: str) -> list[str]:
    """Return the words of a kernel command line; what is quoted is one."""
    return _WORD.findall(text)


def option(text: str, name: str) -> str | None:
    """Return the value of an option, "" for one without, None where it is not there.

    Of one that is there twice the last counts (BT-41).
    """
    found = [word for word in words(text) if word == name or word.startswith(f"{name}=")]
    return found[-1].partition("=")[2] if found else None


def firmware_limit(text: str) -> int:
    """Return how far the firmware may count in a trial that begins now, 0 where it does not count.

    It has told how far it had counted at this boot, and how many attempts it allows (BT-32).
    """
    names = ("rootman.bootcount", "rootman.bootlimit")
    found = [parse_count(option(text, name) or "") for name in names]
    return parse_count(str(sum(found))) if all(found) else 0


def for_tree(running: str, own: Sequence[str], tree: str, args: Sequence[str]) -> str:
    """Return the command line for ``tree``, with its ``args``, on the machine that runs now.

    ``running`` is that of its kernel, of which ``own`` are the words that the label of the
    running tree adds: they are the last, as a loader appends them (BT-61).
    """
    kept = [word for word in words(running) if word.partition("=")[0] not in _OF_THE_LOADER]
    if own and kept[-len(own) :] == list(own):
        del kept[-len(own) :]
    return " ".join([*kept, f"{TREE}={tree}", *args])
