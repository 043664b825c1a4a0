"""From any tree to any other on a real disk: what comes out is what was published."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings

from tests.builders import Tree, differences, file, hardlink, snapshot
from tests.checks import check_alike, check_upgrade
from tests.fault.faulty import Hasty
from tests.fuzz.trees import versions
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.filesystems import LoopFilesystem

pytestmark = pytest.mark.loopfs

A: Tree = {"x": file("1"), "y": hardlink("x"), "z": file("1")}
B: Tree = {"x": file("2"), "y": file("1"), "z": hardlink("y")}


def live(home: Path | str, trees: list[Tree]) -> None:
    """Install the first tree, upgrade to two others, go back, and upgrade to the last.

    The first upgrade clones, the next ones use the spare. In between, every tree that is
    there stays to the last bit of its lstat what it was.
    """
    lab = Lab(home, make_fs=Hasty)
    lab.init()
    for version, tree in enumerate(trees, 1):
        lab.publish(version, tree)
    for version in (1, 2, 3):
        check_upgrade(lab, version, check=check_alike)
    before = {version: snapshot(lab.tree(version)) for version in (2, 3)}

    lab.rollback()

    assert (lab.link("current"), lab.link("previous")) == ("olpc.2", "olpc.3")
    for version, was in before.items():
        assert differences(snapshot(lab.tree(version)), was) == []
    check_alike(lab, 2)
    check_upgrade(lab, 4, check=check_alike)
    assert [one for one in lab.heard.warnings if "no spare was prepared" in one] == []


@settings(max_examples=120, suppress_health_check=list(HealthCheck))
@given(versions(4))
@example([A, B, A, B])
@example([{"x": file("1")}, {"x": file("2")}, {"x": file("1")}, {"x": file("1")}])
def test_any_tree_to_any_other(ext4: LoopFilesystem, trees: list[Tree]) -> None:
    """S1, S2, S5, ST-9, TR-12, TR-13."""
    with tempfile.TemporaryDirectory(dir=ext4.path) as home:
        live(home, trees)
