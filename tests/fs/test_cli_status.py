"""``rootman status``, end to end."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from rootman.lock import locked
from rootman.store import open_store
from tests.builders import file
from tests.commands import Machine
from tests.filesystems import run

if TYPE_CHECKING:
    from tests.conftest import MakeFs

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

BIG = file("b" * 10_000)


def test_the_document_is_what_scripts_may_count_on(machine: Machine) -> None:
    machine.install({"same": BIG, "other": file("1")}, {"same": BIG, "other": file("22")})
    machine.run("pin", 1)

    document = machine.document("status")

    times = [tree.pop("sealed_at") for tree in document["trees"]]
    assert all(isinstance(one, int) and one > 1_700_000_000 for one in times)
    assert document == {
        "rootfs": str(machine.store),
        "name": "olpc",
        "compatible": "",
        "current": 2,
        "current_name": "olpc.2",
        "previous": 1,
        "previous_name": "olpc.1",
        "trees": [
            {
                "version": 1, "revision": 0, "name": "olpc.1", "state": "sealed", "boot": None,
                    "pinned": True,
                "size": 10_001, "shared": 10_000, "exclusive": 1, "mounted_at": [],
                "unlocked": None, "bundles": [], "included": [],
            },
            {
                "version": 2, "revision": 0, "name": "olpc.2", "state": "sealed", "boot": None,
                    "pinned": False,
                "size": 10_002, "shared": 10_000, "exclusive": 2, "mounted_at": [],
                "unlocked": None, "bundles": [], "included": [],
            },
        ],
        "spare": 2,
        "spare_name": "olpc.2",
        "state_paths": [],
        "staged": [],
        "downloads": 0,
        "recovery": "none",
        "interrupted": [],
        "problems": [],
    }  # fmt: skip


def test_an_empty_store_names_the_next_command(machine: Machine) -> None:
    machine.run("init")

    document = machine.document("status")

    assert machine.run("status").lines == [
        f"{machine.store}: olpc, 0 trees",
        f"the store is empty; to install: rootman --rootfs {machine.store} upgrade REPO",
    ]
    assert (document["current"], document["previous"], document["trees"]) == (None, None, [])


def test_people_see_a_table(machine: Machine) -> None:
    machine.install({"same": BIG, "a": file("1")}, {"same": BIG, "a": file("22")})
    machine.run("pin", 1)

    lines = machine.run("status").lines

    when = r"20\d\d-\d\d-\d\d \d\d:\d\d"
    wanted = [
        re.escape(f"{machine.store}: olpc, 2 trees"),
        "",
        r"  version  state    shared  exclusive  sealed",
        rf"\* olpc\.2   sealed  9\.8 KiB        2 B  {when}  current",
        rf"- olpc\.1   sealed  9\.8 KiB        1 B  {when}  previous, pinned",
        "",
        r"spare: a clone of olpc\.2, ready to be upgraded",
    ]
    assert len(lines) == len(wanted)
    assert all(re.fullmatch(*pair) for pair in zip(wanted, lines, strict=True)), lines


def test_what_was_interrupted_is_recovered_and_told(machine: Machine) -> None:
    """TR-4."""
    machine.install({"a": file("1")})
    stage = machine.store / ".rootman/staging/building.7"
    stage.mkdir()

    done = machine.attempt("status")

    note = "an earlier command was interrupted: remove staging/building.7"
    assert (done.code, done.err) == (0, f"rootman: status: note: {note}\n")
    assert "recovered: remove staging/building.7" in done.lines
    assert not stage.exists()


def test_what_was_recovered_is_in_the_document(machine: Machine) -> None:
    machine.install({"a": file("1")})
    (machine.store / ".rootman/staging/link").symlink_to("olpc.1")

    done = machine.attempt("status", "--json")

    assert done.code == 0
    assert '"recovery": "done",\n  "interrupted": [\n    "remove staging/link"\n  ]' in done.out


def test_what_another_rootman_does_is_told_and_left_alone(machine: Machine) -> None:
    """TR-4."""
    machine.install({"a": file("1")})
    stage = machine.store / ".rootman/staging/building.7"
    stage.mkdir()

    with open_store(str(machine.store)) as store, locked(store):
        document = machine.document("status")
        lines = machine.run("status").lines

    assert stage.exists()
    assert document["recovery"] == "in progress"
    assert document["staged"] == ["building.7"]
    assert len(document["interrupted"]) == 1
    assert f"(process {os.getpid()})" in document["interrupted"][0]
    assert "staged: building.7" in lines
    assert lines[-1].startswith(f"in progress: {machine.store} is in use by ")


def test_a_store_that_cannot_be_written_is_shown(make_fs: MakeFs) -> None:
    """TR-4."""
    filesystem = make_fs("ext4", size_mib=64)
    machine = Machine(filesystem.path)
    machine.install({"a": file("1")})
    (machine.store / ".rootman/staging/link").symlink_to("olpc.1")
    run("mount", "-o", "remount,ro", str(filesystem.path))

    document = machine.document("status")

    assert document["current"] == 1
    assert document["recovery"] == "not possible"
    assert document["interrupted"] == ["remove staging/link"]


def test_a_link_that_leads_nowhere_is_a_problem_with_a_way_out(machine: Machine) -> None:
    machine.install({"a": file("1")}, {"a": file("2")})
    (machine.store / "current").unlink()
    (machine.store / "current").symlink_to("olpc.9")

    problems = machine.document("status")["problems"]
    machine.run("rollback", "--to", 2)

    assert problems == [
        "current -> olpc.9 leads to no tree of this store (hint: rootman rollback --to 2)"
    ]
    assert machine.links == {"current": "olpc.2", "previous": "olpc.1"}
    assert machine.document("status")["problems"] == []


def test_a_missing_link_is_a_problem_with_a_way_out(machine: Machine) -> None:
    machine.install({"a": file("1")})
    (machine.store / "current").unlink()

    lines = machine.run("status").lines
    machine.run("rollback", "--to", 1)

    assert lines[-1] == "problem: no tree is current (hint: rootman rollback --to 1)"
    assert machine.links == {"current": "olpc.1"}


def test_a_missing_link_is_a_problem_beside_another_one(machine: Machine) -> None:
    machine.install({"a": file("1")})
    (machine.store / "current").unlink()
    (machine.store / "previous").symlink_to("olpc.9")

    assert machine.document("status")["problems"] == [
        "previous -> olpc.9 leads to no tree of this store (hint: the next upgrade makes it anew)",
        "no tree is current (hint: rootman rollback --to 1)",
    ]


def test_a_directory_that_rootman_did_not_make_is_named_and_left_alone(machine: Machine) -> None:
    machine.install({"a": file("1")})
    machine.tree(9).mkdir()

    document = machine.document("status")

    assert document["trees"][-1] == {
        "version": 9, "revision": 0, "name": "olpc.9", "state": "unsealed", "boot": None,
        "pinned": False, "size": None, "shared": None, "exclusive": None, "sealed_at": None,
        "mounted_at": [], "unlocked": None, "bundles": [], "included": [],
    }  # fmt: skip
    assert document["problems"] == [
        "olpc.9 was not made by rootman and is left alone (hint: move it out of the way)"
    ]
    assert "  olpc.9   unsealed       ?          ?  ?" in machine.run("status").lines
    assert machine.tree(9).is_dir()


def test_unused_downloads_are_counted(machine: Machine) -> None:
    machine.install({"a": file("1")})
    (machine.store / ".rootman/objects" / ("0" * 64)).write_bytes(b"")

    assert machine.document("status")["downloads"] == 1
    assert (
        machine.run("status").lines[-1]
        == "downloads: 1 object, kept for the upgrade that wanted them"
    )
