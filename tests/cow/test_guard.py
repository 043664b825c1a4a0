"""The guard from its mount to its unmount."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.cow.guarding import guarding, snapshot

if TYPE_CHECKING:
    from pathlib import Path


def _farm(home: Path) -> tuple[Path, Path]:
    """Return two trees that share every file."""
    one, other = home / "one", home / "other"
    one.mkdir()
    other.mkdir()
    (one / "file").write_text("sealed\n")
    os.link(one / "file", one / "again")
    for name in ("file", "again"):
        os.link(one / name, other / name)
    return one, other


def test_a_write_stays_in_its_tree(tmp_on_ext4: Path) -> None:
    one, other = _farm(tmp_on_ext4)
    before = snapshot(other)

    with guarding(one, tmp_on_ext4 / "mnt") as guard:
        with (guard.mnt / "file").open() as opened_before:
            (guard.mnt / "file").write_text("changed\n")
            assert opened_before.read() == "changed\n"
        assert (guard.mnt / "again").read_text() == "changed\n"

    assert (one / "file").read_text() == "changed\n"
    assert (one / "again").samefile(one / "file")
    assert snapshot(other) == before
