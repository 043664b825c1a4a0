"""Configuration that changes between an upgrade and the reboot, and at a rollback."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rootman.boot.marking import Finished
from rootman.errors import Busy
from rootman.merge import anew, staging
from rootman.merge.configuration import note_of
from rootman.merge.note import parse_note
from rootman.overview import overview
from rootman.room import room_of
from rootman.seal import UNKNOWN, SealRecord
from rootman.session import look
from tests.builders import (
    TIME,
    Tree,
    build,
    differences,
    fifo,
    file,
    hardlink,
    published,
    snapshot,
)
from tests.fault.faulty import Hasty, interposed
from tests.fs import test_merge
from tests.fs.test_merge_store import CONFIG, ROOT, V1, V2, prepare, put, text, told
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rootman.merge.note import MergeNote
    from tests.builders import Snapshot
    from tests.conftest import MakeFs
    from tests.fault.faulty import Call
    from tests.filesystems import Kind
    from tests.numbers import Number


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    prepare(lab)
    return lab


def etc(lab: Lab, number: Number) -> Snapshot:
    return published(snapshot(lab.tree(number) / "etc"))


def note(lab: Lab, number: Number) -> MergeNote:
    found = parse_note((lab.control / f"trees/{number}/merge.json").read_bytes())
    assert found is not None
    return found


def findings(result: Finished) -> dict[str, str]:
    assert result.merge is not None
    return {one.path.decode(): one.kind for one in result.merge.findings}


def problems(lab: Lab) -> list[str]:
    """Return what ``status`` shows of problems with configuration."""
    with look(str(lab.store), Hasty, lab.heard) as view:
        return [one for one in overview(view, Hasty)["problems"] if "configuration" in one]


def restore_time(lab: Lab, number: Number, path: str = "etc") -> None:
    os.utime(lab.tree(number) / path, ns=(TIME, TIME))


# --- what comes of it --------------------------------------------------------------------------


def test_what_changes_after_the_upgrade_is_there_after_the_reboot(lab: Lab) -> None:
    """MG-17, BT-62: as if the upgrade had been made just now; but nothing else is touched."""
    put(lab, 1, "etc/conf.d/one", "first")
    put(lab, 1, "etc/passwd", f"{ROOT}me:x:1000:1000::/home:/bin/sh\n")
    lab.upgrade(2)
    put(lab, 1, "etc/conf.d/one", "second")
    put(lab, 1, "etc/issue", "mine\n")
    put(lab, 1, "etc/passwd", f"{ROOT}me:x:1000:1000::/home:/bin/zsh\n")
    (lab.tree(1) / "etc/conf.d/two").unlink()
    restore_time(lab, 1, "etc/conf.d")
    before = snapshot(lab.tree(1))

    result = lab.finish(1)

    assert findings(result) == {
        "etc/conf.d/one": "kept",
        "etc/conf.d/two": "kept",
        "etc/issue": "conflict",
        "etc/passwd": "merged",
    }
    assert text(lab, 2, "etc/conf.d/one") == "second"
    assert not (lab.tree(2) / "etc/conf.d/two").exists()
    assert text(lab, 2, "etc/issue") == "mine\n"
    assert text(lab, 2, "etc/issue.rootman-new") == "version 2\n"
    assert "/bin/zsh\nnew:" in text(lab, 2, "etc/passwd")
    assert differences(snapshot(lab.tree(1)), before) == []
    assert [one.path for one in lab.verify(2) if not one.path.startswith(b"etc")] == []
    assert (lab.link("current"), lab.link("previous")) == ("olpc.2", "olpc.1")


def _have(lab: Lab, side: str) -> None:
    """Have in all cells of the tree that runs what one side has, in inodes of its own."""
    made = build(lab.home / "made", test_merge.placed(side))
    for name in test_merge.CELLS:
        shutil.rmtree(lab.tree(1) / "etc" / name)
        os.rename(made / "etc" / name, lab.tree(1) / "etc" / name)
    restore_time(lab, 1)
    shutil.rmtree(made)


def test_every_cell_of_the_table_again(tmp_on_ext4: Path) -> None:
    """MG-17, MG-18: all that an upgrade does, whatever was merged before; and then no more."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    lab.publish(1, test_merge.placed("base"), config=CONFIG)
    lab.publish(2, test_merge.placed("new"), config=CONFIG)
    lab.init()
    lab.upgrade(1)
    _have(lab, "result")
    lab.upgrade(2)
    _have(lab, "local")

    first = lab.finish(1)

    test_merge.check(lab, 2, "result")
    conflicts = {path for path, kind in findings(first).items() if kind == "conflict"}
    cells = test_merge.CELLS.items()
    assert conflicts == {f"etc/{name}/{path}" for name, it in cells for path in it.conflicts}
    assert not any(one.damaged for one in lab.verify(2))
    calls: list[Call] = []
    assert lab.finish(1, interposed(Hasty(), calls.append)).merge is None
    assert {call.op for call in calls} == {"fsync", "freeze_thaw"}


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_every_cell_again_on_other_filesystems(make_fs: MakeFs, kind: Kind) -> None:
    """MG-17, MG-18: also the times of directories that are exchanged."""
    test_every_cell_of_the_table_again(make_fs(kind, size_mib=512).path)


