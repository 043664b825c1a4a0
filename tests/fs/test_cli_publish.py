"""``rootman publish`` and ``manifest``, end to end."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.builders import TIME, Tree, build, directory, file, symlink
from tests.commands import ROOTMAN, Machine

if TYPE_CHECKING:
    from tests.conftest import MakeFs

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

TREE: Tree = {"a": file("content"), "b": file("content"), "sp ace\n\udce9": symlink("to here")}


def test_publish_says_what_it_did_and_what_comes_next(machine: Machine) -> None:
    build(machine.source(1), TREE)

    lines = machine.run("publish", machine.source(1), "repo", "--version", 1).lines

    assert lines[0].startswith("olpc.1 published: 4 paths, 14 B; 1 new object, 7 B (")
    assert lines[1].startswith("pack from nothing to 1: not kept, with ")
    assert lines[2:] == ["to install it: rootman upgrade repo/releases/1.json"]
    machine.run("init")
    machine.run("upgrade", "repo/releases/1.json")


def test_the_document(machine: Machine) -> None:
    build(machine.source(1), TREE)

    document = machine.document("publish", machine.source(1), "repo", "--version", 1)

    (manifest,) = (machine.repo / "manifests").iterdir()
    release = json.loads((machine.repo / "releases/1.json").read_text())
    assert document == {
        "name": "olpc", "version": 1, "release": "repo/releases/1.json",
        "timestamp": release["timestamp"], "manifest": release["bundles"][0]["manifest"],
        "entries": 4, "size": 14, "bundles": [], "already_published": False,
        "objects_new": 1, "bytes_new": 7, "bytes_stored": document["bytes_stored"],
        "packs": [
            {"bundle": "base", "from": None, "size": document["packs"][0]["size"], "instead_of":
             document["bytes_stored"] + manifest.stat().st_size, "kept": False, "made": True},
        ],
        "signed": [], "waiting": [],
    }  # fmt: skip
    assert 0 < document["bytes_stored"] <= document["packs"][0]["size"]


def test_a_release_stays_published_where_its_packs_have_no_room(make_fs: MakeFs) -> None:
    """PK-1: a device can do without; who asks for a pack is told by the exit code."""
    machine = Machine(make_fs("ext4", size_mib=32).path)
    build(machine.source(1), {"big": replace(file("x"), hole=1 << 27)})

    done = machine.attempt("publish", machine.source(1), "repo", "--version", 1)

    assert done.code == 0
    assert done.lines[0].startswith("olpc.1 published: ")
    assert "note: published, but not all packs were made: " in done.err
    told = machine.refused("repo", "pack", "repo", "--from", "empty", code=6)
    assert told.endswith("(hint: make room and try again)")
    assert list((machine.repo / "tmp").iterdir()) == []


def test_packs_are_made_for_the_versions_before(machine: Machine) -> None:
    """PK-1: and others when they are asked for; a pack that is there is not made again."""
    lines = "".join(f"line {number} of a long text\n" for number in range(3000))
    for version in range(1, 5):
        build(machine.source(version), {"text": file(lines + f"version {version}")})
        more = ["--no-packs"] if version < 4 else []
        machine.run("publish", machine.source(version), "repo", "--version", version, *more)

    packs = sorted(path.name for path in (machine.repo / "packs").glob("*/*.pack"))
    assert len(packs) == 2
    assert "empty.pack" not in packs
    again = machine.document("publish", machine.source(4), "repo", "--version", 4, "--from", 1)
    assert [(one["from"], one["kept"], one["made"]) for one in again["packs"]] == [(1, True, True)]
    told = machine.run("repo", "pack", "repo", "--from", 1).lines
    assert told[0].startswith("pack from 1 to 4: ")
    assert told[0].endswith(", there already")
    assert "exclude each other" in machine.refused(
        "publish", machine.source(4), "repo", "--version", 4, "--from", 1, "--no-packs", code=2
    )


def test_a_published_version_is_immutable(machine: Machine) -> None:
    build(machine.source(1), TREE)
    machine.run("publish", machine.source(1), "repo", "--version", 1)

    again = machine.run("publish", machine.source(1), "repo", "--version", 1).lines
    (machine.source(1) / "a").write_text("other")
    line = machine.refused("publish", machine.source(1), "repo", "--version", 1, code=4)

    assert again[0] == "olpc.1 is published in repo already, with this very content"
    assert [line.partition(",")[0] for line in again[1:]] == ["pack from nothing to 1: not kept"]
    assert line == (
        "rootman: publish: version 1 is already published with other content (manifest)"
        " (hint: use --version 2)"
    )


def test_what_belongs_to_a_release_is_in_it(machine: Machine) -> None:
    build(machine.source(1), {**TREE, "home": directory(), "var": directory()})

    machine.run(
        "publish", machine.source(1), "repo", "--version", 7, "--name", "myos",
        "--compatible", "xo-1", "--compatible", "xo-4", "--config", "/etc", "--state", "/var",
        "--state", "/home", "--clamp-mtime", 1_600_000_000,
    )  # fmt: skip

    release = json.loads((machine.repo / "releases/7.json").read_text())
    assert (release["name"], release["version"]) == ("myos", 7)
    assert release["compatible"] == ["xo-1", "xo-4"]
    assert (release["config"], release["state"]) == (["/etc"], ["/home", "/var"])
    store = f"{machine.home}/myos"
    machine.run("--rootfs", store, "init", "--name", "myos", "--compatible", "xo-4")
    machine.run("--rootfs", store, "upgrade", "repo")
    assert os.stat(f"{store}/myos.7/a").st_mtime_ns == 1_600_000_000 * 1_000_000_000


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("nowhere repo --version 1", 8, "nowhere: no such directory"),
        ("file repo --version 1", 3, "file: not a directory"),
        ("source.1 source.1/repo --version 1", 4, "source.1/repo is inside source.1"),
        ("source.1 full --version 1", 4, "full: not empty and not a repository"),
        ("source.1 no/repo --version 1", 8, "{home}/no: no such directory"),
        ("source.1 repo --version 1 --name No", 3, "release 1: name: No is not a name"),
        ("source.1 repo --version 1 --config etc", 3, "release 1: config[0]: etc is not an"),
    ],
)
def test_what_cannot_be_published_is_refused(
    machine: Machine, arguments: str, code: int, message: str
) -> None:
    """EX-4."""
    build(machine.source(1), TREE)
    build(machine.home / "full", TREE)
    (machine.home / "file").write_text("")

    line = machine.refused("publish", *arguments.split(), code=code)

    assert line.startswith(f"rootman: publish: {message.format(home=machine.home)}")


def test_the_manifest_of_a_directory(machine: Machine) -> None:
    build(machine.source(1), TREE)

    out = machine.run("manifest", machine.source(1)).out

    second, nanoseconds = divmod(TIME, 1_000_000_000)
    lines = out.splitlines()
    assert lines[0] == "#mtree"
    assert lines[1].startswith(". type=dir mode=0755 uid=0 gid=0 time=")
    assert lines[-1] == (
        rf"./sp\040ace\012\351 type=link mode=0777 uid=0 gid=0"
        rf" time={second}.{nanoseconds:09} link=to\040here"
    )


def test_bsdtar_reads_the_manifest(machine: Machine) -> None:
    build(machine.source(1), {"dir/a b": file("x")})

    with subprocess.Popen(
        [ROOTMAN, "manifest", machine.source(1)], stdout=subprocess.PIPE
    ) as process:
        done = subprocess.run(
            ["bsdtar", "-tf", "-"], check=True, stdin=process.stdout, capture_output=True, text=True
        )

    assert done.stdout.split("\n") == [".", "./dir", "./dir/a b", ""]


@pytest.mark.parametrize(
    ("tree", "code", "message"),
    [("nowhere", 8, "nowhere: no such directory"), ("file", 3, "file is not a directory")],
)
def test_what_has_no_manifest_is_refused(
    machine: Machine, tree: str, code: int, message: str
) -> None:
    (machine.home / "file").write_text("")

    assert machine.refused("manifest", tree, code=code) == f"rootman: manifest: {message}"
