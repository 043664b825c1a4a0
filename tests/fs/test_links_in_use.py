"""Links from a tree in use: what a name leads to changes between the look at it and the link.

Each change is made at the call of link(2) itself, so that nothing depends on the moment. The
ways to get it wrong are at the end: each is found.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import pytest

import rootman.adopt
import rootman.clone
import rootman.survey
from rootman.apply import LinkedContent
from rootman.errors import InvalidInput
from tests.builders import (
    Tree,
    build,
    differences,
    file,
    hardlink,
    published,
    snapshot,
    symlink,
)
from tests.fault.faulty import Call, Hasty, interposed
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Change = Callable[[Path], None]
    Link = Callable[[Path, Change, str, str], list[str]]

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

_FILE: Final = "a/x/file"
_TOOL: Final = "bin/bash"  # the first name of a group, which the others are linked to
_FIRST: Final = "0"  # what is linked first
_TREE: Final[Tree] = {
    "0": file("first 1"),
    "a/x/empty": file(),
    "a/x/file": file("one 1"),
    "b/x/empty": file(),
    "b/x/file": file("two 1"),
    "bin/bash": file("tool 1"),
    "bin/sh": hardlink("bin/bash"),
    "etc/conf": file("conf 1"),
    "lib": symlink("b"),
}


def _version(number: int) -> Tree:
    """Return the tree of a version: 3 differs from 1 where changes are made, for roll-forward."""
    if number <= 2:
        return {**_TREE, "etc/conf": file(f"conf {number}")}
    return {
        **_TREE,
        "0": file("first 3"),
        "a/x/file": file("one 3"),
        "bin/bash": file("tool 3"),
        "etc/conf": file(f"conf {number}"),
    }


# --- what happens to the tree in use ------------------------------------------------------


def _beside(path: Path, text: str) -> Path:
    """Make a private file with all that lstat says of the sealed one, but for the inode."""
    new = path.with_name("new")
    new.write_text(text)
    status = path.lstat()
    new.chmod(status.st_mode & 0o7777)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    return new


def replace(path: Path) -> None:
    _beside(path, "other").rename(path)


def break_and_restore(path: Path) -> None:
    """Have the sealed content in a private inode, as after chmod there and back."""
    _beside(path, path.read_text()).rename(path)


def remove(path: Path) -> None:
    path.unlink()


def become_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def lose_its_directory(path: Path) -> None:
    path.parent.rename(path.parents[1] / "y")


def get_another_directory(path: Path) -> None:
    """Exchange the directory above: nothing changes in the one that the names are in."""
    above = path.parents[1]
    above.rename(above.with_name("c"))
    above.with_name("b").rename(above)
    above.with_name("c").rename(above.with_name("b"))


def get_the_number_again(path: Path) -> None:
    """Have other content in a new inode of the old number, which the filesystem had to give."""
    number = path.stat().st_ino
    path.unlink()
    taken = []
    for count in range(10_000):
        new = path.with_name(f"new.{count}")
        new.write_text("number")
        if new.stat().st_ino == number:
            new.rename(path)
            break
        taken.append(new)
    for one in taken:
        one.unlink()
    assert path.stat().st_ino == number


CHANGES: Final = (
    replace, break_and_restore, remove, become_a_directory, become_a_fifo, lose_its_directory,
)  # fmt: skip


class Race:
    """A tap that makes the change to ``path`` when ``at`` is about to be linked from ``tree``."""

    def __init__(self, tree: Path, change: Change, path: str, at: str) -> None:
        self._at = str(tree / at)
        self._path = tree / path
        self._change = change
        self._happened = False

    def __call__(self, call: Call) -> None:
        if call.op == "link" and not self._happened and call.paths[0] == self._at:
            self._happened = True
            self.sealed = self._path.stat().st_ino
            self._change(self._path)

    def leaked_into(self, tree: Path, path: str) -> list[str]:
        """Say that ``tree`` has at the path what the other was not sealed with."""
        try:
            there = self._path.stat()
            shared = os.path.samestat(there, (tree / path).stat())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [f"{tree} shares {path}"] if shared and there.st_ino != self.sealed else []


def _lab(home: Path, versions: int) -> Lab:
    lab = Lab(home, make_fs=Hasty)
    lab.init()
    for number in range(1, versions + 1):
        lab.publish(number, _version(number))
        lab.upgrade(number)
    lab.publish(versions + 1, _version(versions + 1))
    return lab


def _wrong(lab: Lab, version: int) -> list[str]:
    wanted, found = (snapshot(one) for one in (lab.source(version), lab.tree(version)))
    return [
        *(f"{one.path!r}: {one.what}" for one in lab.verify(version)),
        *differences(published(wanted), published(found)),
    ]


# --- where the store links ----------------------------------------------------------------


def clone_current(home: Path, change: Change, path: str, at: str) -> list[str]:
    """Upgrade from a clone of the current tree; return what is wrong with the new one."""
    lab = _lab(home, 1)
    race = Race(lab.tree(1), change, path, at)

    lab.upgrade(2, interposed(Hasty(), race))

    return [*race.leaked_into(lab.tree(2), path), *_wrong(lab, 2)]


def clone_spare(home: Path, change: Change, path: str, at: str) -> list[str]:
    """Have the first spare made while the tree that was switched to is used already."""
    return _spare(home, change, path, at, version=2)


def roll_forward(home: Path, change: Change, path: str, at: str) -> list[str]:
    """Have the tree that fell out rolled forward meanwhile."""
    return _spare(home, change, path, at, version=3)


def _spare(home: Path, change: Change, path: str, at: str, *, version: int) -> list[str]:
    """Return what is wrong with the spare and with the tree that comes of it."""
    lab = _lab(home, version - 1)
    race = Race(lab.tree(version), change, path, at)

    lab.upgrade(version, interposed(Hasty(), race))

    assert [one for one in lab.heard.warnings if "spare" in one] == []
    leaked = race.leaked_into(lab.spare(version), path)
    lab.publish(version + 1, _version(version + 1))
    lab.upgrade(version + 1)
    return [*leaked, *_wrong(lab, version + 1)]


LINKS: Final = (clone_current, clone_spare, roll_forward)


@pytest.fixture(autouse=True)
def no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing looked at again only because these trees are as young as they are."""
    monkeypatch.setattr(rootman.survey, "_GRAIN", 0)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("link", LINKS)
