"""Packages are layered into a staged tree through a real guard, and no other tree changes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from cow import inside
from cow.inside import run_inside
from cow.mounting import BIND, mount
from rootman.errors import Refused, SystemFailure
from rootman.layer.record import read_layer
from rootman.merge.anew import merge_again
from rootman.seal import UNKNOWN, SealRecord
from rootman.session import read_state
from rootman.upgrade import Options
from tests.builders import build, differences, directory, file, published, snapshot, symlink
from tests.fault.faulty import Forked, Hasty
from tests.layers import TOOL, keep, with_manager
from tests.stores import Lab, Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootman.layer.layering import Job
    from tests.builders import Snapshot
    from tests.conftest import MakeFs

OPTIONS: Final = Options(inside=run_inside)
WITHOUT: Final = Options(inside=run_inside, no_layer=True)


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    return prepare(Lab(tmp_on_ext4, make_fs=Hasty))


def prepare(lab: Lab) -> Lab:
    """Have version 1, and two more that differ in a file."""
    for version in (1, 2, 3):
        lab.publish(version, with_manager({"etc/issue": file(str(version))}), config=("/etc",))
    lab.init()
    lab.upgrade(1)
    return lab


def layered(lab: Lab, version: int) -> Snapshot:
    """Return what a version is to be with ``tool``."""
    tree = with_manager({"etc/issue": file(str(version)), **TOOL})
    return published(snapshot(build(lab.home / f"wanted.{version}", tree)))


def leftovers(lab: Lab) -> list[str]:
    """Return the mounts in the store that any process still sees, and who is in there."""
    stages, found = str(lab.control / "staging"), []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                found += [
                    f"{process.name}: {line}"
                    for line in (process / "mountinfo").read_text().splitlines()
                    if f" {stages}" in line
                ]
            except OSError:
                continue  # it ended
    return found


def test_packages_are_in_the_new_tree_and_nowhere_else(lab: Lab) -> None:
    """LY-4, LY-5, LY-7, S5: written in place, by chmod or by rename; again at each upgrade."""
    keep(lab, "tool")
    before = {1: snapshot(lab.tree(1))}

    for version in (2, 3):
        lab.heard = Listener()
        result = lab.upgrade(version, options=OPTIONS)

        assert result.layered == ("tool",)
        assert not result.uncarried
        assert not lab.heard.warnings
        made = snapshot(lab.tree(version))
        assert differences(published(made), layered(lab, version)) == []
        for number, was in before.items():
            if lab.tree(number).exists():
                assert differences(snapshot(lab.tree(number)), was) == []
        before[version] = made
        assert {one.damaged for one in lab.verify(version)} == {False}
        assert lab.drift_of_spare(version) == []
    assert lab.scan().is_settled
    assert leftovers(lab) == []


def test_the_record_is_the_releases(lab: Lab) -> None:
    """LY-7, ST-18, ST-28: what was layered is noted beside it, and nothing touched has a stamp."""
    keep(lab, "tool")
    lab.upgrade(2, options=OPTIONS)

    record_fd = os.open(lab.control / "trees/2", os.O_RDONLY)
    try:
        record = SealRecord(record_fd, "record")
        stamps = record.stamps(record.digests())
        layer = read_layer(record)
    finally:
        os.close(record_fd)

    assert stamps["usr/bin"] == UNKNOWN
    assert stamps["usr/sbin"] != UNKNOWN
    assert layer is not None
    assert layer.packages == ("tool",)
    assert layer.marks.keys() >= {b"./usr/bin/su", b"./usr/bin/tool", b"./etc/tool.conf"}
    assert layer.marks[b"./usr/bin/tool"][0] == (lab.tree(2) / "usr/bin/tool").stat().st_ino


def test_what_was_changed_after_a_layer_is_told(lab: Lab) -> None:
    """LY-1: and all of it, once the layer is another, or left out."""
    keep(lab, "tool")
    lab.upgrade(2, options=OPTIONS)
    (lab.tree(2) / "usr/bin/mine").write_text("mine")
    tool = lab.tree(2) / "usr/bin/tool"
    tool.write_text("changed")

    result = lab.upgrade(3, options=Options(dry_run=True, inside=run_inside))
    without = lab.upgrade(3, options=Options(dry_run=True, no_layer=True))

    assert result.uncarried is not None
    assert [one.path for one in result.uncarried.paths] == [b"usr/bin/mine", b"usr/bin/tool"]
    assert not result.uncarried.packages
    assert without.uncarried is not None
    assert without.uncarried.wanted == ("tool",)
    assert b"usr/bin/su" in {one.path for one in without.uncarried.paths}


def test_what_the_release_has_is_not_installed(lab: Lab) -> None:
    """LY-5."""
    keep(lab, "base", "tool")
    lab.publish(4, with_manager({"var/lib/dpkg/info/tool:amd64.list": file("x")}))

    assert lab.upgrade(2, options=Options(dry_run=True)).layered == ("tool",)
    result = lab.upgrade(4)

    assert result.layered == ()
    assert lab.verdict(4) == "pristine"


def test_a_merge_at_shutdown_leaves_a_layer_alone(lab: Lab) -> None:
    """MG-17, MG-19: that would take the configuration of its packages away; it is told."""
    keep(lab, "tool")
    lab.upgrade(2, options=OPTIONS)
    (lab.tree(1) / "etc/later").write_text("later")

    with lab.session() as opened:
        assert merge_again(opened, read_state(opened), "olpc.1") is None

    assert lab.heard.warnings[-1] == (
        "what was changed in the configuration of olpc.1 after the upgrade is not in olpc.2: "
        "olpc.2 has configuration of a layer, which is not made anew "
        "(hint: rootman config-diff 1 2)"
    )
    assert (lab.tree(2) / "etc/tool.conf").exists()


def test_a_layer_comes_with_a_first_installation(tmp_on_ext4: Path) -> None:
    """LY-4."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    lab.publish(1, with_manager({"etc/issue": file("1")}))
    lab.init()
    keep(lab, "tool")

    lab.upgrade(1, options=OPTIONS)

    assert differences(published(snapshot(lab.tree(1))), layered(lab, 1)) == []


