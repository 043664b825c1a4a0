"""The script of the initramfs under dash and busybox, on a store, in mounts of its own.

What it makes of the guard, of /dev and of the machine's kernel is seen in ``test_qemu_lives``.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from rootman.boot.block import BootState, serialise_block
from rootman.boot.initramfs import install_initramfs
from rootman.errors import NotFound
from rootman.fsops import RealFs
from tests.boot.bringing_up import Said, booted, bring_up
from tests.boot.shells import DATA, SHELLS
from tests.boot.states import read_block
from tests.builders import directory, file
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.builders import Tree

pytestmark = pytest.mark.loopfs


ROOMS = ("dev", "home", "proc", "rootfs", "run", "sys", "var")


class Device:
    """A device whose store has versions 1 and 2, of which 2 is current, booted by a shell."""

    def __init__(self, home: Path, shell: str, data: Path = DATA) -> None:
        self._shell = shell
        self._data = data
        self.home = home
        self.lab = Lab(home)
        self.lab.init()
        for version in (1, 2):
            self.install(version, *self.of(version))

    def of(self, version: int) -> tuple[Tree, Sequence[str]]:
        """Return what else is in a version, and its state paths."""
        del version
        return {}, ()

    def install(self, version: int, more: Tree | None = None, state: Sequence[str] = ()) -> None:
        rooms = {name: directory() for name in ROOMS}
        tree = {"etc/issue": file(str(version)), **rooms, **(more or {})}
        self.lab.publish(version, tree, state=state)
        self.lab.upgrade(version)

    @property
    def booted(self) -> list[str]:
        return booted(self.home)

    def boot(self, options: str, probe: str = ":", answers: str = "") -> Said:
        """Boot with a kernel command line, and run ``probe`` where the root is $root."""
        command_line = f"quiet rootman.store=store {options}"
        return bring_up(
            self.home, self._shell, command_line, probe, answers=answers, data=self._data
        )


@pytest.fixture(params=SHELLS)
def device(tmp_on_ext4: Path, request: pytest.FixtureRequest) -> Device:
    return Device(tmp_on_ext4, request.param)


def test_the_tree_that_the_loader_names_is_taken_whatever_the_links_say(device: Device) -> None:
    """BT-40 BT-9."""
    said = device.boot("rootman.tree=olpc.1 rootman.mode=ro", 'cat "$root/etc/issue"')

    assert said == Said(0, ["rootman: olpc.1 (of the loader), ro", "1"])
    assert device.booted == ["olpc.1", "of the loader", "ro"]


def test_of_an_option_that_is_there_twice_the_last_counts(device: Device) -> None:
    """BT-41."""
    device.boot("rootman.tree=olpc.2 rootman.mode=rw rootman.mode=ro rootman.tree=olpc.1")

    assert device.booted == ["olpc.1", "of the loader", "ro"]


def test_without_a_loader_the_boot_state_chooses_and_the_attempt_is_counted(
    device: Device,
) -> None:
    """BT-40."""
    block = device.lab.control / "boot/grubenv"
    block.write_bytes(serialise_block(BootState("olpc.2", 1)))

    device.boot("rootman.mode=ro")
    assert device.booted == ["olpc.2", "current", "ro"]
    assert read_block(block) == BootState("olpc.2", 0)
    device.boot("rootman.mode=ro")

    assert device.booted == ["olpc.1", "previous", "ro"]
    assert read_block(block) == BootState(bad=("olpc.2",))


def test_a_version_is_chosen_among_its_trees(device: Device) -> None:
    """BT-40 BT-9."""
    device.boot("rootman.version=olpc.1 rootman.mode=ro")

    assert device.booted == ["olpc.1", "previous", "ro"]


@pytest.mark.parametrize("missing", ["rootman.tree=olpc.7", "rootman.version=olpc.7"])
def test_what_is_named_and_not_there_is_no_reason_not_to_boot(device: Device, missing: str) -> None:
    """BT-40: a tree without its record is not complete."""
    (device.lab.store / "olpc.7").mkdir()

    said = device.boot(f"{missing} rootman.mode=ro")

    assert "olpc.7; another is taken" in said.lines[0].replace("tree of ", "")
    assert device.booted == ["olpc.2", "current", "ro"]


def test_a_tree_is_taken_by_hand(device: Device) -> None:
    """BT-45."""
    (device.home / "run").mkdir()
    (device.home / "run/take").write_text("olpc.1\n")

    device.boot("rootman.tree=olpc.2 rootman.mode=ro")

    assert device.booted == ["olpc.1", "by hand", "ro"]


def test_where_nothing_boots_help_is_given(device: Device) -> None:
    """BT-45."""
    no_store = device.boot("rootman.store=elsewhere")
    for number in (1, 2):
        (device.lab.control / f"trees/{number}/seal.json").unlink()
    no_tree = device.boot("rootman.tree=olpc.1")

    assert no_store.code == no_tree.code == 1
    assert f"problem: there is no store at {device.home}/elsewhere" in no_store.lines
    assert f"problem: there is no complete tree in {device.lab.store}" in no_tree.lines
    assert any("rootman: nothing boots: there is no complete tree" in one for one in no_tree.lines)


def test_read_only_nothing_can_be_changed(device: Device) -> None:
    """BT-42: but the store, which the system finds where it looks for it."""
    probe = 'echo x 2>&1 >"$root/etc/new"; touch "$root/rootfs/there"; ls "$root/rootfs"'
    said = device.boot("rootman.tree=olpc.1 rootman.mode=ro", probe)

    assert "Read-only file system" in said.lines[1] or "can't create" in said.lines[1]
    assert said.lines[-5:] == ["current", "olpc.1", "olpc.2", "previous", "there"]
    assert not (device.lab.tree(1) / "etc/new").exists()


def test_users_cannot_become_root_by_the_programs_of_other_versions(device: Device) -> None:
    """BT-42: an old version has the mistakes that a new one mended."""
    probe = 'grep " $root/rootfs " /proc/mounts; stat -c %a "$rootman_run"'

    said = device.boot("rootman.tree=olpc.1 rootman.mode=ro", probe)

    assert "rw,nosuid,nodev" in said.lines[1]
    assert said.lines[2] == "700"


def test_in_plain_mode_the_tree_itself_is_changed_with_a_warning(device: Device) -> None:
    """BT-42."""
    said = device.boot("rootman.tree=olpc.1 rootman.mode=rw", 'touch "$root/etc/new"')

    assert any("rw: a change" in line for line in said.lines)
    assert (device.lab.tree(1) / "etc/new").exists()


@pytest.mark.parametrize(
    ("mode", "why"), [("sideways", "there is no mode sideways"), ("guard", "the guard needs")]
)
def test_a_mode_that_does_not_come_up_is_read_only(device: Device, mode: str, why: str) -> None:
    """BT-42: a system that can be reached is worth more than one that cannot be changed."""
    device.install(3, {"rootfs": file(b"")})

    said = device.boot(f"rootman.mode={mode}", 'touch "$root/etc/new" 2>/dev/null || echo ro')

    assert why in said.lines[0]
    assert f"rootman: olpc.3 does not come up as {mode}" in said.lines
    assert device.booted == ["olpc.3", "current", "ro"]
    assert said.lines[-1] == "ro"
    assert any("olpc.3 has no directory /rootfs" in line for line in said.lines)


def test_a_guard_that_does_not_start_leaves_nothing_mounted(device: Device) -> None:
    """BT-44: there is no rootman in this tree."""
    said = device.boot(
        "rootman.tree=olpc.1 rootman.mode=guard", 'grep -c " $rootman_run/tree/" /proc/mounts'
    )

    assert device.booted == ["olpc.1", "of the loader", "ro"]
    assert said.lines[-1] == "0"


def test_an_overlay_keeps_what_was_changed_beside_the_tree(device: Device) -> None:
    """BT-43: from boot to boot, for each tree alone."""
    in_overlay = "rootman.mode=overlay rootman.tree="
    device.boot(f"{in_overlay}olpc.1", 'echo mine >"$root/etc/issue"')

    again = device.boot(f"{in_overlay}olpc.1", 'cat "$root/etc/issue"; stat -c %a "$root"')
    other = device.boot(f"{in_overlay}olpc.2", 'cat "$root/etc/issue"')

    assert again.lines[-2:] == ["mine", "755"]
    assert other.lines[-1] == "2"
    assert (device.lab.tree(1) / "etc/issue").read_text() == "1"
    assert device.booted == ["olpc.2", "of the loader", "overlay"]


@pytest.mark.parametrize("change", ["removed", "sealed anew", "half removed"])
def test_an_overlay_goes_with_its_tree(device: Device, change: str) -> None:
    """BT-43: what was changed in one tree is nothing to another of the same name."""
    in_overlay = "rootman.mode=overlay rootman.tree="
    device.boot(f"{in_overlay}olpc.1", 'echo mine >"$root/etc/issue"')
    layer = device.lab.control / "overlay/1"
    if change == "half removed":
        (layer / "seal.json").unlink()
    elif change == "sealed anew":
        record = device.lab.control / "trees/1/seal.json"
        text = record.read_text().replace('"sealed_at": ', '"sealed_at": 1')
        record.unlink()
        record.write_text(text)
    else:
        os.rename(device.lab.tree(1), device.home / "gone")
        os.rename(device.lab.control / "trees/1", device.home / "gone-record")

    device.boot(f"{in_overlay}olpc.2")
    gone = not layer.exists()
    if change == "removed":
        assert gone
        return
    said = device.boot(f"{in_overlay}olpc.1", 'cat "$root/etc/issue"')

    assert gone
    assert said.lines[-1] == "1"


def test_it_stops_at_each_step_and_goes_on(device: Device) -> None:
    """BT-41: with a shell where one is asked for."""
    said = device.boot("rootman.tree=olpc.1 rootman.mode=ro rootman.step", answers="\ns\n\n\n\n\n")

    assert sum("rootman: next:" in line for line in said.lines) == 5
    assert device.booted == ["olpc.1", "of the loader", "ro"]


def test_debugging_shows_the_commands(device: Device) -> None:
    """BT-41."""
    said = device.boot("rootman.tree=olpc.1 rootman.mode=ro rootman.debug")

    assert any(line.startswith("+ mount -o bind") for line in said.lines)


@pytest.fixture
def machine_root(tmp_path: Path) -> Path:
    for name in ("hooks", "scripts"):
        (tmp_path / "etc/initramfs-tools" / name).mkdir(parents=True)
    return tmp_path


def test_what_initramfs_tools_takes_is_installed_once(machine_root: Path) -> None:
    """BT-41."""
    home = machine_root / "etc/initramfs-tools"

    written = install_initramfs(RealFs(), str(machine_root))
    assert written == (f"{home}/hooks/rootman", f"{home}/scripts/rootman")
    assert install_initramfs(RealFs(), str(machine_root)) == ()
    (home / "scripts/rootman").write_text("old")
    (home / "hooks/.rootman.new").write_text("left behind")
    (home / "hooks/rootman").chmod(0o644)

    assert install_initramfs(RealFs(), str(machine_root)) == written
    assert os.access(home / "hooks/rootman", os.X_OK)
    assert sorted(path.name for path in home.rglob("*rootman*")) == ["rootman", "rootman"]
    for shell in SHELLS.values():
        subprocess.run((*shell, "-n", home / "scripts/rootman"), check=True)


def test_without_initramfs_tools_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="initramfs-tools"):
        install_initramfs(RealFs(), str(tmp_path))
