"""Local configuration in the next tree: every change here with every change of a release.

All cells of the table are paths of one tree, so that one upgrade shows them all. The expected
tree is written down as trees are, from the pieces that the sides have.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pytest

from rootman.seal import is_shared
from tests.builders import (
    Node,
    Tree,
    build,
    char,
    differences,
    directory,
    fifo,
    file,
    hardlink,
    published,
    snapshot,
    symlink,
)
from tests.fault.faulty import Hasty
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rootman.upgrade import UpgradeResult
    from tests.conftest import MakeFs

CONFIG: Final = ("/etc",)


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    return Lab(tmp_on_ext4, make_fs=Hasty)


# --- the table -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pieces:
    """What one kind of entry may be, as trees below the directory of a cell."""

    base: Tree
    edited: Tree
    changed: Tree
    private: Tree
    both: Tree
    """What the release changed, with the metadata that were changed here."""


def _pieces(make: Callable[[str], Node], private: Callable[[Node], Node]) -> Pieces:
    return Pieces(
        {"x": make("base")},
        {"x": make("local")},
        {"x": make("new")},
        {"x": private(make("base"))},
        {"x": private(make("new"))},
    )


def _private(node: Node) -> Node:
    return replace(node, mode=0o600, uid=7, xattrs={"user.mine": b"here"})


def _device(text: str) -> Node:
    return char(1, {"base": 3, "local": 5, "new": 7}[text])


def _mapped(pieces: Pieces, add: Tree) -> Pieces:
    return Pieces(*({**getattr(pieces, name), **add} for name in Pieces.__slots__))


_INNER: Final = _pieces(file, _private)
KINDS: Final = {
    "file": _pieces(file, _private),
    "link": _pieces(symlink, lambda node: replace(node, uid=7)),
    "pair": _mapped(_pieces(file, _private), {"y": hardlink("x")}),
    "char": _pieces(_device, lambda node: replace(node, mode=0o600, uid=7)),
}
TYPE_HERE: Final = {kind: fifo(0o600) for kind in KINDS}
TYPE_NEW: Final[dict[str, Tree]] = {
    "file": {"x": symlink("another type")},
    "link": {"x": directory(0o750), "x/in": file("another type")},
    "pair": {"x": file("base"), "y": symlink("another type")},
    "char": {"x": file("another type")},
}


def beside(tree: Tree, kind: str = "new") -> Tree:
    """Return ``tree`` with its uppermost names as they are beside."""
    suffix = f".rootman-{kind}"
    return {
        "/".join((first + suffix, *rest)): (
            replace(node, target=node.target + suffix) if node.kind == "hardlink" else node
        )
        for path, node in tree.items()
        for first, *rest in (path.split("/"),)
    }


@dataclass(frozen=True, slots=True)
class Cell:
    """Three sides, what is to come of them, and the paths that are told as conflicts."""

    base: Tree
    local: Tree
    new: Tree
    result: Tree
    conflicts: frozenset[str] = frozenset()


def cells() -> dict[str, Cell]:
    found: dict[str, Cell] = {}
    for kind, it in KINDS.items():
        names = frozenset(it.base)
        other = {"x": TYPE_HERE[kind]}
        typed = TYPE_NEW[kind]
        local = {"kept": it.base, "edited": it.edited, "type": other, "deleted": {},
                 "metadata": it.private}  # fmt: skip
        new = {"same": it.base, "changed": it.changed, "removed": {}, "type": typed}
        for here, mine in local.items():
            for there, theirs in new.items():
                cell = _cell(kind, (here, there), it, mine, theirs)
                found[f"{kind}-{here}-{there}"] = Cell(it.base, mine, theirs, *cell)
        found[f"{kind}-added-not"] = Cell({}, it.edited, {}, it.edited)
        found[f"{kind}-added-alike"] = Cell({}, it.edited, it.edited, it.edited)
        found[f"{kind}-not-added"] = Cell({}, {}, it.changed, it.changed)
        found[f"{kind}-added-added"] = Cell(
            {}, it.edited, it.changed, {**it.edited, **beside(it.changed)}, names
        )
    return found


def _cell(
    kind: str, pair: tuple[str, str], it: Pieces, local: Tree, new: Tree
) -> tuple[Tree, frozenset[str]]:
    """Return what stands in the end in a cell of the table of MG-3, and what is told."""
    here, there = pair
    names = frozenset(it.base)
    if here == "kept":
        return new, frozenset()
    if kind == "pair" and (there == "type" or here == "type"):
        return _pair(pair, it, local, new)
    if there == "same" or pair == ("deleted", "removed"):
        return local, frozenset()
    if pair == ("metadata", "changed"):
        return it.both, frozenset()
    stays = {**local, **beside(new)}
    if here == "deleted" and "x/in" in new:
        stays = new
    elif pair == ("metadata", "type"):
        stays = {**new, **beside(local, "old")}
    return stays, names


def _pair(pair: tuple[str, str], it: Pieces, local: Tree, new: Tree) -> tuple[Tree, frozenset[str]]:
    """Return the same for two names of which one has another type on a side."""
    here, there = pair
    table: dict[tuple[str, str], tuple[Tree, set[str]]] = {
        # Here x is a fifo, and y is gone.
        ("type", "same"): (local, set()),
        ("type", "changed"): ({**local, **beside(it.changed)}, {"x", "y"}),
        ("type", "removed"): (local, {"x"}),
        ("type", "type"): ({**local, "y.rootman-new": new["y"]} if "y" in new else {}, {"y"}),
        # In the release y is a symlink, and x as it was, a file by itself.
        ("edited", "type"): (
            {"x": file("local"), "y": file("local"), "y.rootman-new": symlink("another type")},
            {"y"},
        ),
        ("deleted", "type"): ({"y.rootman-new": symlink("another type")}, {"y"}),
        ("metadata", "type"): (
            {**it.private, "y": symlink("another type"), "y.rootman-old": it.private["x"]},
            {"y"},
        ),
    }
    result, told = table[here, there]
    return result, frozenset(told)


FILES: Final[Tree] = {"x": directory(), "x/f": file("base")}
X: Final = frozenset({"x"})
DIRECTORIES: Final = {
    "dir-kept-removed": Cell(FILES, FILES, {}, {}),
    "dir-kept-type": Cell(FILES, FILES, {"x": symlink("new")}, {"x": symlink("new")}),
    "dir-metadata-changed": Cell(
        FILES,
        {**FILES, "x": _private(directory())},
        {**FILES, "x/f": file("new")},
        {"x": _private(directory()), "x/f": file("new")},
    ),
    "dir-metadata-removed": Cell(
        FILES, {**FILES, "x": directory(0o700)}, {}, {"x": directory(0o700)}, X
    ),
    "dir-metadata-type": Cell(
        FILES,
        {**FILES, "x": directory(0o700)},
        {"x": symlink("new")},
        {"x": symlink("new"), "x.rootman-old": directory(0o700)},
        X,
    ),
    "dir-metadata-metadata": Cell(
        FILES,
        {**FILES, "x": directory(0o700)},
        {**FILES, "x": directory(0o2755)},
        {**FILES, "x": directory(0o700)},
        X,
    ),
    "dir-edited-removed": Cell(
        FILES,
        {**FILES, "x/f": file("local")},
        {},
        {**FILES, "x/f": file("local")},
        frozenset({"x", "x/f"}),
    ),
    "dir-edited-type": Cell(
        FILES,
        {**FILES, "x/mine": file("local")},
        {"x": symlink("new")},
        {"x": directory(), "x/mine": file("local"), "x.rootman-new": symlink("new")},
        X,
    ),
    "dir-deleted-same": Cell(FILES, {}, FILES, {}),
    "dir-deleted-changed": Cell(
        FILES,
        {},
        {**FILES, "x/f": file("new")},
        {"x": directory(), "x/f.rootman-new": file("new")},
        frozenset({"x", "x/f"}),
    ),
    "dir-deleted-added": Cell(
        FILES,
        {},
        {**FILES, "x/g": file("new")},
        {"x": directory(), "x/g": file("new")},
        X,
    ),
    "dir-type-same": Cell(FILES, {"x": symlink("local")}, FILES, {"x": symlink("local")}),
    "dir-type-changed": Cell(
        FILES,
        {"x": symlink("local")},
        {**FILES, "x/f": file("new"), "x/g": hardlink("x/f")},
        {
            "x": symlink("local"),
            "x.rootman-new": directory(),
            "x.rootman-new/f": file("new"),
            "x.rootman-new/g": hardlink("x.rootman-new/f"),
        },
        X,
    ),
    "dir-added-added": Cell(
        {},
        {"x": directory(0o700), "x/f": file("local")},
        {"x": directory(0o700), "x/g": file("new")},
        {"x": directory(0o700), "x/f": file("local"), "x/g": file("new")},
    ),
    "dir-not-for-file": Cell(
        {"x": file("base")},
        {"x": directory(), "x/f": file("local")},
        {"x": file("new")},
        {"x": directory(), "x/f": file("local"), "x.rootman-new": file("new")},
        X,
    ),
    "fifo-metadata-same": Cell(
        {"x": fifo()}, {"x": fifo(0o600)}, {"x": fifo()}, {"x": fifo(0o600)}
    ),
    "fifo-metadata-metadata": Cell(
        {"x": fifo()}, {"x": fifo(0o600)}, {"x": fifo(0o640)}, {"x": fifo(0o600)}, X
    ),
    "fifo-deleted-type": Cell({"x": fifo()}, {}, {"x": file("new")}, beside({"x": file("new")}), X),
    "fifo-metadata-removed": Cell({"x": fifo()}, {"x": fifo(0o600)}, {}, {"x": fifo(0o600)}, X),
    "fifo-kept-changed": Cell({"x": fifo()}, {"x": fifo()}, {"x": fifo(0o640)}, {"x": fifo(0o640)}),
    "empty-edited-changed": Cell(
        {"x": file()},
        {"x": file("local")},
        {"x": file("new")},
        {"x": file("local"), "x.rootman-new": file("new")},
        X,
    ),
    "acl-and-mode": Cell(
        {"x": file("base", 0o644)},
        {"x": file("base", 0o644, gid=8)},
        {"x": file("new", 0o4755, gid=0, xattrs={"user.new": b"there"})},
        {"x": file("new", 0o4755, gid=8, xattrs={"user.new": b"there"})},
    ),
    "pair-links-only": Cell(
        {"x": file("base"), "y": hardlink("x")},
        {"x": file("base"), "y": file("base")},
        {"x": file("base"), "y": hardlink("x")},
        {"x": file("base"), "y": file("base")},
    ),
    "pair-third-name": Cell(
        {"x": file("base"), "y": hardlink("x")},
        {"x": file("local"), "y": hardlink("x"), "z": hardlink("x")},
        {"x": file("base"), "y": hardlink("x")},
        {"x": file("local"), "y": hardlink("x"), "z": hardlink("x")},
    ),
}
CELLS: Final = cells() | DIRECTORIES


def placed(side: str) -> Tree:
    """Return one side of all cells, each in a directory of its own."""
    found: Tree = {"etc": directory(), "usr/bin/tool": file(f"of {side}", 0o755)}
    for name, cell in CELLS.items():
        found[f"etc/{name}"] = directory()
        tree: Tree = getattr(cell, side)
        for path, node in tree.items():
            target = f"etc/{name}/{node.target}" if node.kind == "hardlink" else node.target
            found[f"etc/{name}/{path}"] = replace(node, target=target)
    return found


def change(lab: Lab, number: int) -> None:
    """Make of the configuration of a tree what it is locally, in inodes of its own."""
    local = lab.home / "local"
    build(local, placed("local"))
    for name, cell in CELLS.items():
        if cell.local != cell.base:
            shutil.rmtree(lab.tree(number) / "etc" / name)
            os.rename(local / "etc" / name, lab.tree(number) / "etc" / name)
    os.utime(lab.tree(number) / "etc", ns=(placed("local")["etc"].time,) * 2)
    shutil.rmtree(local)


def check(lab: Lab, number: int, side: str) -> None:
    """Compare the configuration of a tree with what it is to be, name for name and bit for bit."""
    expected = build(lab.home / f"expected.{number}", placed(side))
    wanted, found = (published(snapshot(root / "etc")) for root in (expected, lab.tree(number)))

    wrong = differences(wanted, found)
    assert not wrong, "\n".join(wrong)


def upgrade_all_cells(lab: Lab) -> UpgradeResult:
    lab.publish(1, placed("base"), config=CONFIG)
    lab.publish(2, placed("new"), config=CONFIG)
    lab.init()
    lab.upgrade(1)
    change(lab, 1)
    return lab.upgrade(2)


def test_every_cell(lab: Lab) -> None:
    """MG-1, MG-3, MG-4, MG-5, MG-7, MG-8: what stands in the end, and what is told."""
    before = published(snapshot(build(lab.home / "local.1", placed("local")) / "etc"))

    result = upgrade_all_cells(lab)

    check(lab, 2, "result")
    assert result.merge is not None
    told = {one.path.decode() for one in result.merge.findings if one.kind == "conflict"}
    assert told == {f"etc/{name}/{path}" for name, it in CELLS.items() for path in it.conflicts}
    assert differences(before, published(snapshot(lab.tree(1) / "etc"))) == []


def test_what_was_carried_is_local_to_the_next_upgrade(lab: Lab) -> None:
    """MG-1, MG-11: base is what the release has; so the same again changes nothing."""
    upgrade_all_cells(lab)
    lab.publish(3, {**placed("new"), "usr/bin/tool": file("three")}, config=CONFIG)

    result = lab.upgrade(3)

    check(lab, 3, "result")
    assert result.merge is not None
    assert {one.kind for one in result.merge.findings} == {"kept"}
    assert lab.verdict(2) == lab.verdict(3) == "modified"


def test_trees_share_no_inode_that_was_changed(lab: Lab) -> None:
    """MG-6, MG-11, S5: a merged path has an inode of its own, and the record is the release's."""
    upgrade_all_cells(lab)
    old, new = (snapshot(lab.tree(number) / "etc") for number in (1, 2))
    carried = {
        path
        for path, facts in new.items()
        if path in old and facts.inode == old[path].inode and facts.content
    }

    kept = {f"{name}/".encode() for name, it in CELLS.items() if it.local == it.base}
    assert {path for path in carried if not path.startswith(tuple(kept))} == set()
    assert not any(one.damaged for one in lab.verify(2))