def test_what_comes_under_a_name_is_not_linked(
    tmp_on_ext4: Path, link: Link, change: Change
) -> None:
    """ST-20."""
    assert link(tmp_on_ext4, change, _FILE, _FILE) == []


@pytest.mark.parametrize("change", [replace, break_and_restore, remove])
@pytest.mark.parametrize("link", LINKS)
def test_what_comes_under_a_name_of_a_group_is_not_linked(
    tmp_on_ext4: Path, link: Link, change: Change
) -> None:
    """ST-20: and the group stays one."""
    assert link(tmp_on_ext4, change, _TOOL, _TOOL) == []


@pytest.mark.parametrize("link", LINKS)
def test_a_directory_that_comes_under_a_name_is_not_linked_from(
    tmp_on_ext4: Path, link: Link
) -> None:
    """ST-20: nothing changes in the directory that has the names, nor in the one above."""
    assert link(tmp_on_ext4, get_another_directory, _FILE, _FIRST) == []


def test_an_inode_number_that_is_given_again_deceives_nobody(tmp_on_ext4: Path) -> None:
    """ST-20: no other tree keeps the sealed inode, so that its number is free when it goes."""
    assert clone_current(tmp_on_ext4, get_the_number_again, _FILE, _FILE) == []


@pytest.mark.parametrize("path", [_FILE, _TOOL])
def test_a_tree_that_changes_while_it_is_taken_in_is_refused(tmp_on_ext4: Path, path: str) -> None:
    """ST-20: what was scanned is what is linked."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    source = lab.source(1)
    build(source, _TREE)

    def change(path: Path) -> None:
        path.with_name("new").write_text("other")
        path.with_name("new").rename(path)

    with pytest.raises(InvalidInput, match="changed while it was taken in"):
        lab.init(source, 1, interposed(Hasty(), Race(source, change, path, path)))

    assert lab.scan().trees == ()


# --- ways to get it wrong -----------------------------------------------------------------


class _Whatever:
    """A number that all are equal to."""

    def __getitem__(self, _: int) -> _Whatever:
        return self

    def __eq__(self, _: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def _trust_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rootman.clone._Worker, "_is_as_checked", lambda *_: True)


def _forget_what_is_below(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rootman.clone, "_with_all_below", lambda doubtful, _: doubtful)


def _link_any_inode(patch: pytest.MonkeyPatch) -> None:
    original = LinkedContent.__init__

    def mutated(self: LinkedContent, *args: Any) -> None:  # noqa: ANN401
        original(self, *args)
        self._inodes = _Whatever()  # type: ignore[assignment]

    patch.setattr(LinkedContent, "__init__", mutated)


@pytest.mark.parametrize(
    ("mutate", "race"),
    [
        (_trust_names, (clone_current, replace, _FILE)),
        (_trust_names, (clone_current, break_and_restore, _FILE)),
        (_trust_names, (clone_current, get_the_number_again, _FILE)),
        (_trust_names, (clone_spare, replace, _FILE)),
        (_forget_what_is_below, (clone_current, get_another_directory, _FIRST)),
        (_forget_what_is_below, (clone_spare, get_another_directory, _FIRST)),
        (_link_any_inode, (roll_forward, replace, _FILE)),
        (_link_any_inode, (roll_forward, get_another_directory, _FIRST)),
    ],
)
def test_a_mutant_is_found(
    tmp_on_ext4: Path,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Callable[[pytest.MonkeyPatch], None],
    race: tuple[Link, Change, str],
) -> None:
    """Perhaps not at once: directories that a tick of the clock lies between are told apart."""
    mutate(monkeypatch)
    link, change, at = race
    homes = [tmp_on_ext4 / str(attempt) for attempt in range(10)]

    def is_found(home: Path) -> bool:
        home.mkdir()
        return link(home, change, _FILE, at) != []

    assert any(map(is_found, homes))
