"""What rootman does not do to a tree while a guard has it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rootman.fsops import RealFs
from tests.builders import file
from tests.commands import Machine
from tests.cow.guarding import Guard, end, mount
from tests.fault.faulty import Call, interposed
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TREE = {"etc/motd": file("one"), "usr/tool": file("tool")}
# A mount namespace of its own, of which nothing is seen outside.
ELSEWHERE = ("unshare", "--mount", "--propagation", "private")


@pytest.fixture
def machine(tmp_on_ext4: Path) -> Machine:
    """Return a device with versions 1 to 3, of which 1 is neither current nor previous."""
    machine = Machine(tmp_on_ext4)
    machine.run("init")
    for number in (1, 2, 3):
        machine.publish(number, {**TREE, "etc/version": file(str(number))})
    machine.run("upgrade", machine.release(1))
    machine.run("pin", 1)
    for number in (2, 3):
        machine.run("upgrade", machine.release(number))
    machine.run("unpin", 1)
    return machine


@pytest.fixture(params=["here", "elsewhere"])
def guard(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Guard]:
    """Guard version 1, mounted in this mount namespace or in one of its own."""
    place = ELSEWHERE if request.param == "elsewhere" else ()
    arguments = ("--rootfs", machine.store, "mount", "1")
    guard = mount(*arguments, tree=machine.tree(1), mnt=machine.home / "mnt", within=place)
    try:
        yield guard
    finally:
        end(guard)


def _is_seen(guard: Guard) -> bool:
    return os.path.ismount(guard.mnt)


def test_a_guarded_tree_is_not_pruned(machine: Machine, guard: Guard) -> None:
    """GD-15, TR-15: wherever it is mounted; where that cannot be seen it is not named."""
    said = machine.refused("prune", 1, code=5)

    seen = f"olpc.1 is in use: it is guarded at {guard.mnt} (hint: rootman umount {guard.mnt})"
    assert (seen if _is_seen(guard) else "olpc.1 is in use by a guard") in said
    assert machine.tree(1).exists()
    if _is_seen(guard):
        machine.run("umount", guard.mnt)
    else:
        end(guard)
    machine.run("prune", 1)
    assert not machine.tree(1).exists()


def test_a_guarded_tree_is_not_retired(machine: Machine, guard: Guard) -> None:
    """TR-15: it falls out, and stays where it is; the upgrade goes on."""
    machine.run("rollback", "--to", 1)
    machine.run("rollback")
    machine.publish(4, {**TREE, "etc/version": file("4")})

    done = machine.attempt("upgrade", machine.release(4))

    assert done.code == 0
    assert "olpc.1 is in use" in done.err
    assert machine.links == {"current": "olpc.4", "previous": "olpc.3"}
    assert machine.tree(1).exists()
    assert _is_seen(guard) == (f"guarded at {guard.mnt}" in done.err)


def test_a_guarded_tree_is_not_repaired(machine: Machine, guard: Guard) -> None:
    """TR-19: before anything is changed; once it is unmounted it is."""
    (machine.tree(1) / "etc/motd").unlink()

    said = machine.refused("repair", 1, code=5)

    assert "repair: olpc.1 is in use" in said
    assert ("rootman umount" in said) == _is_seen(guard)
    assert not (machine.tree(1) / "etc/motd").exists()
    end(guard)
    machine.run("repair", 1)
    assert (machine.tree(1) / "etc/motd").read_text() == "one"


def test_a_tree_that_is_repaired_is_not_guarded(machine: Machine) -> None:
    """TR-19: from before its first change on."""
    (machine.tree(1) / "etc/motd").unlink()
    (machine.home / "mnt").mkdir()
    said: list[str] = []

    def try_to_mount(_: Call) -> None:
        if not said:
            said.append(machine.refused("mount", "1", machine.home / "mnt", code=5))

    Lab(machine.home).repair(1, interposed(RealFs(), try_to_mount))

    assert "guarded already" in said[0]
    assert (machine.tree(1) / "etc/motd").read_text() == "one"
