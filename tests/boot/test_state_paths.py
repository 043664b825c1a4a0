"""State paths: what makes their directories, and what binds them, on a store with versions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rootman import upgrade
from rootman.boot.statedirs import MadeState, drop_generation, make_state
from rootman.boot.states import names_anywhere, paths_for, read_state_record
from rootman.demand import Room
from rootman.errors import InvalidInput, NoSpace
from rootman.statepaths import StateRecord, parse_state_record
from rootman.store import open_store
from rootman.upgrade import Options
from tests.boot.shells import SHELLS
from tests.boot.test_initramfs import ROOMS, Device
from tests.builders import directory, fifo, file, hardlink, rsync_differences, snapshot, symlink
from tests.fault.faulty import interposed
from tests.fault.sweep import suffer
from tests.numbers import number
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.builders import Tree
    from tests.conftest import MakeFs
    from tests.fault.faulty import Call, Mode

pytestmark = pytest.mark.loopfs

TREE: Tree = {
    **{name: directory() for name in ROOMS},
    "var": directory(0o750, uid=5, xattrs={"user.of": b"var"}),
    "var/db": file("db", 0o640, uid=6, gid=7, xattrs={"user.a": b"b"}),
    "var/again": hardlink("var/db"),
    "var/pipe": fifo(0o600),
    "var/to": symlink("db"),
    "var/hole": file(b"", hole=1 << 20),
    "var/lib": directory(),
    "home/me": directory(0o700),
    "srv": symlink("var"),
}
STATE = ("/var", "/home")


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    """Version 1 wants nothing of the state; version 2, current, does."""
    lab = Lab(tmp_on_ext4)
    lab.init()
    for version, state in ((1, ()), (2, STATE)):
        lab.publish(version, {**TREE, "etc/issue": file(str(version))}, state=state)
        lab.upgrade(version)
    return lab


def make(
    lab: Lab, version: int, left: Path | None = None, place: Path | None = None
) -> list[MadeState]:
    with open_store(str(lab.store)) as store:
        return make_state(
            lab.make_fs(), store, number(version),
            left=str(left) if left else None, place=str(place) if place else None,
        )  # fmt: skip


def same(one: Path, other: Path) -> bool:
    """Return whether all below two directories is the same, and they themselves."""
    return not rsync_differences(one, other)


def test_a_tree_says_what_it_wants(lab: Lab) -> None:
    """ST-23."""
    with open_store(str(lab.store)) as store:
        assert read_state_record(store, number(1)) == StateRecord()
        assert read_state_record(store, number(2)) == StateRecord(1, ("home", "var"))
        assert paths_for(store, number(2)) == []
    text = (lab.control / "trees/2/state.paths").read_text()
    assert text == "1\nhome\nvar\n"


def test_of_state_in_state_the_outer_one_counts() -> None:
    """ST-23."""
    assert StateRecord.of(("/var", "/var/lib/x", "/varnish"), 3) == StateRecord(
        3, ("var", "varnish")
    )
    wants = StateRecord.of(("/var/lib/x", "/srv/a"), 1)
    assert wants.missing(["var"]) == ("srv:a",)
    assert wants.missing(["var:lib", "srv"]) == ()


@pytest.mark.parametrize("data", [b"", b"x\n", b"0\n", b"1\xff\n", "²\n".encode()])
def test_a_damaged_record_is_told(data: bytes) -> None:
    """ST-23."""
    with pytest.raises(InvalidInput, match="it: damaged"):
        parse_state_record(data, "it")
    wants = StateRecord(7, ("a", "b c"))
    assert parse_state_record(wants.serialise(), "it") == wants


def test_what_the_tree_left_has_goes_on_whole(lab: Lab) -> None:
    """BT-70 ST-24: with all that was changed there; what it has not is the default."""
    left = lab.tree(1)
    (left / "var/db").unlink()
    (left / "var/db").write_text("mine")
    (left / "var/new").write_text("new")
    (left / "home/me").rmdir()
    (left / "home").rmdir()

    made = make(lab, 2, left)

    assert made == [MadeState("/home", "olpc.2"), MadeState("/var", "the tree that ran last")]
    state = lab.control / "state"
    assert same(state / "1/var", left / "var")
    assert same(state / "1/home", lab.tree(2) / "home")
    assert os.listdir(state) == ["1"]
    assert (state / "1/var/hole").stat().st_blocks == 0
    assert (state / "1/var/to").lstat().st_ino != (left / "var/to").lstat().st_ino


def test_once_it_is_there_it_is_left_alone(lab: Lab) -> None:
    """ST-24: also what is in another one is there."""
    make(lab, 2, lab.tree(1))
    (lab.control / "state/1/var/db").write_text("changed")
    before = snapshot(lab.control / "state")
    lab.publish(3, TREE, state=(*STATE, "/var/lib"))
    lab.upgrade(3)

    assert make(lab, 2, lab.tree(2)) == make(lab, 3, lab.tree(2)) == []
    assert snapshot(lab.control / "state") == before


def test_a_path_that_a_release_adds_comes_to_what_is_there(lab: Lab) -> None:
    """BT-70 ST-24: from the tree that ran last, and what there is none of is none."""
    make(lab, 2, lab.tree(1))
    lab.publish(3, {**TREE, "opt/a": directory()}, state=(*STATE, "/opt/a"))
    lab.upgrade(3)
    (lab.control / "state/.new").mkdir()
    (lab.control / "state/.new/left").write_text("by a power cut")

    assert make(lab, 3, lab.tree(2)) == [MadeState("/opt/a", "olpc.3")]
    assert sorted(os.listdir(lab.control / "state/1")) == ["home", "opt:a", "var"]
    assert os.listdir(lab.control / "state") == ["1"]
    with open_store(str(lab.store)) as store:
        assert paths_for(store, number(1)) == ["/home", "/opt/a", "/var"]


def test_a_generation_begun_anew_has_nothing_of_the_others(lab: Lab) -> None:
    """BT-70."""
    make(lab, 2, lab.tree(1))
    (lab.control / "trees/2/state.paths").write_text("2\nvar\n")
    (lab.tree(1) / "var/new").write_text("new")

    assert make(lab, 2, lab.tree(1)) == [MadeState("/var", "olpc.2")]
    assert same(lab.control / "state/2/var", lab.tree(2) / "var")
    with open_store(str(lab.store)) as store:
        assert names_anywhere(store, 1) == ["home", "var"]


def test_what_the_store_has_goes_to_a_place_of_its_own(lab: Lab, tmp_path: Path) -> None:
    """BT-72."""
    make(lab, 2, lab.tree(1))
    (lab.control / "state/1/var/db").write_text("changed")

    made = make(lab, 2, lab.tree(1), tmp_path)

    assert [one.what for one in made] == ["the store", "the store"]
    assert same(tmp_path / "1/var", lab.control / "state/1/var")
    assert make(lab, 2, lab.tree(1), tmp_path) == []


def test_a_generation_of_the_store_goes_to_a_place_of_its_own_too(lab: Lab, tmp_path: Path) -> None:
    """BT-72: what is in it since a reset, and not what the tree has itself."""
    (lab.control / "trees/2/state.paths").write_text("2\nhome\nvar\n")
    (lab.control / "state/2/var").mkdir(parents=True)
    (lab.control / "state/2/var/since").touch()

    made = make(lab, 2, lab.tree(1), tmp_path)

    assert made == [MadeState("/home", "the tree that ran last"), MadeState("/var", "the store")]
    assert os.listdir(tmp_path / "2/var") == ["since"]


def test_a_symlink_is_no_state(lab: Lab) -> None:
    """BT-70: it might lead anywhere."""
    (lab.control / "trees/2/state.paths").write_text("1\nsrv\n")

    assert make(lab, 2, lab.tree(1)) == [MadeState("/srv", None)]


def test_what_does_not_fit_is_not_there(lab: Lab, make_fs: MakeFs) -> None:
    """BT-70 ST-24: and the next making has the room."""
    place = make_fs("ext4", size_mib=16).path
    (lab.tree(1) / "var/big").write_bytes(os.urandom(20 << 20))

    with pytest.raises(NoSpace, match=r"state /var: it cannot be copied: .*No space left"):
        make(lab, 2, lab.tree(1), place)
    assert "1" not in os.listdir(place)
    (lab.tree(1) / "var/big").unlink()

    assert len(make(lab, 2, lab.tree(1), place)) == 2


def test_it_is_durable_before_it_has_its_name(lab: Lab) -> None:
    """ST-24."""
    seen: list[Call] = []
    fs = interposed(lab.make_fs(), seen.append)

    with open_store(str(lab.store)) as store:
        make_state(fs, store, number(2), left=str(lab.tree(1)))

    ops = [call.op for call in seen if call.op != "unlink"]
    assert ops == ["mkdir", "fsync", "mkdir", "syncfs", "move", "fsync"]


@pytest.mark.parametrize("mode", ["kill", "EIO", "ENOSPC"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_fault_at_every_call(lab: Lab, mode: Mode, is_first: bool) -> None:  # noqa: FBT001
    """ST-24 S4: what has its name is whole, and the next making makes what is missing."""
    here = () if is_first else ("var",)
    state, left = lab.control / "state/1", str(lab.tree(1))
    at = 0
    while True:
        at += 1
        shutil.rmtree(lab.control / "state", ignore_errors=True)
        for name in here:
            (state / name).mkdir(parents=True)
        with open_store(str(lab.store)) as store:
            outcome = suffer(
                lab, lambda _, fs: make_state(fs, store, number(2), left=left), mode, at
            )
            there = sorted(os.listdir(state)) if state.exists() else []
            assert there in (list(here), ["home", "var"]), outcome
            make(lab, 2, lab.tree(1))
        assert sorted(os.listdir(state)) == ["home", "var"], outcome
        assert same(state / "home", lab.tree(1) / "home"), outcome
        assert {"1"} <= set(os.listdir(lab.control / "state")) <= {"1", ".new"}, outcome
        if not outcome.fired:
            break
    assert at > 6


@pytest.mark.parametrize("mode", ["kill", "EIO"])
def test_a_fault_at_every_call_that_removes_state(lab: Lab, mode: Mode) -> None:
    """ST-25: a generation is there whole or has no name, and what is left goes with the next."""
    at = 0
    fired = True
    while fired:
        at += 1
        for generation in (1, 2):
            (lab.control / f"state/{generation}/var/lib").mkdir(parents=True, exist_ok=True)
        with open_store(str(lab.store)) as store:
            outcome = suffer(lab, lambda _, fs: drop_generation(fs, store, 1), mode, at)
            fired = bool(outcome.fired)
            if (lab.control / "state/1").exists():
                assert (lab.control / "state/1/var/lib").is_dir(), outcome
            drop_generation(lab.make_fs(), store, 1)
        assert os.listdir(lab.control / "state") == ["2"], outcome
    assert at > 4


def test_an_upgrade_says_what_its_first_boot_makes(tmp_on_ext4: Path) -> None:
    """BT-74: once."""
    lab = Lab(tmp_on_ext4)
    lab.init()
    for version, state in ((1, ()), (2, STATE), (3, STATE)):
        lab.publish(version, {**TREE, "etc/issue": file(str(version))}, state=state)

    assert lab.upgrade(1).new_state == ()
    assert lab.upgrade(2, options=Options(dry_run=True)).new_state == ("/home", "/var")
    assert lab.upgrade(2).new_state == ("/home", "/var")
    make(lab, 2, lab.tree(1))
    assert lab.upgrade(3).new_state == ()


def test_an_upgrade_has_looked_for_the_room(
    tmp_on_ext4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BT-74, S6: for what is there now."""
    lab = Lab(tmp_on_ext4)
    lab.init()
    for version, state in ((1, ()), (2, STATE)):
        lab.publish(version, TREE, state=state)
    lab.upgrade(1)
    monkeypatch.setattr(upgrade, "room_of", lambda _: Room(4 << 20, None))
    lab.upgrade(2, options=Options(dry_run=True))
    (lab.tree(1) / "var/big").write_bytes(bytes(range(256)) * (16 << 10))

    with pytest.raises(NoSpace):
        lab.upgrade(2)


