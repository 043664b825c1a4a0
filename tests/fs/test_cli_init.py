"""``rootman init``, end to end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.builders import Tree, build, file, hardlink, rsync_differences, symlink

if TYPE_CHECKING:
    from tests.commands import Machine
    from tests.conftest import MakeFs

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

TREE: Tree = {"a": file("a"), "b": hardlink("a"), "c/link": symlink("../a"), "c/empty": file()}


def test_an_empty_store(machine: Machine) -> None:
    lines = machine.run("init").lines

    assert lines == [
        f"{machine.store}: a store of olpc",
        f"to install: rootman --rootfs {machine.store} upgrade REPO",
    ]
    assert (machine.store / ".rootman").stat().st_mode & 0o777 == 0o700
    assert os.listdir(machine.store) == [".rootman"]


def test_the_document(machine: Machine) -> None:
    build(machine.source(1), TREE)

    document = machine.document("init", machine.source(1), "--version", 3, "--name", "os-x")

    assert document == {
        "rootfs": str(machine.store), "name": "os-x", "made": True, "compatible": "",
        "adopted": 3, "adopted_name": "os-x.3", "files": "linked",
        "current": 3, "current_name": "os-x.3",
    }  # fmt: skip
    assert machine.links == {"current": "os-x.3"}


def test_a_store_is_not_made_twice(machine: Machine) -> None:
    machine.run("init")

    line = machine.refused("init", code=4)

    assert line == f"rootman: init: {machine.store} is a store already (hint: rootman status)"


def test_a_tree_is_taken_in_by_links(machine: Machine) -> None:
    build(machine.source(1), TREE)

    lines = machine.run("init", machine.source(1), "--version", 1).lines

    assert lines == [
        f"{machine.store}: a store of olpc",
        "olpc.1 taken in, its files linked; it is current",
    ]
    assert rsync_differences(machine.source(1), machine.tree(1)) == ""
    assert (machine.tree(1) / "a").samefile(machine.source(1) / "a")
    assert machine.document("verify")["verdict"] == "pristine"


def test_a_tree_from_another_filesystem_is_copied(machine: Machine, make_fs: MakeFs) -> None:
    elsewhere = build(make_fs("ext4", size_mib=32).path / "tree", TREE)

    lines = machine.run("init", elsewhere, "--version", 1).lines

    assert lines[1] == "olpc.1 taken in, its files copied; it is current"
    assert rsync_differences(elsewhere, machine.tree(1)) == ""


def test_the_second_tree_does_not_become_current(machine: Machine) -> None:
    for version in (1, 2):
        build(machine.source(version), TREE)
        lines = machine.run("init", machine.source(version), "--version", version).lines

    assert lines == ["olpc.2 taken in, its files linked"]
    assert machine.links == {"current": "olpc.1"}


def test_the_hardware_can_be_named_later(machine: Machine) -> None:
    machine.run("init")

    lines = machine.run("init", "--compatible", "olpc,xo-1").lines

    assert lines == [f"{machine.store}: this device is olpc,xo-1"]
    assert machine.document("status")["compatible"] == "olpc,xo-1"


def test_a_store_of_another_system_is_refused(machine: Machine) -> None:
    machine.run("init")
    build(machine.source(1), TREE)

    line = machine.refused("init", machine.source(1), "--version", 1, "--name", "other", code=4)

    assert line.startswith(f"rootman: init: {machine.store} is a store of olpc, not of other")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("nowhere --version 1", 8, "nowhere: no such directory"),
        ("file --version 1", 3, "file is not a directory"),
        ("--name No", 3, "'No' cannot name an OS"),
        (". --version 1", 4, ". contains the store"),
    ],
)
def test_what_cannot_be_taken_in_is_refused(
    machine: Machine, arguments: str, code: int, message: str
) -> None:
    (machine.home / "file").write_text("")

    line = machine.refused("init", *arguments.split(), code=code)

    assert line.startswith(f"rootman: init: {message}")


def test_a_version_that_is_here_is_refused(machine: Machine) -> None:
    build(machine.source(1), TREE)
    machine.run("init", machine.source(1), "--version", 1)

    line = machine.refused("init", machine.source(1), "--version", 1, code=4)

    assert line == "rootman: init: olpc.1 is here already (hint: use another --version)"


def test_the_parent_of_the_store_must_exist(machine: Machine) -> None:
    line = machine.refused("--rootfs", f"{machine.home}/no/store", "init", code=8)

    assert line.startswith(f"rootman: init: {machine.home}/no/store: its parent directory")
