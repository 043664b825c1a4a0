"""``rootman hash``, end to end."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.builders import TIME, build, file, symlink

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs]


@pytest.fixture
def source(machine: Machine) -> Path:
    tree = {"bin/sh": file("shell"), "late": file("late", time=TIME + 10**12), "to": symlink("bin")}
    return build(machine.source(1), tree)


@pytest.mark.parametrize("clamp", [[], ["--clamp-mtime", TIME // 10**9]])
def test_a_tree_has_the_name_that_publish_gives_its_manifest(
    machine: Machine, source: Path, clamp: list[object]
) -> None:
    published = machine.document("publish", source, machine.repo, "--version", 1, *clamp)

    done = machine.run("hash", source, *clamp)
    document = machine.document("hash", source, *clamp)

    assert done.out == published["manifest"] + "\n"
    manifest = machine.attempt("manifest", source).out.encode()
    assert document == {
        "path": str(source), "kind": "tree", "sha256": published["manifest"],
        "size": len(manifest),
    }  # fmt: skip


def test_clamped_is_not_as_it_is(machine: Machine, source: Path) -> None:
    clamped = machine.run("hash", source, "--clamp-mtime", TIME // 10**9).out

    assert machine.run("hash", source).out != clamped


def test_a_file_has_the_name_of_its_object(machine: Machine, source: Path) -> None:
    machine.run("publish", source, machine.repo, "--version", 1)

    document = machine.document("hash", source / "to/sh")

    digest = sha256(b"shell").hexdigest()
    assert (document["kind"], document["sha256"], document["size"]) == ("file", digest, 5)
    assert (machine.repo / f"objects/{digest[:2]}/{digest}.zst").exists()


def test_what_has_no_name(machine: Machine, source: Path) -> None:
    """EX-3."""
    os.mkfifo(source / "fifo")

    missing = machine.refused("hash", source / "nothing", code=8)
    neither = machine.refused("hash", source / "fifo", code=3)

    assert missing == f"rootman: hash: {source}/nothing: no such file or directory"
    assert neither == f"rootman: hash: {source}/fifo is neither a directory nor a file"