def test_state_within_configuration_is_none(tmp_on_ext4: Path) -> None:
    """BT-75 MG-3: what was changed there is not merged, nor told. ST-26: a shell knows what is."""
    lab = Lab(tmp_on_ext4)
    lab.init()
    tree: Tree = {**TREE, "etc/state/x": file("x"), "etc/conf": file("conf")}
    for version in (1, 2):
        more = {"etc/state/y": file(str(version)), "etc/issue": file(str(version))}
        lab.publish(version, {**tree, **more}, config=["/etc"], state=["/etc/state"])
    lab.upgrade(1)
    for name in ("state/x", "state/y", "conf"):
        (lab.tree(1) / f"etc/{name}").unlink()
        (lab.tree(1) / f"etc/{name}").write_text("mine")
    (lab.tree(1) / "etc/state/new").write_text("mine")

    merge = lab.upgrade(2).merge

    assert merge is not None
    assert [one.path for one in merge.findings] == [b"etc/conf"]
    assert (lab.tree(2) / "etc/state/x").read_text() == "x"
    assert sorted(os.listdir(lab.tree(2) / "etc/state")) == ["x", "y"]
    assert (lab.control / "trees/2/config.paths").read_text() == "/etc\n"


class Wanting(Device):
    """A device whose version 2 wants state, which its rootman makes: busybox and this script."""

    SCRIPT = """#!/bin/busybox sh
echo "$@"
cd "$7" || exit 1
echo "of $(/bin/busybox cat etc/issue)"
for name in var home; do
    where=${9:-/rootfs/.rootman/state}/1/$name
    /bin/busybox mkdir -p "${where%/*}" && /bin/busybox cp -a "$name" "$where"
done
"""

    def of(self, version: int) -> tuple[Tree, Sequence[str]]:
        tree: Tree = {"var/of": file(str(version)), "srv": directory()}
        if version == 1:
            return tree, ()
        tree["bin/busybox"] = file(Path("/bin/busybox").read_bytes(), 0o755)
        tree["usr/bin/rootman"] = file(self.SCRIPT, 0o755)
        return tree, STATE

    @property
    def lacks(self) -> list[str]:
        return (self.home / "run/lacks").read_text().split()


