"""What is checked of the model, and the broken variants of it that must not pass.

A variant is a switch of the preprocessor in ``spec/model/rootman.pml`` or ``boot.pml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Search:
    """One search of all states, by its name for people."""

    name: str
    defines: tuple[str, ...] = ()
    liveness: bool = False
    model: str = "rootman.pml"

    def __str__(self) -> str:
        return self.name


# Names that reach the disk in any order: one power cut in a life, or there are too many states.
_SCATTERED: Final = ("SCATTERED", "NO_KILL", "CUTS=1")

_BOOT: Final = "boot.pml"

JOURNAL: Final = Search("any life on a disk with a journal")
SEARCHES: Final = (
    JOURNAL,
    Search("one power cut where names reach the disk in any order", _SCATTERED),
    Search("every command and every recovery ends", liveness=True),
    Search("any life of a machine with trials", model=_BOOT),
)


@dataclass(frozen=True, slots=True)
class Variant:
    """A mistake, and a part of what the model says about it (S1 to S4)."""

    define: str
    name: str
    search: tuple[str, ...] = ()
    liveness: bool = False
    model: str = "rootman.pml"

    def __str__(self) -> str:
        return self.name


VARIANTS: Final = (
    Variant("CURRENT_DELETED_THEN_CREATED", "current deleted and then created"),
    Variant("CURRENT_FIRST", "two renames instead of the exchange, current first"),
    Variant("EXCHANGE_BEFORE_SEAL_IS_DURABLE", "links exchanged before the seal is durable"),
    Variant("NAME_BEFORE_SYNCFS", "olpc.N named before syncfs"),
    Variant("NAME_BEFORE_RECORD", "olpc.N named before its record"),
    Variant("EXIT_BEFORE_SWITCH_IS_DURABLE", "exit 0 before the switch is durable"),
    Variant("RETIRED_BEFORE_SWITCH", "the old previous retired before the switch"),
    Variant("CHANGED_BEFORE_NAME_IS_GONE", "a retired tree changed before its name is gone"),
    Variant("STAGE_CLOSED_BEFORE_SWITCH", "the stage closed before the switch"),
    Variant("LITTER_STAYS", "recovery leaves a temporary link"),
    Variant("RECOVERY_REMOVES_WHAT_IS_SEALED", "recovery removes what is sealed"),
    Variant("RECOVERED_BEFORE_IT_IS_DURABLE", "recovery builds on names that are not durable"),
    Variant("RECORD_LEAVES_FIRST", "a retired tree's record goes before the tree", _SCATTERED),
    Variant("RECOVERY_NEVER_ENDS", "recovery goes round for ever", liveness=True),
    Variant("BLOCK_AFTER_SWITCH", "the links lead to a tree before it is on trial", model=_BOOT),
    Variant("RECOVERY_FORGETS_THE_TRIAL", "recovery switches without a trial", model=_BOOT),
    Variant("RECOVERY_TRIES_WHAT_IS_BAD", "recovery tries a bad tree again", model=_BOOT),
    Variant("UPGRADE_ON_TRIAL", "a tree on trial is the one to fall back to", model=_BOOT),
    Variant("UNPROVEN_IS_GOOD", "a trial that another one ends was passed", model=_BOOT),
    Variant("COUNTED_BY_WHAT_BOOTS", "an attempt is counted after it", model=_BOOT),
)
