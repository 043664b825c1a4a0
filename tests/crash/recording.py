"""What a recorder saw: a disk, and what was written to it between two flushes.

Everything before a flush is durable. Of the pieces after it any may survive a power cut
and any may be lost: disks and the kernel's queue reorder them. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.crash.writelog import BLOCK, Piece

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.crash.writelog import Write

Phase = Literal["prepared", "begun", "switching", "done"]
"""What was known to have happened: nothing, the command began, it came to its exchange of
links, it exited with 0."""

PHASES: Final[tuple[Phase, ...]] = ("prepared", "begun", "switching", "done")
MARK: Final = "power cut rig: "
"""How a mark begins; mkfs, too, writes where the marks are."""
ZEROS: Final = bytes(BLOCK)

Blocks = dict[int, bytes]
"""The blocks of a disk that are not all zeros, by number."""


@dataclass(slots=True)
class Epoch:
    """What was written between two flushes; ``phases`` has one more: the phase after each piece."""

    pieces: list[Piece] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Recording:
    """A disk at the beginning of a command, and its epochs from there to after the end."""

    filesystem: str
    scenario: str
    seed: int
    size: int
    """Of the disk, in bytes."""
    base: Blocks
    epochs: tuple[Epoch, ...]
    told: Any
    """What the scenario wants to know of the store before the command."""


def apply(blocks: Blocks, pieces: Iterable[Piece]) -> None:
    """Write ``pieces`` to ``blocks``, in this order."""
    for piece in pieces:
        data = piece.over(blocks.get(piece.block, ZEROS))
        if data == ZEROS:
            blocks.pop(piece.block, None)
        else:
            blocks[piece.block] = data


def split_epochs(writes: Iterable[Write], marks_at: int) -> tuple[Blocks, tuple[Epoch, ...]]:
    """Return the disk before the epoch in which the command began, and the epochs from it on.

    Writes at ``marks_at`` (bytes) are marks: they say that another phase begins.
    """
    base: Blocks = {}
    epochs: list[Epoch] = []
    phase: Phase = "prepared"
    epoch = Epoch(phases=[phase])
    for write in writes:
        if write.flushed:
            if phase == "prepared":
                apply(base, epoch.pieces)
            else:
                epochs.append(epoch)
            epoch = Epoch(phases=[phase])
        if write.start >= marks_at:
            epoch.phases[-1] = phase = _phase(write.data) or phase
            continue
        for piece in write.pieces():
            epoch.pieces.append(piece)
            epoch.phases.append(phase)
    epochs.append(epoch)
    return base, tuple(epochs)


def _phase(data: bytes) -> Phase | None:
    """Return the phase that a mark says begins; None where it is no mark."""
    text = data.rstrip(b"\0")
    return next((phase for phase in PHASES if text == f"{MARK}{phase}".encode()), None)
