"""What must be true of a store after an upgrade, whatever the trees are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.builders import differences, published, rsync_differences, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootman.upgrade import Options
    from tests.builders import Tree
    from tests.stores import Lab


def check_alike(lab: Lab, version: int) -> None:
    """Check that the tree is what was published, by our eyes and rootman's own."""
    wanted = published(snapshot(lab.source(version)))
    assert differences(published(snapshot(lab.tree(version))), wanted) == []
    assert lab.verdict(version) == "pristine"


def check_published(lab: Lab, version: int) -> None:
    """Check that the tree is what was published, by our eyes, rsync's and rootman's own."""
    check_alike(lab, version)
    assert rsync_differences(lab.source(version), lab.tree(version)) == ""


def check_upgrade(
    lab: Lab,
    version: int,
    options: Options | None = None,
    *,
    check: Callable[[Lab, int], None] = check_published,
) -> None:
    """Upgrade; nothing that stays has changed, and the new tree is what was published."""
    before = {tree.number: snapshot(lab.tree(tree.number)) for tree in lab.scan().trees}

    lab.upgrade(version, options=options)

    there = {tree.number for tree in lab.scan().trees}
    for old in before.keys() & there:
        assert differences(snapshot(lab.tree(old)), before[old]) == []
    assert lab.link("current") == f"olpc.{version}"
    check(lab, version)
    assert os.listdir(lab.control / "objects") == []


def check_upgrades(lab: Lab, *trees: Tree) -> None:
    """Install the first of ``trees`` and upgrade to each of the others, from 1 on."""
    lab.init()
    for version, tree in enumerate(trees, 1):
        lab.publish(version, tree)
        check_upgrade(lab, version)
    assert [one for one in lab.heard.warnings if "no spare was prepared" in one] == []
