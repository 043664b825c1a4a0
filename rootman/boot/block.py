"""The boot block, ``.rootman/boot/grubenv``: bytes in, boot state out, and back. Pure.

It is an environment block of GRUB, which GRUB, a POSIX shell and this module read and
write alike (spec/50-boot.md). Out of scope: what the state means (``choice``, ``trial``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

BLOCK_SIZE: Final = 1024
SIGNATURE: Final = b"# GRUB Environment Block\n"
# What a loader changes lies in one sector, so that a power cut leaves the old or the new (BT-3).
SECTOR: Final = 512

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}(?:\.[1-9][0-9]{0,9}){1,2}")
_PREFIX: Final = "rootman_"
# As a shell and U-Boot read it without taking it for octal, or for more than it can hold.
_COUNT: Final = re.compile("[1-9][0-9]{0,8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class BootState:
    """What is known about trees, by their names: those that are not named are good.

    ``pending`` is on trial with ``tries`` attempts left, ``bad`` are those that failed,
    the last one last; ``once`` is for the next boot alone, ``rescue`` for when no other
    is left. "" stands for none. ``limit`` is the last value of the firmware's own counter at
    which the pending tree is tried, 0 where that does not count (BT-32).
    """

    pending: str = ""
    tries: int = 0
    bad: tuple[str, ...] = ()
    once: str = ""
    rescue: str = ""
    limit: int = 0


def without_trial(boot: BootState) -> BootState:
    """Return the state in which no tree is on trial."""
    return replace(boot, pending="", tries=0, limit=0)


def parse_count(text: str) -> int:
    """Return what the firmware has counted, or may count, 0 where ``text`` is no such number."""
    return int(text) if _COUNT.fullmatch(text) else 0


def is_tree_name(text: str) -> bool:
    """Return whether a tree can be called ``text``."""
    return _NAME.fullmatch(text) is not None


def parse_block(data: bytes) -> BootState | None:
    """Return the boot state in a block, None where it is damaged.

    As for GRUB, the signature decides about that; of a variable that is there twice the
    last counts, and what is no name, or no digit, is as if it were not there (BT-2).
    """
    if not data.startswith(SIGNATURE):
        return None
    lines = data[len(SIGNATURE) :].decode("ascii", "replace").split("\n")
    # The last is the padding, or was cut off.
    values = dict(line.split("=", 1) for line in lines[:-1] if "=" in line)
    found = {key.removeprefix(_PREFIX): values[key] for key in values if key.startswith(_PREFIX)}
    tries = found.get("tries", "")
    return BootState(
        pending=_name(found.get("pending", "")),
        tries=int(tries) if re.fullmatch("[0-9]", tries, re.ASCII) else 0,
        bad=tuple(dict.fromkeys(filter(is_tree_name, found.get("bad", "").split(" ")))),
        once=_name(found.get("once", "")),
        rescue=_name(found.get("rescue", "")),
        limit=parse_count(found.get("limit", "")),
    )


def _name(text: str) -> str:
    return text if is_tree_name(text) else ""


def serialise_block(boot: BootState) -> bytes:
    """Return the block of a boot state.

    Of the bad ones it forgets the oldest where they would not all fit beside the rest,
    and beside the one that is pending, should it fail too. The longest names there can be
    leave room for one.
    """
    bad = list(boot.bad)
    while len(_lines(boot, [*bad, boot.pending])) > SECTOR:
        del bad[0]
    return _lines(boot, bad).ljust(BLOCK_SIZE, b"#")


def _lines(boot: BootState, bad: list[str]) -> bytes:
    # One digit is always there, so that counting changes no more than that.
    values = {
        "pending": boot.pending,
        "tries": str(boot.tries) if boot.pending else "",
        "bad": " ".join(bad),
        "once": boot.once,
        "rescue": boot.rescue,
        "limit": str(boot.limit) if boot.pending and boot.limit else "",
    }
    lines = [f"{_PREFIX}{key}={value}\n" for key, value in values.items() if value]
    return SIGNATURE + "".join(lines).encode("ascii")