def test_what_was_taken_back_is_taken_back(lab: Lab) -> None:
    """MG-17: the release's default is there again, and what was beside it is not."""
    put(lab, 1, "etc/issue", "mine\n")
    (lab.tree(1) / "etc/conf.d/two").unlink()
    lab.upgrade(2)
    sealed = lab.spare(2)
    for name in ("etc/issue", "etc/conf.d/two"):
        (lab.tree(1) / name).unlink(missing_ok=True)
        shutil.copy2(lab.source(1) / name, lab.tree(1) / name)
    for name in ("etc", "etc/conf.d"):
        restore_time(lab, 1, name)

    lab.finish(1)

    assert lab.verdict(2) == "pristine"
    for name in ("etc/issue", "etc/conf.d/two"):
        assert (lab.tree(2) / name).samefile(sealed / name)
    assert not (lab.tree(2) / "etc/issue.rootman-new").exists()


def test_config_paths_may_be_files_and_come_and_go(tmp_on_ext4: Path) -> None:
    """MG-18: each by itself, with what lies beside it; a directory above it is only touched."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    config = ("/boot/one", "/boot/three", "/boot/two", "/etc")
    old: Tree = {"boot/kernel": file("1"), "boot/one": file("1"), "boot/two": file("2"), **V1}
    new: Tree = {**old, "boot/one": file("1 new"), "boot/two": file("2 new")}
    lab.publish(4, old, config=config)
    lab.publish(5, new, config=config)
    lab.init()
    lab.upgrade(4)
    put(lab, 4, "boot/one", "mine")
    lab.upgrade(5)
    assert note(lab, 5).beside == (b"boot/one.rootman-new",)
    (lab.tree(4) / "boot/one").unlink()
    shutil.copy2(lab.source(4) / "boot/one", lab.tree(4) / "boot/one")
    (lab.tree(4) / "boot/two").unlink()
    put(lab, 4, "boot/three", "mine, too")

    lab.finish(4)

    found = {path.name: path.read_text() for path in (lab.tree(5) / "boot").iterdir()}
    expected = {"kernel": "1", "one": "1 new", "three": "mine, too", "two.rootman-new": "2 new"}
    assert found == expected
    assert {one.path for one in lab.verify(5)} == {
        b"boot/three", b"boot/two", b"boot/two.rootman-new",
    }  # fmt: skip
    assert note(lab, 5).beside == (b"boot/two.rootman-new",)


def test_what_is_not_shared_stays_one_inode(tmp_on_ext4: Path) -> None:
    """MG-18, MG-5: hardlinked empty files, and fifos, changed here and changed back."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    tree: Tree = {"etc/a": file(), "etc/b": hardlink("etc/a"), "etc/pipe": fifo(), "x": file("1")}
    lab.publish(1, tree, config=CONFIG)
    lab.publish(2, {**tree, "x": file("2")}, config=CONFIG)
    lab.init()
    lab.upgrade(1)
    (lab.tree(1) / "etc/b").unlink()
    (lab.tree(1) / "etc/pipe").chmod(0o600)
    lab.upgrade(2)
    os.link(lab.tree(1) / "etc/a", lab.tree(1) / "etc/b")
    restore_time(lab, 1)

    lab.finish(1)

    assert (lab.tree(2) / "etc/a").samefile(lab.tree(2) / "etc/b")
    assert [one.path for one in lab.verify(2)] == [b"etc/pipe"]