@pytest.fixture(params=SHELLS)
def device(tmp_on_ext4: Path, request: pytest.FixtureRequest) -> Wanting:
    return Wanting(tmp_on_ext4, request.param)


def test_the_first_boot_makes_it_of_what_ran_last(device: Wanting) -> None:
    """BT-70: by the rootman of the tree that boots."""
    device.boot("rootman.tree=olpc.1 rootman.mode=rw", 'echo mine >"$root/var/mine"')

    said = device.boot("rootman.tree=olpc.2 rootman.mode=ro", 'cat "$root/var/mine"')

    assert said.code == 0
    assert said.lines == [
        "--rootfs /rootfs boot make-state 2 --from /run/rootman/left",
        "of 1",
        "rootman: olpc.2 (of the loader), ro",
        "mine",
    ]
    assert device.lacks == []
    assert "ran" in os.listdir(device.lab.control / "boot")
    assert (device.lab.control / "boot/ran").read_text() == "olpc.2\nro\n"


def test_what_was_changed_below_an_overlay_goes_on(device: Wanting) -> None:
    """BT-70: as it was seen there."""
    device.boot("rootman.tree=olpc.1 rootman.mode=overlay", 'echo mine >"$root/var/mine"')

    said = device.boot("rootman.tree=olpc.2 rootman.mode=ro", 'cat "$root/var/mine"')

    assert said.lines[-1] == "mine"


