"""The clone of a tree that is unlocked until it is left."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rootman.demand import Room
from rootman.errors import NoSpace
from rootman.seal import SealRecord
from rootman.store import require_tree, scan
from rootman.throwaway import clone_as_it_is
from tests.builders import published, snapshot
from tests.fault.faulty import Hasty
from tests.fault.living import prepare
from tests.fault.trees import VERSIONS
from tests.numbers import number
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.loopfs


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    prepare(lab)
    return lab


def clone(lab: Lab, tree: int) -> Path:
    """Make the clone; return where it is, until the next command removes it."""
    with lab.session() as opened:
        clone_as_it_is(opened, require_tree(scan(opened.store), number(tree)))
    return lab.control / f"staging/unlocked.{tree}/root"


def test_a_clone_is_the_tree_as_it_is(lab: Lab) -> None:
    """UL-3 S5: with its local changes, of which no inode is shared."""
    (lab.tree(1) / "etc/mine").write_text("one")
    os.link(lab.tree(1) / "etc/mine", lab.tree(1) / "usr/mine")
    before = snapshot(lab.tree(1))

    found = snapshot(clone(lab, 1))

    assert published(found) == published(before)
    assert snapshot(lab.tree(1)) == before
    fd = os.open(lab.control / "trees/1", os.O_RDONLY)
    sealed = {one for one in SealRecord(fd, "1").inodes() if one}
    os.close(fd)
    shared = {one.inode for one in found.values()} & {one.inode for one in before.values()}
    assert shared
    assert shared <= sealed


def test_of_every_type_there_is_a_clone(tmp_on_ext4: Path) -> None:
    """UL-3."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    lab.publish(3, VERSIONS[3])
    lab.init()
    lab.upgrade(3)

    assert published(snapshot(clone(lab, 3))) == published(snapshot(lab.tree(3)))


def test_without_a_guard_the_next_command_removes_it_and_says_nothing(lab: Lab) -> None:
    """TR-10."""
    stage = clone(lab, 1).parent

    lab.pin(1)

    assert not stage.exists()
    assert lab.heard.warnings == []


@pytest.mark.parametrize("room", [Room(4096, None), Room(1 << 40, 3)])
def test_without_room_nothing_is_begun(
    lab: Lab, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S6."""
    monkeypatch.setattr("rootman.throwaway.room_of", lambda _: room)

    with pytest.raises(NoSpace):
        clone(lab, 1)
    assert not (lab.control / "staging/unlocked.1").exists()