def test_the_next_upgrade_takes_it_for_any_local_change(lab: Lab) -> None:
    """MG-1, MG-12, ST-22: its record is that of the release; the spare is what was sealed."""
    lab.upgrade(2)
    put(lab, 1, "etc/issue", "mine\n")
    lab.finish(1)

    result = lab.upgrade(3)

    assert told(result) == {"etc/issue": "kept", "etc/issue.rootman-new": "kept"}
    assert result.needs is not None
    assert result.needs.fetch_objects == 2
    assert text(lab, 3, "etc/issue") == "mine\n"
    assert lab.drift_of_spare(3) == []
    assert lab.heard.warnings == []


def test_a_directory_that_is_made_anew_has_no_stamp(lab: Lab) -> None:
    """MG-18, ST-18."""
    lab.upgrade(2)
    put(lab, 1, "etc/conf.d/one", "local")
    lab.finish(1)

    record_fd = os.open(lab.control / "trees/2", os.O_RDONLY)
    try:
        record = SealRecord(record_fd, "record")
        stamps = record.stamps(record.digests())
    finally:
        os.close(record_fd)

    assert {stamps["etc"], stamps["etc/conf.d"]} == {UNKNOWN}
    assert stamps["usr/bin"] != UNKNOWN


def test_where_an_inode_has_no_room_for_a_link_it_is_copied(lab: Lab) -> None:
    """MG-18."""
    lab.upgrade(2)
    put(lab, 1, "etc/conf.d/one", "local")

    def refuse(call: Call) -> None:
        if call.op == "link" and call.paths[1].endswith("root/etc/conf.d/two"):
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    lab.finish(1, interposed(Hasty(), refuse))

    assert text(lab, 2, "etc/conf.d/one") == "local"
    assert [one.what for one in lab.verify(2) if one.path == b"etc/conf.d/two"] == []
    assert not (lab.tree(2) / "etc/conf.d/two").samefile(lab.tree(1) / "etc/conf.d/two")


def test_what_makes_the_spare_is_no_use_of_the_new_tree(lab: Lab) -> None:
    """MG-17: neither a clone, nor a tree that is rolled forward, shows in what was merged."""
    put(lab, 1, "etc/conf.d/one", "mine")
    put(lab, 1, "etc/issue", "mine\n")
    lab.upgrade(2)
    lab.upgrade(3)
    put(lab, 2, "etc/conf.d/two", "mine")

    result = lab.finish(2)

    assert lab.heard.warnings == []
    assert "etc/conf.d/two" in findings(result)


def test_it_may_be_done_twice(lab: Lab) -> None:
    """MG-17: by hand before a shutdown, and then at it."""
    lab.upgrade(2)
    for content in ("once", "twice"):
        put(lab, 1, "etc/conf.d/one", content)
        lab.finish(1)
        assert text(lab, 2, "etc/conf.d/one") == content
    assert lab.heard.warnings == []