def refused(lab: Lab, version: int) -> str:
    """Upgrade, which must fail and leave all as it was; return its message and its hint."""
    before = _kept(lab)
    with pytest.raises((SystemFailure, Refused)) as caught:
        lab.upgrade(version, options=OPTIONS)
    assert _kept(lab) == before
    assert lab.scan().is_settled
    assert leftovers(lab) == []
    return f"{caught.value} (hint: {caught.value.hint})"


def _kept(lab: Lab) -> tuple[object, ...]:
    """Return what a command that fails must leave as it is."""
    settings = (lab.control / "state.json").read_bytes()
    return lab.scan(), settings, lab.link("current"), snapshot(lab.tree(1))


def test_a_package_manager_that_fails_fails_the_upgrade(lab: Lab) -> None:
    """LY-8, S6, TR-3: with its last words, and the ways out."""
    keep(lab, "broken")

    assert refused(lab, 2) == (
        "layer broken: apt-get: Setting up broken ...; E: this went wrong (hint: rootman upgrade "
        "--no-layer goes without, rootman layer remove for good)"
    )
    lab.upgrade(2, options=WITHOUT)
    assert lab.verdict(2) == "pristine"


def test_a_tree_that_has_no_package_manager_is_refused(lab: Lab) -> None:
    """LY-3, S6: before the first step."""
    keep(lab, "tool")
    lab.publish(4, {"etc/issue": file("4")})
    lab.heard = Listener()

    assert refused(lab, 4).startswith("version 4 has no package manager for the layer (apt-get)")
    assert lab.heard.steps == []


