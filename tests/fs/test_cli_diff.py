"""``rootman diff``, end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.builders import TIME, Tree, char, directory, file, hardlink, symlink

if TYPE_CHECKING:
    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

OLD: Tree = {
    "added.later/x": file("x"),
    "content": file("1"),
    "device": char(1, 3),
    "gone": file("gone"),
    "link": symlink("old target"),
    "linked": file("l"),
    "linked.too": file("l"),
    "mode": file("m", mode=0o644),
    "owner": file("o"),
    "same": file("same"),
    "time": file("t"),
    "type": file("t"),
    "xattr": file("x", xattrs={"user.old": b"1", "user.both": b"1"}),
}
NEW: Tree = {
    **OLD,
    "added\nhere \udce9": file("a"),
    "content": file("2"),
    "device": char(1, 5),
    "link": symlink("new"),
    "linked.too": hardlink("linked"),
    "mode": file("m", mode=0o4755),
    "owner": file("o", uid=1000, gid=7),
    "time": file("t", time=TIME + 1),
    "type": directory(),
    "xattr": file("x", xattrs={"user.new": b"1", "user.both": b"2"}),
}
del NEW["gone"]


def test_every_kind_of_difference_has_its_words(machine: Machine) -> None:
    machine.install(OLD, NEW)

    assert machine.run("diff", 1, 2).lines == [
        r"A added\012here\040\351",
        "M content (content)",
        "M device (device 1,3 -> 1,5)",
        "D gone",
        r"M link (target old\040target -> new)",
        "M linked (hardlinks)",
        "M linked.too (hardlinks)",
        "M mode (mode 0644 -> 4755)",
        "M owner (uid 0 -> 1000, gid 0 -> 7)",
        "M time (time)",
        "M type (type file -> dir)",
        "M xattr (xattr.user.both, xattr.user.old removed, xattr.user.new added)",
        "1 added, 1 removed, 10 changed",
    ]


def test_the_document_has_the_values(machine: Machine) -> None:
    machine.install({"a": file("1"), "b": file("b")}, {"a": file("1", mode=0o600), "c": file("c")})

    assert machine.document("diff", 1, 2) == {
        "from": 1,
        "from_name": "olpc.1",
        "to": 2,
        "to_name": "olpc.2",
        "differences": [
            {
                "path": "a",
                "kind": "changed",
                "what": [{"keyword": "mode", "old": "0644", "new": "0600"}],
            },
            {"path": "b", "kind": "removed", "what": []},
            {"path": "c", "kind": "added", "what": []},
        ],
        "added": 1,
        "removed": 1,
        "changed": 1,
    }


def test_a_version_does_not_differ_from_itself(machine: Machine) -> None:
    machine.install(OLD)

    assert machine.run("diff", 1, 1).lines == ["0 added, 0 removed, 0 changed"]
    assert machine.document("diff", 1, 1)["differences"] == []


def test_local_changes_make_no_difference(machine: Machine) -> None:
    machine.install({"a": file("1")}, {"a": file("1")})
    (machine.tree(2) / "a").unlink()

    assert machine.run("diff", 1, 2).lines == ["0 added, 0 removed, 0 changed"]


def test_a_version_that_is_not_here_is_named(machine: Machine) -> None:
    machine.install({"a": file("1")})

    line = machine.refused("diff", 1, 2, code=8)

    assert line == "rootman: diff: olpc.2: no such tree (hint: there are olpc.1)"
