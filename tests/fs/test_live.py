"""What of a new version comes into what runs without a reboot, and what does not."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from rootman.live.applying import ASIDE
from tests.builders import snapshot
from tests.fault.faulty import Call, Hasty, interposed
from tests.fault.living import content_of, live, prepare
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rootman.live.planning import Offer, Waiting
    from tests.builders import Facts, Snapshot

pytestmark = pytest.mark.loopfs

APPLIED = [
    b"etc/changed", b"etc/mode", b"etc/new.d", b"etc/new.d/one", b"etc/new.d/two", b"etc/pair",
    b"etc/pair.2", b"etc/systemd", b"etc/systemd/system", b"etc/systemd/system/it.service.d",
    b"etc/systemd/system/it.service.d/more.conf", b"etc/type", b"usr/bin/new", b"usr/share/empty",
    b"usr/share/link", b"usr/share/taken/dir", b"usr/share/taken/dir/inner",
]  # fmt: skip
KEPT = {
    b"etc/deleted": "removed here",
    b"etc/edited": "changed here",
    b"usr/share/taken/file": "something else is there",
}
WAITING = {
    b"boot/initrd": "a kernel, or what comes with it",
    b"boot/vmlinuz": "a kernel, or what comes with it",
    b"etc/gone": "removed by the release",
    b"usr/bin/tool": "changed by the release",
    b"usr/bin/tool.2": "other names of the file are here already",
    b"usr/lib/modules/1": "a kernel, or what comes with it",
    b"usr/lib/modules/1/m.ko": "a kernel, or what comes with it",
    b"usr/lib/modules/2": "a kernel, or what comes with it",
    b"usr/lib/modules/2/m.ko": "a kernel, or what comes with it",
}


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    prepare(lab)
    return lab


def test_what_is_new_and_what_nobody_changed_comes_along(lab: Lab) -> None:
    """AL-1 AL-2 AL-3 AL-5 S5: and the tree that it comes from stays what it is."""
    before, wanted = snapshot(lab.tree(1)), snapshot(lab.tree(2))

    plan = live(lab, Hasty())

    now = snapshot(lab.tree(1))
    assert sorted(_paths(plan.applied)) == APPLIED
    assert _why(plan.kept) == KEPT
    assert _why(plan.waiting) == WAITING
    assert plan.units == ("it.service",)
    assert snapshot(lab.tree(2)) == wanted
    for path in now:
        source = wanted if path in APPLIED else before
        assert _facts(now[path]) == _facts(source[path]), path
    inodes = {facts.inode for facts in wanted.values()}
    assert not [path for path in APPLIED if now[path].inode in inodes]
    assert now[b"etc/new.d/one"].group == (b"etc/new.d/one", b"etc/new.d/two")
    assert now[b"etc/pair"].group == (b"etc/pair", b"etc/pair.2")


def test_twice_is_once(lab: Lab) -> None:
    """AL-4."""
    live(lab, Hasty())
    once = snapshot(lab.tree(1))

    plan = live(lab, Hasty())

    assert (_paths(plan.applied), sorted(_paths(plan.there))) == ([], APPLIED)
    assert _without_root(snapshot(lab.tree(1))) == _without_root(once)


def test_what_an_earlier_run_left_aside_goes_and_a_group_is_made_whole(lab: Lab) -> None:
    """AL-3 AL-4: a file with two names, of which one came before the run was cut off."""
    live(lab, Hasty())
    wanted = content_of(lab)
    (lab.tree(1) / "etc/new.d/two").unlink()
    (lab.tree(1) / ASIDE).mkdir()
    (lab.tree(1) / ASIDE / "0").write_text("half")

    assert _paths(live(lab, Hasty()).applied) == [b"etc/new.d/two"]
    assert content_of(lab) == wanted


def test_what_is_not_as_released_in_the_new_version_waits(lab: Lab) -> None:
    """AL-3: content is verified while it is copied."""
    new = lab.tree(2) / "usr/bin/new"
    new.unlink()
    new.write_bytes(b"another")

    assert _why(live(lab, Hasty()).waiting).get(b"usr/bin/new") == "not there as the release has it"
    assert not (lab.tree(1) / "usr/bin/new").exists()


def test_what_changes_at_the_last_moment_stays(lab: Lab) -> None:
    """AL-2: what is there when it would be replaced is looked at again."""
    tree = lab.tree(1)

    def change(call: Call) -> None:
        if call.op == "syncfs" and not (tree / "usr/bin/new").exists():
            (tree / "usr/bin/new").write_text("mine")
            os.unlink(tree / "etc/changed")
            (tree / "etc/changed").write_text("mine")

    kept = _why(live(lab, interposed(Hasty(), change)).kept)

    assert kept.get(b"usr/bin/new") == "something else is there"
    assert kept.get(b"etc/changed") == "changed here"
    assert (tree / "usr/bin/new").read_text() == (tree / "etc/changed").read_text() == "mine"


def test_all_is_on_the_disk_before_the_first_gets_its_name(lab: Lab) -> None:
    """AL-4."""
    ops: list[str] = []
    live(lab, interposed(Hasty(), lambda call: ops.append(call.op)))

    made = max(index for index, op in enumerate(ops) if op in ("create", "write", "set_time"))
    synced = ops.index("syncfs")
    placed = min(ops.index(op) for op in ("move", "rename"))
    assert made < synced < placed
    assert ops.count("syncfs") == 2


def test_what_is_mounted_over_the_running_tree_is_left_alone(lab: Lab) -> None:
    """AL-1: what is applied would be below what is seen."""
    kept = _why(live(lab, Hasty(), mounted=(b"etc", b"usr/share/taken/dir")).kept)

    assert kept[b"etc/changed"] == "another filesystem is mounted there"
    assert kept[b"usr/share/taken/dir/inner"] == "another filesystem is mounted there"
    assert (lab.tree(1) / "etc/changed").read_text() == "old default"


def _paths(offered: Iterable[Offer]) -> list[bytes]:
    return [one.path for one in offered]


def _why(found: Iterable[Waiting]) -> dict[bytes, str]:
    return {one.path: one.why for one in found}


def _facts(facts: Facts) -> Facts:
    """Return what a copy has, too; of a directory without what is put into it changes."""
    facts = facts._replace(inode=0, atime=0, blocks=0, group=())
    return facts._replace(mtime=0, size=0) if stat.S_ISDIR(facts.mode) else facts


def _without_root(found: Snapshot) -> Snapshot:
    return {path: facts for path, facts in found.items() if path != b"."}