def test_the_spare_is_what_was_sealed(lab: Lab) -> None:
    """MG-12, ST-22: made by a clone, and rolled forward; nothing of it has to be fetched."""
    upgrade_all_cells(lab)
    files = [one for one in lab.drift_of_spare(2) if one.line is None or is_shared(one.line)]
    lab.publish(3, {**placed("new"), "usr/bin/tool": file("three")}, config=CONFIG)

    result = lab.upgrade(3)

    assert files == []
    assert lab.heard.warnings == []
    assert result.needs is not None
    assert result.needs.fetch_objects == 1
    assert lab.drift_of_spare(3) == []


def test_without_the_spare_a_clone_is_what_was_sealed(lab: Lab) -> None:
    """MG-12, ST-22."""
    upgrade_all_cells(lab)
    shutil.rmtree(lab.spare(2).parent)
    lab.publish(3, {**placed("new"), "usr/bin/tool": file("three")}, config=CONFIG)

    result = lab.upgrade(3)

    assert result.needs is not None
    assert result.needs.fetch_objects == 1
    check(lab, 3, "result")


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_every_cell_on_other_filesystems(make_fs: MakeFs, kind: str) -> None:
    """MG-3."""
    lab = Lab(make_fs(kind, size_mib=512).path, make_fs=Hasty)  # type: ignore[arg-type]

    upgrade_all_cells(lab)

    check(lab, 2, "result")
