"""Factory reset, and what becomes of the state of before."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from rootman.errors import NotFound
from rootman.repo.repository import Repository
from rootman.reset import reset
from rootman.upgrade import Options
from tests.builders import build, directory, file, rsync_differences, snapshot
from tests.numbers import number
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from rootman.upgrade import UpgradeResult
    from tests.builders import Snapshot, Tree
    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

TREE: Tree = {
    "etc/conf": file("conf"),
    "etc/other": file("other"),
    "home/me": directory(),
    "usr/bin/tool": file("tool", 0o755),
    "usr/doc": file("doc"),
}
LISTS = {"doc": "/usr/doc\n"}


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    """Versions 1 and 2, the latter current, with a changed configuration and state."""
    lab = Lab(tmp_on_ext4)
    lab.init()
    for version in (1, 2):
        tree = {**TREE, "etc/issue": file(str(version))}
        lab.publish(version, tree, lists=LISTS, config=["/etc"], state=["/home"])
        lab.upgrade(version)
    lab.add("doc")
    for name in ("conf", "new"):
        (lab.tree("2.1") / "etc" / name).unlink(missing_ok=True)
        (lab.tree("2.1") / "etc" / name).write_text("mine")
    shutil.copytree(lab.tree(2) / "home", lab.control / "state/1/home")
    return lab


def run(
    lab: Lab, *, state: bool = False, repo: bool = False, dry_run: bool = False
) -> UpgradeResult:
    options = Options(dry_run=dry_run)
    with lab.session() as opened:
        if not repo:
            return reset(opened, None, state=state, options=options)
        with Repository.open(str(lab.repo)) as repository:
            return reset(opened, repository, state=state, options=options)


def seen(path: Path) -> Snapshot:
    """Return what is there, whenever it was read."""
    return {name: facts._replace(atime=0) for name, facts in snapshot(path).items()}


def wants(lab: Lab, tree: object) -> str:
    return (lab.control / f"trees/{tree}/state.paths").read_text()


def test_the_same_version_as_it_was_published(lab: Lab) -> None:
    """RS-1: with its bundles; what was changed stays where it was, and comes back."""
    (lab.tree("2.1") / "usr/bin/mine").write_text("mine")
    before = seen(lab.tree("2.1"))

    result = run(lab)

    assert result.number == number("2.2")
    assert (lab.link("current"), lab.link("previous")) == ("olpc.2.2", "olpc.2.1")
    assert not rsync_differences(lab.source(2), lab.tree("2.2"))
    assert seen(lab.tree("2.1")) == before
    assert wants(lab, "2.2") == wants(lab, "2.1") == "1\nhome\n"
    assert result.new_state == ()
    lab.rollback()
    assert lab.link("current") == "olpc.2.1"


def test_again_and_again(lab: Lab) -> None:
    """RS-1: also where nothing was changed."""
    run(lab)
    assert run(lab).number == number("2.3")
    assert not rsync_differences(lab.source(2), lab.tree("2.3"))


def test_a_rehearsal_changes_nothing(lab: Lab) -> None:
    before = seen(lab.store)
    lock = b".rootman/lock"

    assert run(lab, state=True, dry_run=True).new_state == ("/home",)
    after = seen(lab.store)
    assert {**after, lock: before[lock]} == before


def test_state_begins_anew(lab: Lab) -> None:
    """RS-2: in the tree that is new, and the next of its kind."""
    (lab.control / "state/2/home").mkdir(parents=True)

    assert run(lab, state=True).new_state == ("/home",)
    assert wants(lab, "2.2") == "3\nhome\n"
    assert wants(lab, "2.1") == "1\nhome\n"
    lab.publish(3, TREE, lists=LISTS, config=["/etc"], state=["/home"])
    lab.upgrade(3)

    assert wants(lab, 3) == "3\nhome\n"


def test_what_was_changed_is_taken_from_a_repository(lab: Lab) -> None:
    """RS-1: where the tree has not got it any more."""
    (lab.tree("2.1") / "usr/bin/tool").unlink()
    for spare in (lab.control / "staging").glob("spare.*"):
        (spare / "root/usr/bin/tool").unlink()
    (lab.tree(2) / "usr/bin/tool").unlink()
    before = seen(lab.tree("2.1"))

    with pytest.raises(NotFound) as caught:
        run(lab)
    assert caught.value.hint == "give a repository that has it: --from REPO"
    assert seen(lab.store / "olpc.2.1") == before
    run(lab, repo=True)

    assert not rsync_differences(lab.source(2), lab.tree("2.2"))


def test_state_that_no_version_has_goes_with_a_prune(lab: Lab) -> None:
    """ST-25: and not before."""
    run(lab, state=True)
    state = lab.control / "state"
    (state / "2/home").mkdir(parents=True)
    lab.prune(keep=0)
    assert sorted(os.listdir(state)) == ["1", "2"]
    lab.publish(3, TREE, lists=LISTS, config=["/etc"], state=["/home"])
    lab.upgrade(3)
    (state / ".gone/left").mkdir(parents=True)
    lab.prune(keep=0)

    assert os.listdir(state) == ["2"]


def test_the_command(machine: Machine) -> None:
    build(machine.source(1), TREE)
    machine.run(
        "publish", machine.source(1), "repo", "--version", 1, "--config", "/etc", "--state", "/home"
    )
    machine.run("init")
    machine.run("upgrade", "repo")
    (machine.tree(1) / "etc/conf").unlink()

    rehearsed = machine.run("reset", "--state", "--dry-run").lines
    done = machine.run("reset", "--state").lines
    document = machine.document("reset")

    assert rehearsed[0] == "olpc.1 -> olpc.1.1 would take these steps:"
    assert rehearsed[-2:] == [
        "state that begins anew at the next boot: /home", "nothing was changed",
    ]  # fmt: skip
    assert done[0].startswith("olpc.1 -> olpc.1.1: 0 added, 0 removed, 0 changed, 1 restored")
    assert done[-1] == "to go back: rootman rollback"
    assert document["tree_name"] == "olpc.1.2"
    assert not document["state_begins_anew"]
    assert "state_begins" not in machine.refused("reset", "--mirror", "x", code=2)
