"""Kernels and entries on a filesystem of their own: what is written there, and what faults leave.

The kernel of the machines that these tests run on may know no FAT, so that here an ext4 stands
for it; in ``test_loaders_qemu`` it is one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from rootman.boot.block import BootState, serialise_block
from rootman.boot.entries import install_entries
from rootman.boot.menu import kernels_in, parse_entry
from rootman.boot.menuwriter import MenuWriter
from rootman.boot.planning import plan_bad, plan_good
from tests.boot.states import read_block
from tests.boot.systemd_boot import boot_entry, choose_entry
from tests.builders import directory, file
from tests.commands import Machine
from tests.fault.faulty import Fault
from tests.fault.sweep import Trial, learn, report, suffer, sweep
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from rootman.boot.menu import Entry
    from rootman.fsops import Fs
    from tests.builders import Tree
    from tests.conftest import MakeFs
    from tests.fault.faulty import Call, Mode
    from tests.fault.states import Known

    Command = Callable[[Lab, Fs], object]

pytestmark = pytest.mark.loopfs

KINDS: Final = ("systemd-boot", "extlinux")


def tree(version: int) -> Tree:
    """Return a tree whose kernel the next one has, too, and whose initrd is its own."""
    return {
        "boot": directory(),
        "boot/vmlinuz": file(b"kernel" * (version // 2 + 1)),
        "boot/initrd": file(f"initrd {version}"),
        "boot/rootman.cfg": file(
            f"set rootman_tree=olpc.{version}\n"
            'set rootman_linux="/boot/vmlinuz"\nset rootman_initrd="/boot/initrd"\n'
            'set rootman_args="quiet"\n'
        ),
        "issue": file(str(version)),
    }


class Menu:
    """What a loader finds in the directory ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def names(self) -> set[str]:
        """The entries of ours in the menu of systemd-boot."""
        found = {path.name for path in (self.root / "loader/entries").iterdir()}
        return {name for name in found if parse_entry(name) is not None}

    @property
    def default(self) -> str:
        """The tree that the loader boots by itself."""
        if (self.root / "loader").exists():
            return choose_entry(self.names)[0] if self.names else ""
        lines = (self.root / "extlinux/extlinux.conf").read_text().splitlines()
        return next(line.split()[1] for line in lines if line.startswith("DEFAULT "))

    def boot(self) -> str:
        """Boot as systemd-boot does; return the tree."""
        before = self.names
        booted, after = boot_entry(before)
        for old, new in zip(sorted(before - after), sorted(after - before), strict=True):
            (self.root / "loader/entries" / old).rename(self.root / "loader/entries" / new)
        return booted

    def kernels(self) -> dict[str, list[Path]]:
        """Return what is loaded for each tree."""
        found: dict[str, list[Path]] = {}
        folder = self.root / ("loader/entries" if (self.root / "loader").exists() else "extlinux")
        for path in folder.glob("*.conf"):
            for name, files in kernels_in(path.read_text()).items():
                found[name] = [self.root / one for one in files]
        return found


def violations(home: Path, store: Path) -> list[str]:
    """Return what is wrong with the menu, whatever happened (BT-20 BT-21)."""
    menu = Menu(home)
    wrong = []
    for name, (linux, initrd) in menu.kernels().items():
        if not (store / name / "issue").exists():
            wrong.append(f"{name} is in the menu and not complete")
            continue
        for path, source in ((linux, "vmlinuz"), (initrd, "initrd")):
            whole = (store / name / "boot" / source).read_bytes()
            if not path.is_file() or path.read_bytes() != whole:
                wrong.append(f"{path.name} is not the {source} of {name}")
    if menu.default not in menu.kernels():
        wrong.append("nothing is the default")
    return wrong


def leftovers(home: Path) -> set[str]:
    """Return the files that belong to nothing in the menu."""
    menu = Menu(home)
    used = {path for files in menu.kernels().values() for path in files}
    used |= {home / "rootman/store", home / "loader/loader.conf", home / "extlinux/extlinux.conf"}
    there = {path for path in home.rglob("*") if path.is_file() and path.suffix != ".conf"}
    return {path.name for path in there - used}


class Device(Machine):
    """A device with versions 1 and 2, whose loader reads another filesystem."""

    @property
    def menu(self) -> Menu:
        return Menu(self.home / "efi")

    def upgrade(self, version: int) -> None:
        lab = Lab(self.home)
        if not self.source(version).exists():
            lab.publish(version, tree(version))
        lab.upgrade(version)

    @property
    def boot_state(self) -> BootState:
        return read_block(self.store / ".rootman/boot/grubenv")


@pytest.fixture(params=KINDS)
def device(tmp_on_ext4: Path, request: pytest.FixtureRequest) -> Device:
    return make_device(tmp_on_ext4, request.param)