# --- when it is not done -----------------------------------------------------------------------


def use_it(lab: Lab) -> None:
    """Have the new tree changed by whoever booted it."""
    put(lab, 2, "etc/machine-id", "2")


def use_an_attribute(lab: Lab) -> None:
    """Have only what lstat shows by the time of change."""
    os.setxattr(lab.tree(2) / "etc/conf.d/one", "user.mine", b"here")


def use_in_place(lab: Lab) -> None:
    path = lab.tree(2) / "etc/conf.d/one"
    before = path.stat()
    path.write_text("tsrif")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("use", [use_it, use_an_attribute, use_in_place])
def test_a_tree_that_was_used_is_left_alone_and_that_is_told(
    lab: Lab, use: Callable[[Lab], None]
) -> None:
    """MG-17, MG-19: status shows it, and the next command; it is over at the end of that boot."""
    put(lab, 1, "etc/conf.d/one", "first")
    lab.upgrade(2)
    put(lab, 1, "etc/issue", "mine\n")
    use(lab)
    before = etc(lab, 2)

    lab.finish(1)

    what = "what was changed in the configuration of olpc.1 after the upgrade is not in olpc.2"
    expected = f"{what}: olpc.2 was changed since, too (hint: rootman config-diff 1 2)"
    assert lab.heard.warnings == [expected]
    assert etc(lab, 2) == before
    assert problems(lab) == [expected]
    lab.pin(2)
    assert lab.heard.warnings == [expected] * 2
    lab.finish(2)
    assert problems(lab) == []
    assert not (lab.control / "trees/2/merge.json").exists()


@pytest.mark.parametrize("runs", ["", "olpc.2", "olpc.3", "other.1"])
def test_only_what_runs_is_merged(lab: Lab, runs: str) -> None:
    """MG-17: and not where it is not known what runs."""
    lab.upgrade(2)
    put(lab, 1, "etc/issue", "mine\n")

    with lab.session() as opened:
        assert anew.merge_again(opened, lab.scan(), runs) is None

    assert lab.verdict(2) == "pristine"


def test_a_switch_that_was_undone_is_not_merged_into(lab: Lab) -> None:
    """MG-16, MG-17: nor one that was taken as it is, after that."""
    lab.upgrade(2)
    put(lab, 1, "etc/issue", "mine\n")

    lab.rollback()
    assert lab.finish(1).merge is None
    result = lab.rollback()
    assert lab.finish(1).merge is None

    assert [one.path for one in result.left] == [b"etc/issue"]
    assert lab.verdict(2) == "pristine"
    assert lab.heard.warnings == []


def test_a_tree_in_use_is_left_alone(lab: Lab) -> None:
    """MG-17, MG-19: a shell in it is a user."""
    lab.upgrade(2)
    put(lab, 1, "etc/issue", "mine\n")
    fd = os.open(lab.tree(2), os.O_RDONLY)
    try:
        assert lab.finish(1).merge is None
    finally:
        os.close(fd)

    assert "is in use by" in problems(lab)[0]
    assert lab.verdict(2) == "pristine"
    assert lab.finish(1).merge is not None  # now it can
    assert problems(lab) == []


def test_a_damaged_note_is_none(lab: Lab) -> None:
    """ST-27."""
    lab.upgrade(2)
    put(lab, 1, "etc/issue", "mine\n")
    (lab.control / "trees/2/merge.json").write_text("{}")

    assert lab.finish(1).merge is None
    assert lab.verdict(2) == "pristine"


def test_a_spare_was_merged_of_nothing(lab: Lab) -> None:
    """ST-27, ST-10."""
    put(lab, 1, "etc/issue", "mine\n")
    lab.upgrade(2)

    assert (lab.control / "trees/2/merge.json").exists()
    assert not list((lab.control / "staging").rglob("merge.json"))


# --- what fails --------------------------------------------------------------------------------


