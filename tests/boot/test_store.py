"""``rootman boot`` on a real store, as a user types it, and what a loader makes of that."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING

import pytest

from rootman.boot.block import BootState, serialise_block
from rootman.boot.running import booted_name
from rootman.fsops import RealFs
from rootman.overview import overview
from rootman.session import look
from tests.boot.states import read_block
from tests.builders import build, directory, file, symlink
from tests.commands import Machine
from tests.stores import Listener

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.loopfs


@pytest.fixture
def machine(tmp_on_ext4: Path) -> Machine:
    """Give a device with versions 1 and 2, where attempts are counted from then on."""
    made = Machine(tmp_on_ext4)
    made.install({"a": file(b"1")}, {"a": file(b"2")})
    made.run("boot", "init")
    return made


def block(machine: Machine) -> Path:
    return machine.store / ".rootman" / "boot" / "grubenv"


def upgrade(machine: Machine, version: int, *options: str) -> None:
    if not machine.source(version).exists():
        machine.publish(version, {"a": file(str(version).encode())})
    machine.run("upgrade", machine.release(version), *options)


def test_an_upgraded_version_is_on_trial_until_it_is_good(machine: Machine) -> None:
    """BT-10 BT-12."""
    upgrade(machine, 3)

    assert read_block(block(machine)) == BootState("olpc.3", 3)
    assert machine.document("status")["trees"][-1]["boot"] == "pending"
    assert machine.run("boot", "mark-good", 3).out == "olpc.3 is good\n"
    assert machine.run("boot", "mark-good", 3).out == "olpc.3 is good already\n"
    assert read_block(block(machine)) == BootState()


def test_what_boots_is_shown(machine: Machine) -> None:
    """BT-12."""
    upgrade(machine, 3)

    lines = machine.run("boot", "status").lines

    assert lines[:3] == [
        "olpc.3 boots next (current)",
        "  olpc.3  on trial, attempts left: 3  current",
        "  olpc.2  good                        previous",
    ]


def test_without_a_boot_state_all_is_as_ever(tmp_on_ext4: Path) -> None:
    """BT-10."""
    machine = Machine(tmp_on_ext4)
    machine.install({"a": file(b"1")}, {"a": file(b"2")})

    assert not block(machine).exists()
    assert machine.document("status")["trees"][0]["boot"] is None
    assert machine.document("boot", "status")["set_up"] is False
    assert machine.run("boot", "mark-good", 2).out == "olpc.2 is good already\n"
    assert "no boot state" in machine.refused("boot", "mark-bad", 2, code=4)


def test_after_a_fallback_what_boots_is_current(machine: Machine) -> None:
    """BT-11: the loader wrote that version 3 is bad; the next command follows."""
    upgrade(machine, 3)
    block(machine).write_bytes(serialise_block(BootState(bad=("olpc.3",))))

    done = machine.attempt("boot", "status", "--json")

    assert "olpc.3 failed, and another tree boots" in done.err
    assert machine.links == {"current": "olpc.2", "previous": "olpc.3"}
    assert machine.document("boot", "status")["reason"] == "current"
    assert "bad" in machine.refused("upgrade", machine.release(3), code=4)
    assert "bad" in machine.refused("check-update", machine.repo, code=4)
    machine.attempt("check-update", machine.repo, "--retry-bad")
    upgrade(machine, 3, "--retry-bad")
    assert read_block(block(machine)) == BootState("olpc.3", 3)


def test_a_bad_version_is_remembered_when_its_tree_is_gone(machine: Machine) -> None:
    """BT-13."""
    upgrade(machine, 3)
    machine.run("boot", "mark-bad", 3)
    upgrade(machine, 4)
    assert not machine.tree(3).exists()

    assert "bad" in machine.refused("upgrade", machine.release(3), "--allow-downgrade", code=4)
    assert "bad, and not here any more: olpc.3\n" in machine.run("boot", "status").out


def test_the_block_keeps_its_place_on_the_disk(machine: Machine) -> None:
    """BT-3: it is written in place, never replaced."""
    inode = block(machine).stat().st_ino

    upgrade(machine, 3)
    machine.run("boot", "mark-good", 3)
    machine.run("boot", "choose", 2, "--once")

    assert block(machine).stat().st_ino == inode
    assert block(machine).stat().st_size == 1024


@pytest.mark.parametrize("data", [b"", b"rubbish", bytes(1024), serialise_block(BootState())[:700]])
def test_a_damaged_block_counts_as_empty_and_is_begun_anew(machine: Machine, data: bytes) -> None:
    """BT-2: it is reported, and stops nothing."""
    block(machine).write_bytes(data)

    (problem,) = machine.document("status")["problems"]
    assert "boot/grubenv, is damaged (hint: rootman boot init)" in problem
    assert "damaged" in machine.run("boot", "status").out
    machine.run("boot", "init")
    assert machine.document("status")["problems"] == []
    assert read_block(block(machine)) == BootState()
    assert machine.run("boot", "init").out == "attempts are counted here already\n"


def test_an_upgrade_mends_a_damaged_block(machine: Machine) -> None:
    """BT-2."""
    os.truncate(block(machine), 10)

    upgrade(machine, 3)

    assert read_block(block(machine)) == BootState("olpc.3", 3)


def test_a_version_on_trial_is_not_built_upon(machine: Machine) -> None:
    """BT-13: but what is here is told, and what is to come may be fetched."""
    upgrade(machine, 3)
    machine.publish(4, {"a": file(b"4")})

    assert "olpc.3 is on trial" in machine.refused("upgrade", machine.release(4), code=4)
    machine.run("upgrade", machine.release(4), "--download-only")
    assert "already" in machine.run("upgrade", machine.release(3)).out
    machine.run("boot", "mark-good", 3)
    machine.run("upgrade", machine.release(4))


def test_choices(machine: Machine) -> None:
    """BT-5."""
    assert machine.run("boot", "choose", 1, "--once").out == "olpc.1 boots next, once\n"
    assert machine.document("boot", "status")["reason"] == "once"
    assert machine.run("boot", "choose", "--none").out == "olpc.2 boots next\n"
    machine.run("boot", "rescue", 1)
    assert [one["pinned"] for one in machine.document("status")["trees"]] == [True, False]
    assert "olpc.1" in machine.run("boot", "status").out
    machine.run("boot", "rescue", "--none")
    for wrong in (("choose",), ("choose", 1), ("choose", 1, "--none"), ("rescue",)):
        machine.refused("boot", *wrong, code=2)


def test_a_tree_that_runs_on_trial_is_warned_of(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BT-65: something has to say that it is good."""
    upgrade(machine, 3)
    monkeypatch.setattr("rootman.boot.attention.booted_name", lambda: "olpc.3")
    monkeypatch.setattr("rootman.boot.attention.marks_good", lambda root: root == "/")

    with look(str(machine.store), RealFs, Listener()) as view:
        (problem,) = overview(view, RealFs)["problems"]

    assert problem == (
        "olpc.3 runs, and nothing has marked it good yet; attempts to boot it left: 3"
        " (hint: rootman boot mark-good, once it runs as it should)"
    )


