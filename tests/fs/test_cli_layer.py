"""``rootman layer``: the list of packages, as people and scripts see it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from tests.builders import Tree, file

if TYPE_CHECKING:
    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

INFO: Final = "var/lib/dpkg/info"
V1: Final[Tree] = {
    f"{INFO}/htop.list": file("/usr/bin/htop\n"),
    "usr/bin/apt-get": file("not run here", 0o755),
}


def test_the_list_is_kept_and_changes_no_tree(machine: Machine) -> None:
    """LY-2, ST-13."""
    machine.install(V1)

    empty = machine.run("layer")
    added = machine.run("layer", "add", "strace", "htop", "g++")
    machine.run("layer", "add", "strace")
    removed = machine.run("layer", "remove", "g++")

    assert empty.lines == [
        "no packages are kept for new versions; to begin: rootman layer add PACKAGE"
    ]
    assert added.lines == [
        "the next upgrade installs strace, htop, g++ in the new version",
        "to have it in olpc.1, too: apt-get install strace g++",
    ]
    assert removed.lines == ["the next upgrade does not install g++"]
    assert machine.run("layer").lines == ["htop: in olpc.1", "strace: with the next upgrade"]
    assert machine.document("layer") == {
        "name": "olpc",
        "layer": ["htop", "strace"],
        "current_name": "olpc.1",
        "installed": ["htop"],
        "package_manager": "apt-get",
    }
    settings = json.loads((machine.store / ".rootman/state.json").read_bytes())
    assert settings["layer"] == ["htop", "strace"]
    assert machine.document("verify")["verdict"] == "pristine"


def test_a_store_without_trees_keeps_a_list(machine: Machine) -> None:
    """LY-2."""
    machine.run("init")

    assert machine.document("layer", "add", "htop")["current_name"] is None
    assert machine.run("layer").lines == ["htop: with the next upgrade"]


def test_what_is_wrong_is_refused(machine: Machine) -> None:
    """LY-2, LY-3, EX-2."""
    machine.install(V1)
    machine.publish(2, {"etc/issue": file("no package manager")})

    assert machine.refused("layer", "add", "--", "-y", code=3) == (
        "rootman: layer add: '-y' is no name of a package (hint: a name alone, such as htop)"
    )
    assert machine.refused("layer", "remove", "htop", code=8) == (
        "rootman: layer remove: htop is not in the layer (hint: rootman layer lists what is)"
    )
    machine.run("layer", "add", "htop")
    assert machine.refused("upgrade", machine.release(2), code=4) == (
        "rootman: upgrade: version 2 has no package manager for the layer (apt-get) "
        "(hint: rootman upgrade --no-layer goes without, rootman layer remove for good)"
    )
    machine.run("upgrade", machine.release(2), "--no-layer")
