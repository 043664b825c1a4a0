"""Local configuration and the rest of a store: what is read, races, repair, bundles, refusals."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from rootman.errors import Busy, InvalidInput, Refused
from rootman.merge import configuration, local
from rootman.seal import UNKNOWN, SealRecord
from rootman.upgrade import Options
from tests.builders import TIME, Tree, directory, file, hardlink, published, snapshot, symlink
from tests.fault.faulty import Hasty
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from rootman.manifest import Entry
    from rootman.merge.local import Changes
    from rootman.upgrade import UpgradeResult
    from tests.builders import Snapshot
    from tests.numbers import Number

CONFIG: Final = ("/etc",)
ROOT: Final = "root:x:0:0::/root:/bin/sh\n"
V1: Final[Tree] = {
    "etc/conf.d/one": file("one"),
    "etc/conf.d/two": file("two"),
    "etc/issue": file("version 1\n"),
    "etc/passwd": file(ROOT),
    "etc/shadow": file("root:*:1::\n", 0o640),
    "usr/bin/tool": file("1", 0o755),
}
V2: Final[Tree] = {
    **V1,
    "etc/issue": file("version 2\n"),
    "etc/passwd": file(f"{ROOT}new:x:9:9::/:/bin/false\n"),
    "etc/shadow": file("root:*:1::\nnew:!:1::\n", 0o640),
    "usr/bin/tool": file("2", 0o755),
}
V3: Final[Tree] = {**V2, "etc/conf.d/three": file("three"), "usr/bin/tool": file("3", 0o755)}


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    prepare(lab)
    return lab


def prepare(lab: Lab) -> None:
    """Publish three versions, and install the first."""
    for version, tree in enumerate((V1, V2, V3), 1):
        lab.publish(version, tree, config=CONFIG)
    lab.init()
    lab.upgrade(1)


def put(lab: Lab, number: Number, path: str, content: str) -> None:
    """Replace a file as the guard and editors do, by a new inode of the same metadata."""
    target = lab.tree(number) / path
    new = target.with_name("put")
    new.write_text(content)
    if target.exists():
        shutil.copystat(target, new)
        os.utime(new)
    os.rename(new, target)
    os.utime(target.parent, ns=(TIME, TIME))


def text(lab: Lab, number: Number, path: str) -> str:
    return (lab.tree(number) / path).read_text()


def told(result: UpgradeResult) -> dict[str, str]:
    assert result.merge is not None
    return {one.path.decode(): one.kind for one in result.merge.findings}


def contents(lab: Lab) -> Snapshot:
    """Return what is in the store, apart from who had it last."""
    found = published(snapshot(lab.store))
    del found[b".rootman/lock"]
    return found


def test_what_nobody_changed_is_not_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """MG-2: not one entry is described, no manifest looked through."""

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(configuration, "describe_changes", refuse)
    monkeypatch.setattr(local.Lines, "of_config", refuse)

    result = lab.upgrade(2)

    assert told(result) == {}
    assert lab.verdict(2) == "pristine"


def test_a_user_and_a_password_survive(lab: Lab) -> None:
    """MG-9: and again at the next upgrade, which has the base of both files (ST-22)."""
    put(lab, 1, "etc/passwd", f"{ROOT}me:x:1000:1000::/home:/bin/sh\n")
    put(lab, 1, "etc/shadow", "root:secret:2::\nme:mine:2::\n")

    first = lab.upgrade(2)
    put(lab, 2, "etc/shadow", text(lab, 2, "etc/shadow").replace("mine", "changed"))
    second = lab.upgrade(3)

    assert told(first) == {"etc/passwd": "merged", "etc/shadow": "merged"}
    assert told(second) == {"etc/passwd": "kept", "etc/shadow": "kept"}
    assert text(lab, 3, "etc/passwd") == (
        f"{ROOT}me:x:1000:1000::/home:/bin/sh\nnew:x:9:9::/:/bin/false\n"
    )
    assert text(lab, 3, "etc/shadow") == "root:secret:2::\nme:changed:2::\nnew:!:1::\n"
    assert (lab.tree(3) / "etc/shadow").stat().st_mode & 0o777 == 0o640


def test_what_was_removed_is_known_by_the_base(lab: Lab) -> None:
    """MG-9, ST-22: a user who was deleted here does not come back with one who is new."""
    lab.upgrade(2)
    lab.publish(
        4, {**V2, "etc/passwd": file(f"{ROOT}new:x:9:9::/:/bin/false\nd:x:8:8:::\n")}, config=CONFIG
    )
    put(lab, 2, "etc/passwd", ROOT)

    lab.upgrade(4)

    assert text(lab, 4, "etc/passwd") == f"{ROOT}d:x:8:8:::\n"


def test_lines_are_merged_where_that_was_asked_for(lab: Lab) -> None:
    """MG-10."""
    lines = "".join(f"{number}\n" for number in range(9))
    rules = '[[config]]\npaths = ["/etc/conf.d/*"]\nmerge = "text"\n'
    files = {"etc/conf.d/two": file(lines), "etc/rootman/merge.toml": file(rules)}
    lab.publish(4, {**V1, **files, "etc/issue": file(lines)}, config=CONFIG)
    newer = file(lines.replace("8", "theirs"))
    lab.publish(5, {**V1, **files, "etc/issue": newer, "etc/conf.d/two": newer}, config=CONFIG)
    lab.upgrade(4)
    for number in (4,):
        put(lab, number, "etc/conf.d/two", lines.replace("0", "mine"))
        put(lab, number, "etc/issue", lines.replace("0", "mine"))
    # Rules are in force that are there when a tree is sealed.
    lab.publish(6, {**V1, **files, "etc/issue": file(lines)}, config=CONFIG)
    lab.upgrade(6)

    result = lab.upgrade(5, options=Options(allow_downgrade=True))

    assert told(result) == {"etc/conf.d/two": "merged", "etc/issue": "conflict"}
    assert text(lab, 5, "etc/conf.d/two") == lines.replace("0", "mine").replace("8", "theirs")
    assert text(lab, 5, "etc/issue") == lines.replace("0", "mine")


def test_rules_that_are_broken_are_told(lab: Lab) -> None:
    """MG-10."""
    (lab.tree(1) / "etc/rootman").mkdir()
    put(lab, 1, "etc/rootman/merge.toml", "paths = 1")

    lab.upgrade(2)

    assert any("/etc/rootman/merge.toml: " in one for one in lab.heard.warnings)
    assert text(lab, 2, "etc/rootman/merge.toml") == "paths = 1"


def test_a_dry_run_tells_what_the_upgrade_does(lab: Lab) -> None:
    """MG-14."""
    put(lab, 1, "etc/issue", "mine\n")
    put(lab, 1, "etc/passwd", f"{ROOT}me:x:9:9::/home:/bin/sh\n")
    (lab.tree(1) / "etc/conf.d/two").unlink()
    before = contents(lab)

    rehearsed = lab.upgrade(2, options=Options(dry_run=True))

    assert contents(lab) == before
    done = lab.upgrade(2)
    assert rehearsed.merge == done.merge
    assert any(str(step).startswith("merge the configuration") for step in rehearsed.plan)


def test_a_file_that_changes_meanwhile_is_read_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MG-2: what is carried is what was decided on."""
    put(lab, 1, "etc/conf.d/one", "first")
    times: list[int] = []

    def racing(root_fd: int, changes: Changes) -> dict[bytes, Entry | None]:
        found = local.describe_changes(root_fd, changes)
        if not times:
            put(lab, 1, "etc/conf.d/one", "second")
        times.append(1)
        return found

    monkeypatch.setattr(configuration, "describe_changes", racing)

    lab.upgrade(2)

    assert text(lab, 2, "etc/conf.d/one") == "second"
    assert len(times) == 2
    assert not (lab.control / "staging/building.2").exists()


