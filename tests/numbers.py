"""Trees' numbers as tests write them, ``7`` or ``"7.1"``, and stores with any of them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from rootman.names import StageName, TreeNumber, parse_stage_name, parse_tree_number
from rootman.state import parse_seal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stores import Lab

Number = int | str | TreeNumber


def number(written: Number) -> TreeNumber:
    """Return the number that is written so; 0 is that of no tree."""
    if isinstance(written, TreeNumber):
        return written
    found = TreeNumber(written) if isinstance(written, int) else parse_tree_number(written)
    assert found is not None, written
    return found


def renumber(lab: Lab, old: Number, new: Number) -> None:
    """Give the tree ``old`` another number, with its links, its stages and its source."""
    was, now = number(old), number(new)
    for path in lab.control.joinpath("staging").iterdir():
        name = parse_stage_name(path.name)
        if name is not None and name.number == was:
            _renumber_seals(path, now)
            path.rename(path.with_name(str(StageName(name.kind, now))))
    for link in (lab.store / "current", lab.store / "previous", lab.control / "staging/link"):
        if link.is_symlink() and os.readlink(link) == lab.tree(was).name:
            link.unlink()
            link.symlink_to(lab.tree(now).name)
    trees = lab.control / "trees"
    _renumber_seals(trees / str(was), now)
    for one, other in (
        (trees / str(was), trees / str(now)),
        (lab.tree(was), lab.tree(now)),
        (lab.source(was), lab.source(now)),
    ):
        if one.exists():
            one.rename(other)


def _renumber_seals(directory: Path, now: TreeNumber) -> None:
    """Write other seals in the place of those in, or just below, the directory."""
    for path in (*directory.glob("seal.json"), *directory.glob("*/seal.json")):
        seal = parse_seal(path.read_bytes(), str(path))
        path.unlink()  # other records may have it by a link
        path.write_bytes(replace(seal, version=now.version, revision=now.revision).serialise())