@pytest.mark.parametrize(
    ("link", "is_told"),
    [
        ("", True),
        ("etc/systemd/system/multi-user.target.wants/other.service", True),
        ("etc/systemd/system/rootman-health.service", True),
        ("etc/systemd/system/multi-user.target.wants/rootman-health.service", False),
        ("usr/lib/systemd/system/a.target.requires/rootman-health.service", False),
    ],
)
def test_a_tree_that_nothing_will_mark_good_is_told_before_it_boots(
    machine: Machine,
    link: str,
    is_told: bool,  # noqa: FBT001
) -> None:
    """BT-65: its unit is there, and not enabled."""
    folders = {str(one): directory() for one in list(PurePath(link).parents)[:-1]}
    there = {link: symlink("/opt/rootman-health.service")} if link else {}
    machine.publish(3, {**folders, **there})
    upgrade(machine, 3)

    problems = machine.document("boot", "status")["problems"]

    assert problems == machine.document("status")["problems"]
    assert any("olpc.3 is on trial, and nothing will" in one for one in problems) == is_told
    machine.run("boot", "mark-good", 3)
    assert machine.document("status")["problems"] == []


def test_a_tree_with_another_bundle_is_on_trial(tmp_on_ext4: Path) -> None:
    """BT-9 BT-10: as any new tree, by its full name."""
    machine = Machine(tmp_on_ext4)
    build(machine.source(1), {"a": file(b"1"), "b": file(b"2")})
    (machine.home / "b.list").write_text("/b\n")
    machine.run(
        "publish", machine.source(1), machine.repo, "--version", 1,
        "--bundle", f"b={machine.home}/b.list",
    )  # fmt: skip
    machine.run("init")
    machine.run("upgrade", machine.release(1))
    machine.run("boot", "init")

    machine.run("bundle", "add", "b", "--from", machine.repo)

    assert read_block(block(machine)) == BootState("olpc.1.1", 3)
    machine.run("boot", "mark-bad", "1.1")
    assert machine.links["current"] == "olpc.1"
    again = machine.refused("bundle", "add", "b", "--from", machine.repo, code=4)
    assert "to try it again: rootman rollback --to 1.1 --retry-bad" in again


def test_a_tree_that_is_not_known_to_run_has_to_be_named(machine: Machine) -> None:
    assert "name it" in machine.refused("boot", "mark-good", code=8)


@pytest.mark.parametrize(
    ("said", "command_line", "expected"),
    [
        ("olpc.7.1\n", "rootman.tree=olpc.6", "olpc.7.1"),
        (None, "quiet rootman.tree=olpc.6 ro\n", "olpc.6"),
        (None, "root=/dev/sda1 rootman.version=olpc.7\n", ""),
        (None, None, ""),
    ],
)
def test_what_was_booted(
    tmp_path: Path, said: str | None, command_line: str | None, expected: str
) -> None:
    """BT-8 BT-9."""
    paths = []
    for name, text in (("said", said), ("cmdline", command_line)):
        paths.append(tmp_path / name)
        if text is not None:
            paths[-1].write_text(text)

    assert booted_name(said=str(paths[0]), command_line=str(paths[1])) == expected