def make_device(home: Path, kind: str) -> Device:
    prepared(kind, Lab(home))
    return Device(home)


def check(device: Device) -> None:
    assert violations(device.home / "efi", device.store) == []
    assert leftovers(device.home / "efi") == set()


def test_the_menu_follows_what_is_current(device: Device) -> None:
    """BT-20 BT-21 BT-24."""
    assert device.menu.default == "olpc.2"
    check(device)
    device.upgrade(3)
    assert device.menu.default == "olpc.3"
    assert sorted(device.menu.kernels()) == ["olpc.2", "olpc.3"]
    check(device)
    device.run("boot", "mark-good", 3)
    assert device.menu.default == "olpc.3"
    device.run("rollback")
    assert device.menu.default == "olpc.2"
    device.run("rollback")
    device.run("boot", "mark-bad", 3)
    assert device.menu.default == "olpc.2"
    check(device)
    device.upgrade(4)
    device.run("boot", "mark-good", 4)
    device.run("rollback", "--to", 2)
    device.run("prune", "--keep", 1)
    check(device)
    assert device.document("status")["problems"] == []


def test_kernels_that_versions_share_are_there_once(device: Device) -> None:
    """BT-20: versions 2 and 3 have the same one."""
    device.upgrade(3)

    assert len(list((device.home / "efi/rootman").glob("*.linux"))) == 1
    assert len(list((device.home / "efi/rootman").glob("*.initrd"))) == 2
    for path in (device.home / "efi/rootman").glob("*.linux"):
        assert path.name.startswith(hashlib.sha256(path.read_bytes()).hexdigest()[:32])


def test_an_entry_says_what_is_booted(tmp_on_ext4: Path) -> None:
    """BT-22 BT-8: in the words of the boot loader specification."""
    device = make_device(tmp_on_ext4, "systemd-boot")
    device.upgrade(3)

    text = (device.home / "efi/loader/entries/rootman-olpc.3-1+3.conf").read_text()
    words = dict(line.split(" ", 1) for line in text.splitlines())

    assert words["title"] == "olpc.3"
    assert (words["sort-key"], words["version"]) == ("rootman-1", "3")
    assert words["linux"].startswith("/rootman/")
    assert words["options"].startswith("root=UUID=")
    assert words["options"].endswith(
        " rootman.store=/" + str(device.store.relative_to(device.store.parents[1]))
        + " ro rootman.tree=olpc.3 quiet"
    )  # fmt: skip
    assert (device.home / "efi/loader/loader.conf").read_text() == "default rootman-*\ntimeout 0\n"


