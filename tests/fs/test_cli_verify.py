"""``rootman verify`` and ``repair``, end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.builders import Tree, differences, file, hardlink, rsync_differences, snapshot, symlink

if TYPE_CHECKING:
    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

TREE: Tree = {
    "etc/mode": file("mode"),
    "etc/gone": file("gone"),
    "usr/bin/tool": file("tool", mode=0o755),
    "usr/bin/group": file("group"),
    "usr/bin/second": hardlink("usr/bin/group"),
    "usr/lib/shared": file("shared between the versions"),
    "usr/link": symlink("lib/shared"),
}


def change_locally(machine: Machine, version: int) -> None:
    """Change a tree the way that a careful user does: in its own inodes alone."""
    tree = machine.tree(version)
    (tree / "etc/new\nline").write_text("new")
    (tree / "etc/gone").unlink()
    replaced = tree / "usr/bin/tool"
    replaced.unlink()
    replaced.write_text("replaced")
    replaced.chmod(0o700)


def damage(machine: Machine, version: int) -> None:
    """Write into an inode that other versions share."""
    with (machine.tree(version) / "usr/lib/shared").open("r+") as shared:
        shared.write("DAMAGED")


def test_what_was_installed_is_pristine(machine: Machine) -> None:
    """EX-1."""
    machine.install(TREE)

    assert machine.run("verify").out == "olpc.1 is pristine\n"
    assert machine.run("verify", "--quick").out == "olpc.1 is pristine\n"
    assert machine.document("verify", 1) == {
        "version": 1, "revision": 0, "name": "olpc.1", "verdict": "pristine", "differences": [],
        "quick": False,
    }  # fmt: skip


def test_local_changes_are_named(machine: Machine) -> None:
    """EX-1."""
    machine.install(TREE, {**TREE, "etc/mode": file("other")})
    change_locally(machine, 2)

    done = machine.attempt("verify")

    assert (done.code, done.err) == (10, "")
    assert done.lines == [
        "modified etc (time)",
        "modified etc/gone (removed)",
        r"modified etc/new\012line (added)",
        "modified usr/bin (time)",
        "modified usr/bin/tool (content, mode 0755 -> 0700, time)",
        "olpc.2 is modified: 0 paths damaged, 5 modified (to undo that: rootman repair 2)",
    ]
    assert machine.document("verify", 1)["verdict"] == "pristine"


def test_damage_is_told_from_local_changes(machine: Machine) -> None:
    """EX-1."""
    machine.install(TREE, {**TREE, "etc/mode": file("other")})
    change_locally(machine, 2)
    damage(machine, 2)

    done = machine.attempt("verify", 2)
    document = machine.document("verify", 1, code=11)

    assert done.code == 11
    assert "damaged  usr/lib/shared (content, time)" in done.lines
    assert done.lines[-1].startswith("olpc.2 is damaged: 1 path damaged, 5 modified (")
    assert [
        (one["path"], one["kind"], one["damaged"], [it["keyword"] for it in one["what"]])
        for one in document["differences"]
    ] == [("usr/lib/shared", "changed", True, ["content", "time"])]


def test_the_quick_check_goes_by_lstat(machine: Machine) -> None:
    machine.install(TREE)
    change_locally(machine, 1)

    done = machine.attempt("verify", "--quick")

    assert done.code == 10
    assert "modified usr/bin/tool (mode, size, time)" in done.lines
    assert machine.document("verify", "--quick", code=10)["quick"] is True


def test_the_quick_check_names_no_path_that_is_as_it_was(machine: Machine) -> None:
    machine.install(TREE)
    (machine.tree(1) / "usr/bin/second").unlink()

    lines = machine.attempt("verify", "--quick").lines

    assert [line for line in lines if "group" in line] == []
    assert "modified usr/bin/second (removed)" in lines


def test_a_version_that_is_not_here_is_named(machine: Machine) -> None:
    machine.run("init")

    nothing = machine.refused("verify", code=8)
    missing = machine.refused("verify", 7, code=8)

    assert nothing == (
        "rootman: verify: no tree is current (hint: name a version; rootman status lists them)"
    )
    assert missing == "rootman: verify: olpc.7: no such tree (hint: there are no trees at all)"


def test_repair_brings_a_tree_back_from_the_others(machine: Machine) -> None:
    machine.install(TREE, {**TREE, "etc/mode": file("other")})
    change_locally(machine, 2)
    other = snapshot(machine.tree(1))

    done = machine.run("repair")

    assert "was modified etc/gone (removed)" in done.lines
    assert done.lines[-2:] == ["olpc.2: 5 paths repaired", "olpc.2 is pristine"]
    assert differences(other, snapshot(machine.tree(1))) == []
    assert rsync_differences(machine.source(2), machine.tree(2)) == ""


def test_repair_takes_from_a_repository_what_no_version_has(machine: Machine) -> None:
    machine.install(TREE)
    damage(machine, 1)

    line = machine.refused("repair", code=8)
    still = machine.attempt("verify").code
    document = machine.document("repair", 1, "--from", machine.repo)

    assert line.endswith(": not in this store (hint: give a repository that has it: --from REPO)")
    assert still == 11
    assert document["verdict"] == "pristine"
    assert document["differences"] == []
    assert [(one["path"], one["damaged"]) for one in document["repaired"]] == [
        ("usr/lib/shared", True)
    ]
    assert rsync_differences(machine.source(1), machine.tree(1)) == ""
    assert machine.document("status")["downloads"] == 0


def test_repair_of_what_is_pristine_says_so(machine: Machine) -> None:
    machine.install(TREE)

    assert machine.run("repair").out == "olpc.1 is pristine\n"
