"""The whole way with two real Debian trees: publish, install, upgrade, roll back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.builders import differences, rsync_differences, snapshot
from tests.debian_trees import debian_trees

if TYPE_CHECKING:
    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs, pytest.mark.debian]


def test_an_upgraded_debian_is_the_published_one_and_the_old_one_is_untouched(
    machine: Machine,
) -> None:
    trees = debian_trees()
    for version, tree in enumerate((trees.first, trees.second), 1):
        machine.run("publish", tree, machine.repo, "--version", version)
    machine.run("init")
    machine.run("upgrade", machine.release(1))
    before = snapshot(machine.tree(1))

    machine.run("upgrade", machine.repo)

    assert differences(before, snapshot(machine.tree(1))) == []
    assert rsync_differences(trees.first, machine.tree(1)) == ""
    assert rsync_differences(trees.second, machine.tree(2)) == ""
    machine.run("rollback")
    assert machine.links == {"current": "olpc.1", "previous": "olpc.2"}
    machine.run("rollback")
    assert machine.document("verify")["verdict"] == "pristine"
    assert machine.document("verify", 1)["verdict"] == "pristine"