def test_it_is_the_same_for_all_versions(device: Wanting) -> None:
    """BT-71: also for one that does not know of it, and it can be written where the tree cannot."""
    device.boot("rootman.tree=olpc.2 rootman.mode=ro", 'echo mine >"$root/var/mine"')

    old = device.boot("rootman.tree=olpc.1 rootman.mode=ro", 'cat "$root/var/mine"')
    again = device.boot("rootman.tree=olpc.2 rootman.mode=overlay", 'cat "$root/var/mine"')

    assert old.lines == ["rootman: olpc.1 (of the loader), ro", "mine"]
    assert again.lines == ["rootman: olpc.2 (of the loader), overlay", "mine"]
    assert not (device.lab.tree(1) / "var/mine").exists()
    assert not (device.lab.control / "overlay/2/upper/var").exists()


def test_what_is_in_another_comes_after_it(device: Wanting) -> None:
    """BT-71 ST-23."""
    state = device.lab.control / "state/1"
    for name in ("home", "var", "var:lib", "var-x"):
        (state / name).mkdir(parents=True)
    (state / "var/lib").mkdir()
    (state / "var:lib/there").touch()

    said = device.boot("rootman.tree=olpc.2 rootman.mode=ro", 'ls "$root/var/lib"')

    assert said.lines[-1] == "there"
    assert "rootman: no directory for the state var-x in olpc.2" in said.lines
    assert device.lacks == ["var-x"]