def test_a_file_that_never_rests_ends_the_upgrade(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MG-2, MG-11: with nothing changed."""
    put(lab, 1, "etc/conf.d/one", "first")

    def racing(root_fd: int, changes: Changes) -> dict[bytes, Entry | None]:
        found = local.describe_changes(root_fd, changes)
        put(lab, 1, "etc/conf.d/one", text(lab, 1, "etc/conf.d/one") + "+")
        return found

    monkeypatch.setattr(configuration, "describe_changes", racing)

    with pytest.raises(Busy, match=r"conf\.d/one: changed while it was read"):
        lab.upgrade(2)
    assert lab.scan().is_settled
    assert lab.link("current") == "olpc.1"
    assert not lab.tree(2).exists()


def test_what_is_mounted_in_configuration_is_refused(lab: Lab) -> None:
    """MG-2: it would look deleted."""
    place = lab.tree(1) / "etc/conf.d"
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        with pytest.raises(InvalidInput, match=r"conf\.d: another filesystem begins here"):
            lab.upgrade(2)
    finally:
        subprocess.run(["umount", place], check=True)

    assert lab.link("current") == "olpc.1"


def test_nothing_outside_is_read_through_a_symlink(lab: Lab) -> None:
    """MG-2."""
    outside = lab.home / "outside"
    outside.mkdir()
    (outside / "one").write_text("not ours")
    shutil.rmtree(lab.tree(1) / "etc/conf.d")
    (lab.tree(1) / "etc/conf.d").symlink_to(outside)

    lab.upgrade(2)

    assert os.readlink(lab.tree(2) / "etc/conf.d") == str(outside)
    assert [one.name for one in outside.iterdir()] == ["one"]


def test_what_was_written_in_place_is_carried(lab: Lab) -> None:
    """MG-2, MG-6: by who writes without a guard."""
    (lab.tree(1) / "etc/issue").write_text("in place\n")

    lab.upgrade(2)

    assert text(lab, 2, "etc/issue") == "in place\n"
    assert text(lab, 2, "etc/issue.rootman-new") == "version 2\n"


def test_configuration_that_has_no_place_is_refused_before_the_first_step(lab: Lab) -> None:
    """MG-4, S6."""
    config = ("/opt/app/etc",)
    old: Tree = {"opt/app/etc/x": file("base"), "other": file("x")}
    lab.publish(4, old, config=config)
    lab.publish(5, {"opt/app": symlink("/srv"), "other": file("x")}, config=config)
    lab.upgrade(4)
    put(lab, 4, "opt/app/etc/x", "local")
    lab.heard.steps.clear()

    with pytest.raises(Refused, match=r"^opt/app: no directory in the release"):
        lab.upgrade(5)

    assert lab.heard.steps == []


@pytest.mark.parametrize("news", ["one", "two"])
def test_a_directory_of_many_gives_way(lab: Lab, news: str) -> None:
    """MG-4: it has more directories than are kept open at a time (ST-22 keeps their files)."""
    many: Tree = {f"etc/many/{number}/file": file("one") for number in range(100)}
    lab.publish(4, {**V1, **many}, config=CONFIG)
    lab.publish(5, {**V1, **many, "etc/many/0/file": file(news)}, config=CONFIG)
    lab.upgrade(4)
    shutil.rmtree(lab.tree(4) / "etc/many")
    (lab.tree(4) / "etc/many").symlink_to("conf.d")

    lab.upgrade(5)

    assert os.readlink(lab.tree(5) / "etc/many") == "conf.d"
    beside = lab.tree(5) / "etc/many.rootman-new"
    assert beside.exists() == (news == "two")
    assert text(lab, 5, "etc/conf.d/one") == "one"


def test_a_merged_directory_has_no_stamp(lab: Lab) -> None:
    """MG-11: the merge may come within the same tick of the clock as the record."""
    put(lab, 1, "etc/conf.d/one", "local")
    lab.upgrade(2)

    record_fd = os.open(lab.control / "trees/2", os.O_RDONLY)
    try:
        record = SealRecord(record_fd, "record")
        stamps = record.stamps(record.digests())
    finally:
        os.close(record_fd)

    assert stamps["etc/conf.d"] == UNKNOWN
    assert stamps["usr/bin"] != UNKNOWN


def test_the_record_keeps_the_configuration_that_was_sealed(lab: Lab) -> None:
    """ST-22: by hardlinks of sealed inodes; named by their numbers."""
    kept = sorted((lab.control / "trees/1").glob("*.default"))
    there = [path.lstat() for path in (lab.tree(1) / "etc").rglob("*")]
    inodes = {one.st_ino for one in there if one.st_size and not stat.S_ISDIR(one.st_mode)}

    assert {int(path.stem) for path in kept} == inodes
    assert all(path.lstat().st_ino == int(path.stem) for path in kept)


def test_repair_leaves_local_configuration(lab: Lab) -> None:
    """MG-15: mends what is damaged beside it, and the next upgrade finds both."""
    put(lab, 1, "etc/conf.d/one", "local")
    (lab.tree(1) / "etc/conf.d/added").write_text("added")
    (lab.tree(1) / "etc/conf.d/two").write_text("damaged in place")
    (lab.tree(1) / "usr/bin/tool").write_text("damaged, too")
    assert lab.verdict(1) == "damaged"

    result = lab.repair(1)

    assert list(result.left) == []
    assert result.local >= 2
    assert text(lab, 1, "etc/conf.d/two") == "two"
    assert text(lab, 1, "etc/conf.d/one") == "local"
    assert lab.verdict(1) == "modified"
    assert {"etc/conf.d/one", "etc/conf.d/added"} <= told(lab.upgrade(2)).keys()
    assert text(lab, 2, "etc/conf.d/added") == "added"


def test_bundles_take_configuration_along(tmp_on_ext4: Path) -> None:
    """MG-1, MG-16: into a tree that is made; what a tree that is here has not is told."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    lab.publish(1, V1, config=CONFIG, lists={"more": "/usr/bin/tool"})
    lab.init()
    lab.upgrade(1)
    put(lab, 1, "etc/issue", "mine\n")

    added = lab.add("more")
    put(lab, "1.1", "etc/conf.d/one", "mine, too")
    removed = lab.remove("more")

    assert told(added) == {"etc/issue": "kept"}
    assert text(lab, "1.1", "etc/issue") == "mine\n"
    assert [one.path for one in removed.left] == [b"etc/conf.d/one"]


def test_a_tree_that_was_taken_in_is_a_base(tmp_on_ext4: Path) -> None:
    """MG-1: it is of no release, but was sealed."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    lab.publish(1, V1)
    lab.publish(2, V2, config=CONFIG)
    lab.init(lab.source(1), 1)
    put(lab, 1, "etc/issue", "mine\n")

    assert told(lab.upgrade(2)) == {"etc/issue": "conflict"}


def test_a_device_without_config_paths_is_as_ever(tmp_on_ext4: Path) -> None:
    """MG-1: the release says what is configuration."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    lab.publish(1, V1)
    lab.publish(2, V2)
    lab.init()
    lab.upgrade(1)
    put(lab, 1, "etc/issue", "mine\n")

    result = lab.upgrade(2)

    assert result.merge is None
    assert lab.verdict(2) == "pristine"


def test_many_local_changes_do_not_cost_the_spare(lab: Lab) -> None:
    """MG-12: they would look as if it could not be trusted."""
    for number in range(150):
        put(lab, 1, f"etc/conf.d/local{number}", "local")
    lab.upgrade(2)
    lab.upgrade(3)
    lab.publish(4, {**V3, "usr/bin/tool": file("4", 0o755)}, config=CONFIG)

    result = lab.upgrade(4)

    assert "start version 4 from the spare (a clone of version 3)" in lab.heard.steps
    assert result.needs is not None
    assert (result.needs.restored, result.needs.fetch_objects) == (0, 1)
    assert len(list((lab.tree(4) / "etc/conf.d").iterdir())) == 153


def test_a_group_within_one_side_is_one_inode(lab: Lab) -> None:
    """MG-5: of three names two are moved aside, by what stands in a directory's place."""
    group: Tree = {"etc/d": directory(), "etc/d/a": file("g"), "etc/d/b": hardlink("etc/d/a")}
    lab.publish(4, {**V1, **group}, config=CONFIG)
    lab.publish(5, {**V1, **group, "etc/d/c": file("new")}, config=CONFIG)
    lab.upgrade(4)
    shutil.rmtree(lab.tree(4) / "etc/d")
    (lab.tree(4) / "etc/d").write_text("a file here")

    lab.upgrade(5)

    moved = lab.tree(5) / "etc/d.rootman-new"
    assert (moved / "a").samefile(moved / "b")
    assert text(lab, 5, "etc/d") == "a file here"
    assert lab.verdict(5) == "modified"