def given_up(lab: Lab) -> Finished:
    """Have a merge at shutdown that is as good as done when its time is up."""

    def wait(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 1e-6)
        signal.pause()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, note_of.__name__, wait)
        return lab.finish(1)


def test_what_takes_too_long_is_given_up(lab: Lab) -> None:
    """MG-19: what the upgrade merged stays, whatever it was that took so long."""
    put(lab, 1, "etc/conf.d/one", "first")
    lab.upgrade(2)
    put(lab, 1, "etc/conf.d/one", "second")
    before = etc(lab, 2)

    result = given_up(lab)

    assert result == Finished("olpc.2", None)
    assert etc(lab, 2) == before
    assert problems(lab)[0].endswith(": it took longer than 10 s (hint: rootman config-diff 1 2)")
    assert lab.scan().is_settled


def test_what_is_given_up_is_done_the_next_time(lab: Lab) -> None:
    """MG-19, MG-18: it leaves no trace in what it had linked."""
    put(lab, 1, "etc/conf.d/one", "first")
    lab.upgrade(2)
    put(lab, 1, "etc/conf.d/one", "second")
    given_up(lab)

    result = lab.finish(1)

    assert problems(lab) == []
    assert findings(result) == {"etc/conf.d/one": "kept"}


def test_what_fails_twice_is_told_where_it_fails(lab: Lab) -> None:
    """MG-19: where not even the note can be written."""
    lab.upgrade(2)
    put(lab, 1, "etc/issue", "mine\n")

    def refuse(call: Call) -> None:
        if call.op in ("mkdir", "create"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert lab.finish(1, interposed(Hasty(), refuse)).merge is None

    (warning,) = lab.heard.warnings
    assert "No space left on device; and that is not noted for the next boot: " in warning
    assert problems(lab) == []


def test_without_room_nothing_is_begun(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """S6, MG-17."""
    lab.upgrade(2)
    put(lab, 1, "etc/issue", "mine\n")
    room = room_of
    monkeypatch.setattr(anew, room_of.__name__, lambda fd: replace(room(fd), free_inodes=17))
    lab.heard.steps.clear()

    lab.finish(1)

    assert "this needs 19 inodes and 17 are free" in problems(lab)[0]
    assert not any(step.startswith("merge") for step in lab.heard.steps)


def test_a_filesystem_that_cannot_exchange_keeps_the_first_merge(lab: Lab) -> None:
    """MG-18, MG-19: by two renames there would be a moment without configuration."""
    lab.upgrade(2)
    put(lab, 1, "etc/issue", "mine\n")

    def refuse(call: Call) -> None:
        if call.op == "exchange":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    assert lab.finish(1, interposed(Hasty(), refuse)).merge is None

    assert "Invalid argument" in problems(lab)[0]
    assert lab.verdict(2) == "pristine"
    assert lab.scan().is_settled


# --- at a rollback -----------------------------------------------------------------------------


def test_a_rollback_carries_configuration_along(lab: Lab) -> None:
    """MG-20: into what is there, which was changed, too; all is told, and nothing is left."""
    put(lab, 1, "etc/conf.d/two", "of 1")
    lab.upgrade(2)
    put(lab, 1, "etc/conf.d/two", "of 1 again")
    put(lab, 1, "etc/only", "in 1")
    put(lab, 2, "etc/conf.d/one", "of 2")
    put(lab, 2, "etc/conf.d/two", "of 2")
    put(lab, 2, "etc/passwd", text(lab, 2, "etc/passwd") + "me:x:1000:1000::/home:/bin/sh\n")
    put(lab, 2, "etc/issue", "of 2")
    before = snapshot(lab.tree(2))

    result = lab.rollback(keep_config=True)

    assert result.left == ()
    assert {one.path.decode(): one.kind for one in result.carried} == {
        "etc/conf.d/one": "kept",
        "etc/conf.d/two": "conflict",
        "etc/issue": "conflict",
        "etc/passwd": "merged",
    }
    conflicts = [one for one in result.carried if one.kind == "conflict"]
    assert {one.what for one in conflicts} == {("changed here and in olpc.1",)}
    assert text(lab, 1, "etc/conf.d/one") == "of 2"
    assert text(lab, 1, "etc/conf.d/two") == "of 2"
    assert text(lab, 1, "etc/conf.d/two.rootman-new") == "of 1 again"
    assert text(lab, 1, "etc/only") == "in 1"
    assert text(lab, 1, "etc/passwd") == f"{ROOT}me:x:1000:1000::/home:/bin/sh\n"
    assert differences(snapshot(lab.tree(2)), before) == []
    assert lab.link("current") == "olpc.1"
    assert not any(one.damaged for one in [*lab.verify(1), *lab.verify(2)])
    kept = (lab.control / "trees/1").glob("*.default")
    assert {one.read_text() for one in kept} >= {"one", "version 1\n"}
    assert text(lab, 1, "etc/issue.rootman-new") == "version 1\n"


def test_a_second_time_changes_nothing(lab: Lab) -> None:
    """MG-20, TR-14."""
    lab.upgrade(2)
    put(lab, 1, "etc/conf.d/one", "of 1")
    put(lab, 2, "etc/conf.d/one", "of 2")
    lab.rollback(keep_config=True)
    found = etc(lab, 1)
    lab.rollback()

    assert lab.rollback(keep_config=True).left == ()

    assert etc(lab, 1) == found


def test_a_tree_in_use_is_refused(lab: Lab) -> None:
    """MG-20, S6: before anything is changed."""
    lab.upgrade(2)
    put(lab, 2, "etc/conf.d/one", "of 2")
    fd = os.open(lab.tree(1), os.O_RDONLY)
    try:
        with pytest.raises(Busy, match=r"^olpc.1 is in use by"):
            lab.rollback(keep_config=True)
    finally:
        os.close(fd)

    assert lab.link("current") == "olpc.2"
    assert lab.verdict(1) == "pristine"


def test_where_nothing_was_changed_nothing_is_merged(lab: Lab) -> None:
    """MG-20."""
    lab.upgrade(2)
    lab.heard.steps.clear()

    assert lab.rollback(keep_config=True).carried == ()

    assert not any(step.startswith("merge") for step in lab.heard.steps)
    assert lab.verdict(1) == "pristine"


def test_what_was_carried_along_is_not_merged_again(lab: Lab) -> None:
    """MG-16, MG-20: the tree that was gone back to had a note of its own."""
    lab.upgrade(2)
    lab.rollback()
    put(lab, 1, "etc/conf.d/one", "of 1")
    lab.rollback(keep_config=True)
    put(lab, 1, "etc/conf.d/one", "of 1, later")

    assert lab.finish(1).merge is None

    assert text(lab, 2, "etc/conf.d/one") == "of 1"
    assert lab.heard.warnings == []


def test_a_directory_that_only_the_tree_that_is_left_has(lab: Lab) -> None:
    """MG-20, MG-4: it comes along with its metadata; what its release alone has does not."""
    lab.publish(4, {**V2, "etc/new.d/a": file("a"), "etc/new.d/b": file("b")}, config=CONFIG)
    lab.upgrade(4)
    put(lab, 4, "etc/new.d/a", "mine")
    (lab.tree(4) / "etc/new.d").chmod(0o700)

    result = lab.rollback(keep_config=True)

    assert {path.name for path in (lab.tree(1) / "etc/new.d").iterdir()} == {"a"}
    assert (lab.tree(1) / "etc/new.d").stat().st_mode & 0o777 == 0o700
    assert {one.kind for one in result.carried} == {"conflict"}
    assert any(
        "not in olpc.1" in what or "olpc.1" in what for it in result.carried for what in it.what
    )
