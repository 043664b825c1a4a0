"""The names in a store, and what they say. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from rootman.errors import InvalidInput

DEFAULT_OS: Final = "olpc"
CONTROL: Final = ".rootman"
CURRENT: Final = "current"
PREVIOUS: Final = "previous"
LINKS: Final = (CURRENT, PREVIOUS)
BASE: Final = "base"
"""The bundle that every tree has."""

MAX_VERSION: Final = (1 << 31) - 1

_OS_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# What no package manager takes for anything but a name: no option, pattern, file or version.
_PACKAGE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9+._:-]{0,126}[A-Za-z0-9+])?")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,9}")


class StageKind(Enum):
    """What a directory in staging is for; the value is the first part of its name."""

    BUILDING = "building"  # a tree on its way to olpc.N; empty once it got there
    FALLBACK = "fallback"  # the same of a tree that previous is to lead to, and not current
    SPARE = "spare"  # a complete clone of tree N, the seed of the next upgrade
    RETIRED = "retired"  # tree N on its way to becoming the spare
    DELETING = "deleting"  # being removed
    REPAIR = "repair"  # new inodes for tree N
    MERGING = "merging"  # the configuration of tree N, merged anew, or what it replaced
    UNLOCKED = "unlocked"  # a clone of tree N as it was, in which what runs is changed


@dataclass(frozen=True, slots=True, order=True)
class TreeNumber:
    """Which tree of a store it is: ``7``, or ``7.1`` for another tree of the same version.

    ``version`` is that of the release; ``revision`` is 0 for the first tree that was made
    of it on this device, and counts the others (decisions/0011).
    """

    version: int
    revision: int = 0

    def __str__(self) -> str:
        return f"{self.version}.{self.revision}" if self.revision else str(self.version)


@dataclass(frozen=True, slots=True, order=True)
class StageName:
    """The name of a directory in staging, ``building.8`` for example."""

    kind: StageKind
    number: TreeNumber

    def __str__(self) -> str:
        return f"{self.kind.value}.{self.number}"


def check_os_name(name: str) -> str:
    """Return ``name`` if an operating system may be called so.

    Raises:
        InvalidInput: it has other characters than lower-case letters, digits, - and _.
    """
    if _OS_NAME.fullmatch(name) is None or name in (CURRENT, PREVIOUS):
        raise InvalidInput(
            f"{name!r} cannot name an OS",
            hint="use lower-case letters, digits, - and _, such as olpc",
        )
    return name


def check_package(name: str) -> str:
    """Return ``name`` if a package may be called so.

    Raises:
        InvalidInput: it has other characters than letters, digits and some between them.
    """
    if _PACKAGE.fullmatch(name) is None:
        raise InvalidInput(f"{name!r} is no name of a package", hint="a name alone, such as htop")
    return name


def tree_name(os_name: str, number: TreeNumber | int) -> str:
    """Return the directory name of a root tree, or of the first tree of a version."""
    return f"{os_name}.{number}"


def parse_version(text: str) -> int | None:
    """Return the version that ``text`` is the one way to write, else None."""
    if _NUMBER.fullmatch(text) is None or int(text) > MAX_VERSION:
        return None
    return int(text)


def parse_tree_number(text: str) -> TreeNumber | None:
    """Return the number that ``text`` is the one way to write, else None."""
    first, dot, second = text.partition(".")
    version, revision = parse_version(first), parse_version(second) if dot else 0
    return None if version is None or revision is None else TreeNumber(version, revision)


def parse_tree_name(os_name: str, name: str) -> TreeNumber | None:
    """Return the number of the tree called ``name``, None if that is no tree's name."""
    prefix, _, number = name.partition(".")  # no OS has a dot in its name
    return parse_tree_number(number) if prefix == os_name else None


def parse_stage_name(name: str) -> StageName | None:
    """Return what the staging directory ``name`` is, None if no stage is called so."""
    kind, _, text = name.partition(".")
    number = parse_tree_number(text)
    if number is None or kind not in {member.value for member in StageKind}:
        return None
    return StageName(StageKind(kind), number)
