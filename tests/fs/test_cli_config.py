"""Local configuration on the command line: what an upgrade tells, and ``rootman config-diff``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.builders import Tree, build, file

if TYPE_CHECKING:
    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

OLD: Tree = {"etc/issue": file("1"), "etc/mode": file("m"), "etc/gone": file("g"), "tool": file()}
NEW: Tree = {**OLD, "etc/issue": file("2"), "etc/mode": file("n")}


@pytest.fixture
def changed(machine: Machine) -> Machine:
    """Return a machine with version 1, its configuration changed, and version 2 published."""
    for version, tree in enumerate((OLD, NEW), 1):
        build(machine.source(version), tree)
        machine.run(
            "publish", machine.source(version), machine.repo, "--version", version,
            "--config", "/etc",
        )  # fmt: skip
    machine.run("init")
    machine.run("upgrade", machine.release(1))
    etc = machine.tree(1) / "etc"
    local = build(machine.home / "local", {"etc/issue": file("mine"), "etc/mode": file("m", 0o600)})
    for name in ("issue", "mode"):
        (local / "etc" / name).rename(etc / name)
    (etc / "gone").unlink()
    return machine


def test_an_upgrade_tells_what_became_of_configuration(changed: Machine) -> None:
    """MG-8, MG-14: and so does a dry run."""
    expected = [
        "configuration: 1 change kept, 1 merged, 1 conflict",
        "  conflict: etc/issue: changed here and by the release: see etc/issue.rootman-new",
    ]

    rehearsed = changed.run("upgrade", changed.repo, "--dry-run").lines
    done = changed.run("upgrade", changed.repo).lines

    for lines in (rehearsed, done):
        at = lines.index(expected[0])
        assert lines[at : at + 2] == expected


def test_the_document_of_an_upgrade_has_all_of_it(changed: Machine) -> None:
    """MG-8."""
    assert changed.document("upgrade", changed.repo)["config"] == [
        {"path": "etc/gone", "kind": "kept", "what": [], "beside": None},
        {
            "path": "etc/issue",
            "kind": "conflict",
            "what": ["changed here and by the release"],
            "beside": "etc/issue.rootman-new",
        },
        {"path": "etc/mode", "kind": "merged", "what": [], "beside": None},
    ]


def test_config_diff(changed: Machine) -> None:
    """MG-13: of the tree that is current, and of two; times apart."""
    changed.run("upgrade", changed.repo)

    assert changed.run("config-diff", 1).lines == [
        "D etc/gone",
        "M etc/issue (content)",
        "M etc/mode (mode 0644 -> 0600)",
        "0 added, 1 removed, 2 changed",
    ]
    assert changed.run("config-diff").lines == [
        "D etc/gone",
        "M etc/issue (content)",
        "A etc/issue.rootman-new",
        "M etc/mode (mode 0644 -> 0600)",
        "1 added, 1 removed, 2 changed",
    ]
    assert changed.run("config-diff", 1, 2).lines == [
        "A etc/issue.rootman-new",
        "M etc/mode (content)",
        "1 added, 0 removed, 1 changed",
    ]
    assert changed.document("config-diff", 1, 2)["changed"] == 1


def test_config_diff_of_what_is_of_no_release_is_refused(machine: Machine) -> None:
    """MG-13."""
    machine.install(OLD)

    line = machine.refused("config-diff", code=8)

    assert line == (
        "rootman: config-diff: olpc.1: its release names no configuration"
        " (hint: rootman publish --config /etc)"
    )


def test_repair_tells_what_it_leaves(changed: Machine) -> None:
    """MG-15."""
    assert changed.run("repair").lines == [
        "olpc.1 is pristine but for 4 changes of configuration, which stay"
    ]
    assert changed.document("repair")["local"] == 4


def test_a_rollback_tells_what_stays_behind(changed: Machine) -> None:
    """MG-16: what was carried is in both, whatever the release made of it, and is not told."""
    changed.run("upgrade", changed.repo)
    (changed.tree(2) / "etc/later").write_text("later")

    lines = changed.run("rollback").lines

    assert lines[1:-1] == [
        "configuration that was changed in olpc.2 and stays there:",
        "  A etc/issue.rootman-new",
        "  A etc/later",
        "before a reboot, to carry it along: rootman rollback && rootman rollback --keep-config",
    ]
    assert changed.document("rollback")["left_behind"] == []


def test_a_rollback_carries_along(changed: Machine) -> None:
    """MG-20: as it was told to after one that did not."""
    changed.run("upgrade", changed.repo)
    (changed.tree(2) / "etc/later").write_text("later")
    for name in ("tool", "issue"):
        (changed.tree(2) / f"etc/{name}.new").write_text("theirs")
        (changed.tree(2) / f"etc/{name}.new").rename(changed.tree(2) / "etc" / name)
    changed.run("rollback")
    changed.run("rollback")

    lines = changed.run("rollback", "--keep-config").lines

    assert lines[1:-1] == [
        "configuration: 2 changes kept, 0 merged, 1 conflict",
        "  conflict: etc/issue: changed here and in olpc.1: see etc/issue.rootman-new",
    ]
    assert (changed.tree(1) / "etc/later").read_text() == "later"
    document = changed.document("rollback", "--keep-config")
    (back,) = document["config"]
    assert (back["path"], back["what"]) == ("etc/issue.rootman-new", ["added here and in olpc.2"])
    assert document["left_behind"] == []


def test_what_failed_at_shutdown_is_told_after_it(changed: Machine) -> None:
    """MG-19: by status, and by each command that changes the store."""
    changed.run("upgrade", changed.repo)
    note = changed.store / ".rootman/trees/2/merge.json"
    document = json.loads(note.read_text())
    note.write_text(json.dumps({**document, "failure": "the disk was full"}))

    expected = (
        "what was changed in the configuration of olpc.1 after the upgrade is not in olpc.2:"
        " the disk was full (hint: rootman config-diff 1 2)"
    )
    assert changed.document("status")["problems"] == [expected]
    assert f"problem: {expected}" in changed.run("status").lines
    assert changed.attempt("pin", 2).err == f"rootman: pin: note: {expected}\n"
    assert changed.attempt("rollback").code == 0
    assert changed.document("status")["problems"] == []
