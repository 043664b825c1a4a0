"""Stores with several trees of one version: what is named ``olpc.2.1`` is a tree like any."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.builders import file, hardlink, symlink
from tests.commands import Machine
from tests.fault.faulty import Forked, Hasty, KillBefore, interposed
from tests.numbers import renumber
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rootman.fsops import Fs
    from tests.builders import Tree
    from tests.numbers import Number

pytestmark = [pytest.mark.root, pytest.mark.loopfs]


def tree(version: int) -> Tree:
    return {
        "bin/sh": file("shell", 0o755),
        "bin/bash": hardlink("bin/sh"),
        "etc/conf": file(f"conf {version}"),
        "lib": symlink("usr/lib"),
        "usr/lib/libc": file("libc"),
        f"usr/share/{version}": file("new"),
    }


def make_lab(home: Path, versions: int) -> Lab:
    """Return a store with that many versions, and one release more than those."""
    lab = Lab(home, make_fs=Hasty)
    lab.init()
    for version in range(1, versions + 2):
        lab.publish(version, tree(version))
    for version in range(1, versions + 1):
        lab.upgrade(version)
        lab.pin(version)
    for version in range(1, versions + 1):
        lab.pin(version, pinned=False)
    return lab


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    """Return a store with trees 1, 2 and 2.1; 2.1 is current and has the spare, 2 is previous."""
    lab = make_lab(tmp_on_ext4, 3)
    renumber(lab, 3, "2.1")
    assert names(lab) == ["olpc.1", "olpc.2", "olpc.2.1"]
    assert lab.scan().is_settled
    return lab


@pytest.fixture
def machine(lab: Lab) -> Machine:
    """Return the same as a device."""
    return Machine(lab.home)


def names(lab: Lab) -> list[str]:
    return [one.name for one in lab.scan().trees if one.seal is not None]


def stages(lab: Lab) -> list[str]:
    return sorted(os.listdir(lab.control / "staging"))


def links(lab: Lab) -> tuple[str, str]:
    return lab.link("current"), lab.link("previous")


# --- the commands ----------------------------------------------------------------------


def test_the_document_of_status(machine: Machine) -> None:
    """EX-6: versions are whole numbers, and the names beside them tell trees apart."""
    machine.run("pin", "2.1")

    document = machine.document("status")

    assert [
        (one["version"], one["revision"], one["name"], one["pinned"]) for one in document["trees"]
    ] == [(1, 0, "olpc.1", False), (2, 0, "olpc.2", False), (2, 1, "olpc.2.1", True)]
    assert all(one["exclusive"] is not None for one in document["trees"])
    assert (document["current"], document["current_name"]) == (2, "olpc.2.1")
    assert (document["previous"], document["previous_name"]) == (2, "olpc.2")
    assert (document["spare"], document["spare_name"]) == (2, "olpc.2.1")
    assert document["problems"] == document["staged"] == []


def test_the_table_of_status(machine: Machine) -> None:
    lines = machine.run("status").lines

    trees = [(words[0], *words[1:2]) for words in map(str.split, lines[3:6])]
    assert trees == [("*", "olpc.2.1"), ("-", "olpc.2"), ("olpc.1", "sealed")]
    assert [one.rsplit("  ", 1)[-1] for one in lines[3:5]] == ["current", "previous"]
    assert lines[-1] == "spare: a clone of olpc.2.1, ready to be upgraded"


def test_the_sizes_are_kept_for_each_tree(lab: Lab, machine: Machine) -> None:
    """ST-15."""
    computed = machine.document("status")["trees"]

    kept = json.loads((lab.control / "sizes.json").read_text())["sizes"]

    assert set(kept) == {"1", "2", "2.1"}
    assert machine.document("status")["trees"] == computed


def test_rollback_to_it_and_back(machine: Machine) -> None:
    """S2."""
    there = machine.document("rollback", "--to", "1")
    back = machine.run("rollback", "--to", "2.1").lines

    assert there.pop("seconds") >= 0
    assert there == {
        "name": "olpc", "was": 2, "was_name": "olpc.2.1", "current": 1, "current_name": "olpc.1",
        "previous": 2, "previous_name": "olpc.2.1", "left_behind": [], "config": [],
        "restarts_into": None,
    }  # fmt: skip
    assert back[0].startswith("olpc.1 -> olpc.2.1: current in ")
    assert machine.links == {"current": "olpc.2.1", "previous": "olpc.1"}
    assert machine.run("rollback", "--to", "2").lines[1:] == [
        "to return to olpc.2.1: rootman rollback"
    ]


def test_pins_and_pruning(lab: Lab, machine: Machine) -> None:
    """ST-13, TR-15."""
    machine.run("rollback", "--to", 1)
    machine.run("rollback", "--to", 2)
    assert machine.run("pin", "2.1").out == "olpc.2.1 is pinned\n"
    assert json.loads((lab.control / "state.json").read_text())["pinned"] == ["2.1"]

    assert machine.run("prune", "--keep", 0).lines == ["nothing to delete"]
    refused = machine.refused("prune", "2.1", code=4)
    assert refused == ("rootman: prune: olpc.2.1 is pinned: not deleted (hint: rootman unpin 2.1)")
    machine.run("unpin", "2.1")
    document = machine.document("prune", "--keep", 0)

    assert (document["deleted"], document["deleted_names"]) == ([2], ["olpc.2.1"])
    assert document["bytes_freed"] > 0
    assert names(lab) == ["olpc.1", "olpc.2"]
    assert sorted(os.listdir(lab.control / "trees")) == ["1", "2"]


def test_its_neighbour_is_another_tree(lab: Lab, machine: Machine) -> None:
    """TR-15: 2 is not 2.1."""
    machine.run("rollback", "--to", 1)
    assert machine.links == {"current": "olpc.1", "previous": "olpc.2.1"}

    assert machine.run("prune", 2).lines[0].startswith("deleted olpc.2: ")

    assert names(lab) == ["olpc.1", "olpc.2.1"]
    assert not any(one.adopted for one in lab.scan().trees)
    missing = machine.refused("rollback", "--to", 2, code=8)
    assert missing == ("rootman: rollback: olpc.2: no such tree (hint: there are olpc.1, olpc.2.1)")
    assert lab.verdict("2.1") == "pristine"


def test_verify_and_repair(lab: Lab, machine: Machine) -> None:
    assert machine.run("verify").out == "olpc.2.1 is pristine\n"
    document = machine.document("verify", "2.1")
    assert (document["version"], document["revision"], document["name"]) == (2, 1, "olpc.2.1")
    (lab.tree("2.1") / "etc/conf").unlink()

    found = machine.attempt("verify", "2.1", "--quick")
    machine.run("repair", "2.1", "--from", machine.repo)

    assert found.code == 10
    assert found.lines[-1].endswith("(to undo that: rootman repair 2.1)")
    assert machine.run("verify", "2.1").out == "olpc.2.1 is pristine\n"
    assert machine.run("verify", "2").out == "olpc.2 is pristine\n"


def test_what_differs_between_trees_of_one_version(machine: Machine) -> None:
    document = machine.document("diff", "2", "2.1")

    assert (document["from"], document["from_name"]) == (2, "olpc.2")
    assert (document["to"], document["to_name"]) == (2, "olpc.2.1")
    assert {one["path"]: one["kind"] for one in document["differences"]} == {
        "etc/conf": "changed", "usr/share/2": "removed", "usr/share/3": "added",
    }  # fmt: skip


def test_news_are_of_versions(machine: Machine) -> None:
    """RL-12: what is current is of the version 2, whichever tree of it."""
    document = machine.document("check-update", machine.repo, code=12)
    assert (document["current"], document["current_name"]) == (2, "olpc.2.1")
    older = machine.refused("upgrade", machine.release(1), code=4)
    assert "olpc.1 is not newer than olpc.2.1, which is current" in older


# --- upgrades --------------------------------------------------------------------------


def test_upgrades_from_it_and_past_it(lab: Lab) -> None:
    """TR-13: it is the seed, then previous, and then the spare."""
    lab.prune(1)

    lab.upgrade(4)
    assert "start version 4 from the spare (a clone of version 2.1)" in lab.heard.steps
    assert links(lab) == ("olpc.4", "olpc.2.1")
    assert names(lab) == ["olpc.2.1", "olpc.4"]

    lab.publish(5, tree(5))
    lab.upgrade(5)
    assert "retire version 2.1" in lab.heard.steps
    assert (names(lab), stages(lab)) == (["olpc.4", "olpc.5"], ["spare.5"])
    assert [lab.verdict(one) for one in (4, 5)] == ["pristine", "pristine"]


def test_a_clone_of_it_is_the_seed_and_the_spare(lab: Lab) -> None:
    """TR-13: without a spare, and without a tree that falls out."""
    lab.rollback(1)
    lab.rollback("2.1")
    lab.pin(1)
    (spare,) = lab.control.joinpath("staging").iterdir()
    (spare / "meta/seal.json").unlink()

    lab.upgrade(4)

    assert "start version 4 from a clone of version 2.1" in lab.heard.steps
    assert stages(lab) == ["spare.4"]
    assert lab.verdict(4) == "pristine"


def test_a_release_that_is_here_under_another_number(lab: Lab) -> None:
    """RL-12: what counts is what a tree was sealed from."""
    lab.prune(1)
    lab.publish(6, tree(6))
    lab.adopt(lab.source(6), "6.3")
    assert lab.link("current") == "olpc.2.1"

    lab.upgrade(6)

    assert links(lab) == ("olpc.6.3", "olpc.2.1")
    assert names(lab) == ["olpc.2", "olpc.2.1", "olpc.6.3"]
    seal = json.loads((lab.control / "trees/6.3/seal.json").read_text())
    assert (seal["version"], seal["revision"]) == (6, 3)


# --- recovery --------------------------------------------------------------------------


class Cut(NamedTuple):
    """A command that is cut off before a call on a path, and what comes of it.

    Then a tree is ``renumbered``; what is there is in staging, orphans, and in the end trees.
    """

    command: Callable[[Lab, Fs], object]
    op: str
    path: str
    renumbered: tuple[Number, Number]
    staged: list[str]
    orphans: list[str]
    trees: list[str]
    links: tuple[str, str]


def upgrade(lab: Lab, fs: Fs) -> None:
    lab.upgrade(3, fs)


def prune(lab: Lab, fs: Fs) -> None:
    lab.pin(1)
    lab.upgrade(3)
    lab.pin(1, pinned=False)
    lab.prune(1, fs=fs)


def repair(lab: Lab, fs: Fs) -> None:
    (lab.tree(2) / "etc/conf").unlink()
    lab.repair(2, fs)


NEW, OLD = (3, "2.1"), (1, "1.1")
BEFORE = (["olpc.1", "olpc.2"], ("olpc.2", "olpc.1"))
SWITCHED = (["olpc.1", "olpc.2", "olpc.2.1"], ("olpc.2.1", "olpc.2"))
AFTER = (["olpc.2", "olpc.3"], ("olpc.3", "olpc.2"))
CUTS = {
    "TR-7 staged": Cut(upgrade, "move", "trees/3", NEW, ["building.2.1"], [], *BEFORE),
    "TR-8 recorded": Cut(upgrade, "move", "/olpc.3", NEW, ["building.2.1"], ["2.1"], *BEFORE),
    "TR-9 sealed": Cut(upgrade, "symlink", "/link", NEW, ["building.2.1"], [], *SWITCHED),
    "TR-9 previous is new": Cut(upgrade, "exchange", "", NEW, ["building.2.1"], [], *SWITCHED),
    "TR-6 a link on its way": Cut(
        upgrade, "rename", "/previous", NEW, ["building.2.1", "link"], [], *SWITCHED
    ),
    "TR-10 retired": Cut(upgrade, "move", "trees/1", OLD, ["retired.1.1"], ["1.1"], *AFTER),
    "TR-10 rolled forward": Cut(upgrade, "move", "spare.3", OLD, ["retired.1.1"], [], *AFTER),
    "TR-10 deleting": Cut(
        prune, "unlink", "trees/1/", OLD, ["deleting.1.1", "spare.3"], ["1.1"], *AFTER
    ),
    "TR-10 repair": Cut(
        repair, "rename", "etc/conf", (2, "1.1"), ["repair.1.1", "spare.1.1"], [],
        ["olpc.1", "olpc.1.1"], ("olpc.1.1", "olpc.1"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_what_was_cut_off_is_recovered(tmp_on_ext4: Path, cut: Cut) -> None:
    """S4, TR-2: in each named state, a stage of such a tree is what that of any other is."""
    lab = make_lab(tmp_on_ext4, 2)
    lab.pin(1, pinned=False)
    mortal = interposed(
        Hasty(),
        KillBefore(lambda call: call.op == cut.op and any(cut.path in one for one in call.paths)),
    )
    assert Forked(lambda: cut.command(lab, mortal)).result() is None
    renumber(lab, *cut.renumbered)
    assert stages(lab) == cut.staged
    assert [str(one) for one in lab.scan().orphans] == cut.orphans

    lab.look()

    state = lab.scan()
    assert state.is_settled
    assert (names(lab), links(lab)) == (cut.trees, cut.links)
    assert all(one.startswith("spare.") for one in stages(lab))
    for one in state.trees:
        if cut.command is not repair:
            assert lab.verify(one.number) == []
