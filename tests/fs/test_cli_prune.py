"""``rootman prune``, ``pin`` and ``unpin``, end to end."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.builders import build, file
from tests.filesystems import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs]


@pytest.fixture
def five(machine: Machine) -> Machine:
    """Return a device with five versions; 2 is current and 1 previous."""
    machine.run("init")
    for version in range(1, 6):
        tree = {"same": file("s" * 1000), "own": file("o" * version), "usr/bin/x": file("x")}
        machine.run("init", build(machine.source(version), tree), "--version", version)
        # Taken in by links; a user who means it deletes the source.
        run("rm", "-r", str(machine.source(version)))
    machine.run("rollback", "--to", 2)
    return machine


def versions(machine: Machine) -> list[int]:
    return [tree["version"] for tree in machine.document("status")["trees"]]


def test_prune_keeps_the_newest_and_the_links(five: Machine) -> None:
    assert five.document("status")["current"] == 2
    assert five.document("status")["previous"] == 1

    done = five.run("prune")

    assert done.lines == ["deleted olpc.3: 1004 B freed"]
    assert versions(five) == [1, 2, 4, 5]


def test_prune_keeps_as_many_as_it_is_told(five: Machine) -> None:
    document = five.document("prune", "--keep", 0)

    assert document == {
        "deleted": [3, 4, 5], "deleted_names": ["olpc.3", "olpc.4", "olpc.5"], "bytes_freed": 3015,
        "state_generations": [],
    }  # fmt: skip
    assert versions(five) == [1, 2]
    assert five.run("prune", "--keep", 0).lines == ["nothing to delete"]


def test_prune_deletes_what_is_named(five: Machine) -> None:
    five.run("prune", 5, 3)

    assert versions(five) == [1, 2, 4]
    assert sorted(os.listdir(five.store / ".rootman/trees")) == ["1", "2", "4"]


def test_protected_versions_are_refused(five: Machine) -> None:
    """TR-15."""
    five.run("pin", 4)

    current = five.refused("prune", 3, 2, code=4)
    previous = five.refused("prune", 1, code=4)
    pinned = five.refused("prune", 4, code=4)
    missing = five.refused("prune", 9, code=8)

    hint = "(hint: rootman rollback --to N)"
    assert current == f"rootman: prune: olpc.2 is current: not deleted {hint}"
    assert previous == f"rootman: prune: olpc.1 is previous: not deleted {hint}"
    assert pinned == "rootman: prune: olpc.4 is pinned: not deleted (hint: rootman unpin 4)"
    assert missing.startswith("rootman: prune: olpc.9: no such tree (hint: there are olpc.1, ")
    assert versions(five) == [1, 2, 3, 4, 5]


def test_a_pin_protects_until_it_is_lifted(five: Machine) -> None:
    assert five.run("pin", 3).out == "olpc.3 is pinned\n"
    assert five.run("pin", 3).out == "olpc.3 is pinned already\n"
    assert five.run("prune").lines == ["nothing to delete"]
    assert five.run("unpin", 3).out == "olpc.3 is not pinned any more\n"
    assert five.run("unpin", 3).out == "olpc.3 is not pinned\n"
    assert five.run("prune").lines == ["deleted olpc.3: 1004 B freed"]


def test_a_version_that_is_not_here_cannot_be_pinned(five: Machine) -> None:
    assert five.refused("pin", 9, code=8).startswith("rootman: pin: olpc.9: no such tree")
    assert five.refused("unpin", 9, code=8).startswith("rootman: unpin: olpc.9: no such tree")


@pytest.fixture
def shell(five: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that works in version 4."""
    with subprocess.Popen(["sleep", "1000"], cwd=five.tree(4) / "usr") as process:
        yield process
        process.kill()


def test_a_version_in_use_is_refused_before_anything_is_deleted(
    five: Machine, shell: subprocess.Popen[bytes]
) -> None:
    """TR-15."""
    line = five.refused("prune", 3, 4, code=5)

    assert line == (
        f"rootman: prune: olpc.4 is in use by sleep (process {shell.pid})"
        f" ({five.tree(4)}/usr) (hint: end that process first)"
    )
    assert versions(five) == [1, 2, 3, 4, 5]


def test_a_version_that_something_is_mounted_in_is_refused(five: Machine) -> None:
    """TR-15."""
    place = five.tree(4) / "usr"
    run("mount", "-t", "tmpfs", "none", str(place))
    try:
        line = five.refused("prune", "--keep", 0, code=5)
    finally:
        run("umount", str(place))

    assert line == (f"rootman: prune: olpc.4 is in use: {place} is mounted (hint: umount {place})")
    assert versions(five) == [1, 2, 3, 4, 5]