def test_what_systemd_boot_counts_is_read_back(
    tmp_on_ext4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BT-23: until the trial is over; then the links follow (BT-11)."""
    device = make_device(tmp_on_ext4, "systemd-boot")
    device.upgrade(3)
    lab = Lab(device.home)

    for left in (2, 1, 0):
        monkeypatch.setattr("rootman.boot.menufiles.booted_name", lambda: "olpc.3")
        assert device.menu.boot() == "olpc.3"
        assert lab.look().boot == BootState("olpc.3", left)
        assert lab.heard.warnings == []
        assert device.boot_state == BootState("olpc.3", left)
    monkeypatch.setattr("rootman.boot.menufiles.booted_name", lambda: "olpc.2")
    assert device.menu.boot() == "olpc.2"
    lab.look()
    assert device.boot_state == BootState(bad=("olpc.3",))
    assert device.links["current"] == "olpc.2"
    (warning,) = lab.heard.warnings
    assert warning.startswith("olpc.3 failed, and another tree boots: ")
    assert device.menu.names == {"rootman-olpc.2-1.conf", "rootman-olpc.3-2+0.conf"}
    check(device)


def test_once_is_once(tmp_on_ext4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BT-22 BT-5: it needs nothing but a counter of its own."""
    device = make_device(tmp_on_ext4, "systemd-boot")
    monkeypatch.setattr("rootman.boot.menufiles.booted_name", lambda: "olpc.1")

    device.run("boot", "choose", 1, "--once")

    assert [device.menu.boot() for _ in range(3)] == ["olpc.1", "olpc.2", "olpc.2"]
    Lab(device.home).look()
    assert device.boot_state == BootState()
    assert device.menu.names == {"rootman-olpc.2-1.conf", "rootman-olpc.1-2.conf"}


def test_extlinux_cannot_boot_once(tmp_on_ext4: Path) -> None:
    """BT-24."""
    device = make_device(tmp_on_ext4, "extlinux")

    assert "extlinux cannot" in device.refused("boot", "choose", 1, "--once", code=4)


def test_where_the_menu_is_not_there_nothing_is_begun(device: Device) -> None:
    """BT-20: what else is mounted at its path is left alone, and said."""
    (device.home / "efi").rename(device.home / "away")
    (device.home / "efi").mkdir()

    for command in (
        ("upgrade", device.release(3)), ("rollback",), ("boot", "mark-bad", 2),
    ):  # fmt: skip
        assert "the boot menu is not at" in device.refused(*command, code=4)
    (problem,) = device.document("status")["problems"]
    assert problem.startswith("the boot menu is not at")
    assert "the boot menu" in device.run("boot", "status").out
    assert list((device.home / "efi").iterdir()) == []
    device.run("boot", "install-entries", "--none")
    device.run("rollback")
    assert device.document("status")["problems"] == []


def test_a_tree_without_a_kernel_is_not_installed(device: Device) -> None:
    """BT-20: the loader would never boot it."""
    device.publish(4, {"issue": file("4")})

    assert "which kernel" in device.refused("upgrade", device.release(4), code=3)
    assert not device.tree(4).exists()
    check(device)


def test_a_kernel_that_does_not_fit_is_refused_before_the_tree_is_sealed(
    tmp_on_ext4: Path, make_fs: MakeFs
) -> None:
    """BT-20 S6."""
    efi = make_fs("ext4", size_mib=4, inodes=100)
    device = make_device(tmp_on_ext4, "extlinux")
    device.run("boot", "install-entries", efi.path, "--loader", "systemd-boot")
    large = file(bytes(4 << 20))
    device.publish(4, {**tree(4), "boot/initrd": large})
    # By the names that it has in Debian it is known before it is fetched.
    device.publish(5, {**tree(5), "boot/vmlinuz-5": large, "boot/initrd.img-5": file("5")})

    for version in (5, 4):
        line = device.refused("upgrade", device.release(version), code=6)
        assert f"the kernel of olpc.{version} needs 4.1 MiB and" in line
        assert not device.tree(version).exists()
        assert version == 4 or list((device.store / ".rootman/objects").iterdir()) == []
        assert violations(efi.path, device.store) == []
        assert leftovers(efi.path) == set()


def test_what_is_of_others_is_left_alone(tmp_on_ext4: Path) -> None:
    """BT-20."""
    device = make_device(tmp_on_ext4, "extlinux")
    other = tmp_on_ext4 / "other"
    (other / "extlinux").mkdir(parents=True)
    (other / "extlinux/extlinux.conf").write_text("DEFAULT mine\n")
    assert "is not rootman's" in device.refused("boot", "install-entries", other, code=4)
    (other / "extlinux/extlinux.conf").unlink()
    (other / "rootman").mkdir()
    (other / "rootman/store").write_text("another\n")
    assert "another store" in device.refused("boot", "install-entries", other, code=4)
    assert "no such directory" in device.refused(
        "boot", "install-entries", tmp_on_ext4 / "none", "--loader", "extlinux", code=8
    )
    assert "has neither" in device.refused("boot", "install-entries", tmp_on_ext4, code=8)
    device.refused("boot", "install-entries", code=2)


def test_a_path_that_an_entry_cannot_have_is_refused(tmp_on_ext4: Path) -> None:
    """BT-20."""
    home = tmp_on_ext4 / "of several words"
    home.mkdir()
    machine = Machine(home)
    machine.run("init")
    (tmp_on_ext4 / "extlinux").mkdir()

    line = machine.refused("boot", "install-entries", tmp_on_ext4, code=3)

    assert "cannot be written for a loader (hint: use letters, digits, ._-)" in line
    assert sorted(os.listdir(tmp_on_ext4)) == ["extlinux", "of several words"]


def test_installing_again_mends_what_somebody_changed(device: Device) -> None:
    """BT-20: kernels and entries."""
    for path in (device.home / "efi").rglob("*.linux"):
        path.write_bytes(b"")
    for path in (device.home / "efi").rglob("*.conf"):
        path.write_text(path.read_text().replace("quiet", "loud"))

    done = device.attempt("boot", "install-entries", device.home / "efi")

    assert done.code == 0
    assert ("is not the root of its filesystem" in done.err) == (
        device.home / "efi/loader"
    ).exists()
    check(device)
    for path in (device.home / "efi").rglob("rootman-*.conf"):
        assert "quiet" in path.read_text()


# What is done on the device with versions 1 and 2, and what may boot in between.
def prepared(kind: str, lab: Lab) -> None:
    for version in (1, 2, 3):
        lab.publish(version, tree(version))
    lab.init()
    for version in (1, 2):
        lab.upgrade(version)
    (lab.home / "efi").mkdir()
    with lab.session() as opened:
        install_entries(opened, str(lab.home / "efi"), kind)


def on_trial(kind: str, lab: Lab) -> None:
    """Version 3 is on trial, and was tried once."""
    prepared(kind, lab)
    lab.upgrade(3)
    (lab.control / "boot/grubenv").write_bytes(serialise_block(BootState("olpc.3", 2)))
    if kind == "systemd-boot":
        Menu(lab.home / "efi").boot()


COMMANDS: Final[dict[str, tuple[Callable[[str, Lab], None], Command, set[str]]]] = {
    "upgrade": (prepared, lambda lab, fs: lab.upgrade(3, fs), {"olpc.2", "olpc.3"}),
    "rollback": (prepared, lambda lab, fs: lab.rollback(fs=fs), {"olpc.1", "olpc.2"}),
    "mark-good": (on_trial, lambda lab, fs: lab.mark(plan_good, 3, fs), {"olpc.3"}),
    "mark-bad": (on_trial, lambda lab, fs: lab.mark(plan_bad, 3, fs), {"olpc.2", "olpc.3"}),
}


def use(lab: Lab) -> Path:
    """Have the store of a lane know where its lane is."""
    path = lab.control / "state.json"
    document = json.loads(path.read_text())
    document["loader"]["path"] = str(lab.home / "efi")
    path.write_text(json.dumps(document, sort_keys=True) + "\n")
    return lab.home / "efi"


class FaultInBooting(Fault):
    """A fault among the calls that have to do with what boots; the others are ``tests.fault``'s."""

    def __call__(self, call: Call) -> None:
        if concerns_booting(repr(call)):
            super().__call__(call)


def concerns_booting(call: str) -> bool:
    return any(part in call for part in ("/efi", "/grubenv", "/current", "/previous", "state.json"))


def trial(command: Command, allowed: set[str], mode: Mode, lab: Lab, at: int) -> Trial:
    """Have one fault; look at the menu then, and when the next command has been given."""
    efi = use(lab)
    outcome = suffer(lab, command, mode, at, FaultInBooting)
    wrong = [f"left behind: {one}" for one in violations(efi, lab.store)]
    if Menu(efi).default not in allowed:
        wrong.append(f"{Menu(efi).default} boots")
    state = lab.look()
    if state.menu is None or not state.menu.is_settled:
        wrong.append(f"not settled: {state.menu}")
    wrong += [f"recovered: {one}" for one in violations(efi, lab.store)]
    if state.current is None or Menu(efi).default != state.name_of(state.current):
        wrong.append(f"recovered: {Menu(efi).default} boots, and {state.current} is current")
    return Trial(at, outcome, frozenset(), tuple(wrong))


def suffered(scratch: Path, kind: str, name: str, mode: Mode) -> str:
    """Have a fault at every call of a command; return what is wrong, and with which."""
    prepare, command, allowed = COMMANDS[name]

    def whole(lab: Lab, _: Known) -> list[str]:
        return violations(use(lab), lab.store)

    def given(lab: Lab, fs: Fs) -> object:
        use(lab)
        return command(lab, fs)

    template = learn(scratch, partial(prepare, kind), given, whole)
    trials = sweep(scratch, template, partial(trial, command, allowed, mode))

    assert len(trials) > 3
    calls = tuple(filter(concerns_booting, template.told.calls))
    return report(replace(template.told, calls=calls), trials)


@pytest.mark.parametrize(
    ("name", "mode"),
    [*itertools.product(COMMANDS, ("kill", "EIO")), ("upgrade", "ENOSPC")],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_every_call(scratch: Path, kind: str, name: str, mode: Mode) -> None:
    """BT-21: what boots is the old tree or the new one, whole, and then the menu is right."""
    assert suffered(scratch, kind, name, mode) == ""


def write_in_place(self: MenuWriter, name: str, pieces: Iterable[bytes], folder: int) -> None:
    """Write a file as it is not to be written: under its own name from the first byte on."""
    fs = self._fs
    with suppress(FileNotFoundError):
        fs.unlink(name, dir_fd=folder)
    fd = fs.create(name, dir_fd=folder)
    for piece in pieces:
        fs.write(fd, piece)
    fs.fsync(fd)
    os.close(fd)


def remove_first(self: MenuWriter, entries: Iterable[Entry]) -> None:
    """Update a menu as it is not to be done: what is not wanted goes before the new is there."""
    wanted = {entry.name for entry in entries}
    for name in set(self._files.found()) - wanted:
        self._fs.unlink(name, dir_fd=self._files.menu)
    UPDATE_ENTRIES(self, entries)


UPDATE_ENTRIES: Final = MenuWriter._update_entries


@pytest.mark.parametrize(
    ("method", "mistake", "said"),
    [
        ("_write", write_in_place, "is not the initrd of olpc.3"),
        ("_update_entries", remove_first, "nothing is the default"),
    ],
)
def test_mistakes_are_found(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, method: str, mistake: object, said: str
) -> None:
    """BT-21."""
    monkeypatch.setattr(MenuWriter, method, mistake)

    assert said in suffered(scratch, "systemd-boot", "upgrade", "kill")