def test_no_symlink_is_followed(device: Wanting) -> None:
    """BT-71."""
    device.boot("rootman.tree=olpc.2 rootman.mode=ro")
    (device.lab.control / "state/1/srv:in").mkdir()
    srv = device.lab.tree(2) / "srv"
    srv.rmdir()
    srv.symlink_to(device.home)
    (device.home / "in").mkdir()

    device.boot("rootman.tree=olpc.2 rootman.mode=ro", 'ls "$2/in"')

    assert device.lacks == ["srv:in"]


def test_each_generation_is_bound_alone(device: Wanting) -> None:
    """ST-23."""
    device.boot("rootman.tree=olpc.2 rootman.mode=ro", 'echo mine >"$root/var/mine"')
    (device.lab.control / "trees/1/state.paths").write_text("2\n")
    (device.lab.control / "state/2/var").mkdir(parents=True)

    said = device.boot("rootman.tree=olpc.1 rootman.mode=ro", 'ls "$root/var"')

    assert said.lines == ["rootman: olpc.1 (of the loader), ro"]


@pytest.mark.parametrize("missing", ["rootfs", "usr/bin/rootman"])
def test_what_cannot_be_made_stops_no_boot(device: Wanting, missing: str) -> None:
    """BT-73: it is said, and noted."""
    path = device.lab.tree(2) / missing
    path.rename(path.with_name("gone"))

    said = device.boot("rootman.tree=olpc.2 rootman.mode=ro", 'ls "$root/var"')

    assert said.code == 0
    assert "rootman: the state was not made" in said.lines
    assert "rootman: no state var: what is written there stays in olpc.2" in said.lines
    assert device.lacks == ["home", "var"]
    assert said.lines[-1] == "of"


def test_a_device_of_its_own(device: Wanting, make_fs: MakeFs) -> None:
    """BT-72: what the store has is copied there by the tree's rootman."""
    place = make_fs("ext4", size_mib=16)
    options = f"rootman.tree=olpc.2 rootman.mode=ro rootman.state={place.device}"

    said = device.boot(options, 'cat "$root/var/of"')

    where = "--place /run/rootman/state/rootman-state"
    assert said.lines[0].endswith(f"--from /run/rootman/left {where}")
    assert said.lines[-1] == "1"
    assert (place.path / "rootman-state/1/var/of").read_text() == "1"
    assert not (device.lab.control / "state").exists()


def test_a_device_that_is_not_there(device: Wanting) -> None:
    """BT-72 BT-73: nothing is bound in its place."""
    device.boot("rootman.tree=olpc.2 rootman.mode=ro", 'echo mine >"$root/var/mine"')

    said = device.boot(
        "rootman.tree=olpc.2 rootman.mode=ro rootman.state=/dev/none", 'ls "$root/var"'
    )

    assert said.code == 0
    assert "rootman: the state is on /dev/none, which cannot be mounted" in said.lines
    assert said.lines[-1] == "of"
    assert "mine" not in said.lines
    assert device.lacks == ["/dev/none"]
