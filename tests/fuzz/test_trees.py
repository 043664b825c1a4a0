"""Random trees on a real disk: scanned, and made again of their manifest."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from rootman.scanner import scan_tree
from tests.builders import build
from tests.fuzz.model import content_of, entries_of, manifest_of, tree_of
from tests.fuzz.trees import TREES

if TYPE_CHECKING:
    from tests.builders import Tree
    from tests.filesystems import LoopFilesystem

pytestmark = pytest.mark.loopfs


def scanned(root: Path) -> bytes:
    """Return the manifest of the tree at ``root``."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return b"".join(scan_tree(fd, workers=1))
    finally:
        os.close(fd)


# The filesystem is that of all examples; each has a directory of its own on it.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(TREES)
def test_a_tree_and_its_manifest_are_one(ext4: LoopFilesystem, tree: Tree) -> None:
    """MF-9, MF-10, MF-11, MF-14: nothing of a tree gets lost on the way there and back."""
    contents = {
        entries_of(tree)[name].sha256: content_of(node)
        for name, node in tree.items()
        if node.kind == "file"
    }
    with tempfile.TemporaryDirectory(dir=ext4.path) as home:
        manifest = scanned(build(Path(home, "one"), tree))
        assert manifest == manifest_of(tree)

        again = build(Path(home, "other"), tree_of(manifest, contents))

        assert scanned(again) == manifest
