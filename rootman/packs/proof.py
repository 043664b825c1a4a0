"""Proving a pack: that it makes what it says, of what a repository has."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from rootman.comparison import known_lines
from rootman.errors import InvalidInput, SystemFailure
from rootman.packs.matching import digests
from rootman.packs.packing import unpacked
from rootman.packs.streams import Damaged, PackFile, Streams

if TYPE_CHECKING:
    from rootman.packs.way import Way


def read_header(way: Way, file: BinaryIO, what: str) -> PackFile:
    """Return the pack in ``file``, which must lead the ``way``.

    Raises:
        InvalidInput: it is no pack, or leads elsewhere.
        OSError: it cannot be read.
    """
    pack = PackFile(file, what)
    if (pack.header.old, pack.header.new) != (way.old, way.new):
        old, new = (one or "nothing" for one in (pack.header.old, pack.header.new))
        raise InvalidInput(f"{what}: leads from {old} to {new}")
    return pack


def prove(way: Way, file: BinaryIO, what: str) -> None:
    """Make everything once that the pack in ``file`` makes; ``what`` names it in errors.

    Raises:
        InvalidInput: it does not make what it must (PK-3), or the repository is damaged.
        OSError: it cannot be read.
    """
    pack = read_header(way, file, what)
    old = digests(known_lines(way.manifest(way.old)))
    new = digests(known_lines(way.manifest(way.new)))
    lacking = set(new.values()).difference(old.values())
    try:
        for digest in unpacked(way, Streams(pack, pack.header, what)):
            lacking.discard(digest)
    except SystemFailure as error:
        raise Damaged(str(error)) from error
    if lacking:
        raise Damaged(f"{what}: damaged: lacks {len(lacking)} of its files")
