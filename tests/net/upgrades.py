"""What the tests of downloads have in common: a store that goes from version 1 to version 2."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.builders import differences, published, snapshot
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.builders import Tree


def published_lab(home: Path, one: Tree, two: Tree) -> Lab:
    """Return a store with version 1, and a repository with versions 1 and 2."""
    lab = Lab(home)
    lab.publish(1, one)
    lab.publish(2, two)
    lab.init()
    lab.upgrade(1)
    return lab


def check_upgraded(lab: Lab) -> None:
    """See to it that version 2 is current, as it was published, and no download is left."""
    assert lab.link("current") == "olpc.2"
    wanted, found = published(snapshot(lab.source(2))), published(snapshot(lab.tree(2)))
    assert differences(found, wanted) == []
    assert lab.verify(2) == []
    assert os.listdir(lab.control / "objects") == []
