"""The disks that a power cut can leave, numbered: which pieces of which epoch survive. Pure.

For each epoch: every prefix, one piece lost, only one there, and any subset by chance,
of the same seed always the same. Out of scope: putting them on a disk (``replica``).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Final

from tests.crash.configurations import BY_NAME as CONFIGURATIONS
from tests.crash.recording import ZEROS, apply
from tests.crash.writelog import SECTOR, Piece

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.crash.configurations import Configuration
    from tests.crash.recording import Blocks, Epoch, Phase, Recording

CHANCES: Final = 2
"""Subsets by chance for each piece of an epoch."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One disk: ``base`` with ``changes``, zeros where a block became zeros.

    ``phase`` is the latest in which the power cut can have come.
    """

    number: int
    epoch: int
    how: str
    phase: Phase
    base: Blocks
    """Of the epoch; the next cut that is asked for may change it."""
    changes: Blocks


def count_cuts(recording: Recording) -> int:
    """Return the highest number of a cut."""
    return sum(map(_count, recording.epochs))


def _count(epoch: Epoch) -> int:
    return (3 + CHANCES) * len(epoch.pieces) + 1


def cuts(recording: Recording, wanted: Iterable[int]) -> Iterator[Cut]:
    """Yield the disks that the recording allows whose numbers (from 1) are wanted, none twice."""
    numbers = sorted(wanted, reverse=True)
    base = dict(recording.base)
    fingerprint = first = 0
    seen: set[tuple[int, Phase]] = set()
    for index, epoch in enumerate(recording.epochs):
        last = first + _count(epoch)
        while numbers and numbers[-1] <= last:
            number = numbers.pop()
            how, phase, pieces = _choose(recording, index, number - first - 1)
            changes = _changes(base, pieces)
            key = (fingerprint ^ _fingerprint(base, changes), phase)
            if phase != "prepared" and key not in seen:
                seen.add(key)
                yield Cut(number, index, how, phase, base, changes)
        first = last
        fingerprint ^= _fingerprint(base, _changes(base, epoch.pieces))
        apply(base, epoch.pieces)


def _choose(recording: Recording, index: int, at: int) -> tuple[str, Phase, list[Piece]]:
    """Return how choice number ``at`` (from 0) of an epoch is made, its phase, what survives."""
    epoch = recording.epochs[index]
    pieces, count, phase = epoch.pieces, len(epoch.pieces), epoch.phases[-1]
    if at <= count:
        return f"the first {at} of {count} pieces", epoch.phases[at], pieces[:at]
    at -= count + 1
    if at < count:
        return f"all of {count} pieces but {at}", phase, pieces[:at] + pieces[at + 1 :]
    at -= count
    if at < count:
        return f"of {count} pieces only {at}", phase, [pieces[at]]
    at -= count
    random = Random(f"{recording.seed}/{index}/{at}")
    # That few are lost, or few survive, is as likely as half and half.
    likely = random.random()
    chosen = [piece for piece in pieces if random.random() < likely]
    how = f"{len(chosen)} of {count} pieces by chance"
    if chosen and random.random() < 1 / 4:
        how += _tear(chosen, random, CONFIGURATIONS[recording.filesystem])
    return how, phase, chosen


def _tear(pieces: list[Piece], random: Random, configuration: Configuration) -> str:
    """Have only some sectors of one piece, if it may be torn; return what was done."""
    at = random.randrange(len(pieces))
    torn = pieces[at]
    if not configuration.torn or torn.block in configuration.whole:
        return ""
    pieces[at : at + 1] = [
        Piece(torn.block, torn.offset + start, torn.data[start : start + SECTOR])
        for start in range(0, len(torn.data), SECTOR)
        if random.random() < 1 / 2
    ]
    return ", one torn"


def _changes(base: Blocks, pieces: list[Piece]) -> Blocks:
    """Return the blocks that are other than they were."""
    changed: Blocks = {}
    for piece in pieces:
        old = changed.get(piece.block)
        changed[piece.block] = piece.over(base.get(piece.block, ZEROS) if old is None else old)
    return {block: new for block, new in changed.items() if base.get(block, ZEROS) != new}


def _fingerprint(base: Blocks, changes: Blocks) -> int:
    """Return what changes in the fingerprint of a disk; the way there makes no difference."""
    found = 0
    for block, new in changes.items():
        found ^= _of_block(block, base.get(block, ZEROS)) ^ _of_block(block, new)
    return found


def _of_block(block: int, data: bytes) -> int:
    digest = blake2b(data, digest_size=16, person=block.to_bytes(8, "little"))
    return int.from_bytes(digest.digest(), "little")