def test_a_full_disk_fails_the_upgrade(make_fs: MakeFs) -> None:
    """LY-8: within the guard; nothing is left of it."""
    lab = prepare(Lab(make_fs(size_mib=48).path, make_fs=Hasty))
    keep(lab, "full")
    free = os.statvfs(lab.home).f_bavail

    assert "E: /usr/bin/filler: No space left on device" in refused(lab, 2)
    assert os.statvfs(lab.home).f_bavail >= free - 64


class _Deadly(Listener):
    """A reporter that kills its process when a package is being set up."""

    def said(self, text: str) -> None:
        if text.startswith("Setting up"):
            os.kill(os.getpid(), signal.SIGKILL)


def test_nothing_goes_on_when_rootman_is_killed(lab: Lab) -> None:
    """LY-9, S4: neither the package manager, which would wait for ever, nor the guard."""
    keep(lab, "endless")
    before = snapshot(lab.tree(1))

    def upgrade() -> None:
        lab.heard = _Deadly()
        lab.upgrade(2, options=OPTIONS)

    assert Forked(upgrade).result() is None
    state = lab.look()

    assert (state.is_settled, [tree.name for tree in state.trees]) == (True, ["olpc.1"])
    assert leftovers(lab) == []
    assert differences(snapshot(lab.tree(1)), before) == []


def test_nothing_goes_on_when_rootman_is_interrupted(lab: Lab) -> None:
    """LY-9: control-C reaches rootman, which does not wait for the package manager."""
    keep(lab, "endless")

    class Interrupting(Listener):
        def said(self, text: str) -> None:
            raise KeyboardInterrupt(text)

    lab.heard = Interrupting()
    with pytest.raises(KeyboardInterrupt, match="Setting up"):
        lab.upgrade(2, options=OPTIONS)

    assert leftovers(lab) == []
    lab.heard = Listener()
    assert lab.look().is_settled


def test_a_daemon_that_a_package_starts_ends_with_the_layer(lab: Lab) -> None:
    """LY-9: it is no child of the package manager by then."""
    keep(lab, "daemon")

    lab.upgrade(2, options=OPTIONS)

    assert leftovers(lab) == []


def test_no_symlink_of_a_tree_leads_out_of_it(lab: Lab) -> None:
    """LY-4, S5: what is mounted is mounted in the tree, wherever its own links lead."""
    outside = lab.home / "outside"
    outside.mkdir()
    tree = with_manager({"run": symlink(str(outside)), "etc/issue": file("4")})
    lab.publish(4, {**tree, str(outside)[1:]: directory()})
    keep(lab, "tool")

    lab.upgrade(4, options=OPTIONS)

    assert list(outside.iterdir()) == []
    assert (lab.tree(4) / "usr/bin/tool").exists()


def test_a_guard_that_cannot_be_mounted_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """LY-8."""
    keep(lab, "tool")
    monkeypatch.setattr(inside, "MOUNTPOINT", "missing")

    assert "missing" in refused(lab, 2)


def _bind_the_stage_itself(job: Job, readies: int) -> int:
    """Be no guard: the tree is mounted where a guard would be."""
    mount(f"{job.stage}/root", f"{job.stage}/mnt", BIND)
    os.write(readies, b"r")
    os.close(readies)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.pause()
    return 0


def _forget_the_stamps(patch: pytest.MonkeyPatch) -> None:
    from rootman.building import Building

    patch.setattr(Building, "_replace_stamps", lambda *_: None)


@pytest.mark.parametrize(
    ("mutate", "test"),
    [
        (
            lambda patch: patch.setattr(inside, "_guard", _bind_the_stage_itself),
            test_packages_are_in_the_new_tree_and_nowhere_else,
        ),
        (_forget_the_stamps, test_the_record_is_the_releases),
    ],
    ids=["S5 there is no guard", "LY-7 stamps stay"],
)
def test_a_mutant_is_found(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Callable[[pytest.MonkeyPatch], None],
    test: Callable[[Lab], None],
) -> None:
    mutate(monkeypatch)

    with pytest.raises(AssertionError):
        test(lab)
