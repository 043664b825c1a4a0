"""Real boots: SeaBIOS, GRUB, Debian's kernel, its initramfs with our script, and a shell.

Few machines, each with a long story, for a boot takes 10 s.
"""

from __future__ import annotations

import shutil
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.boot.plug import pull_the_plug, record_upgrade
from tests.boot.qemu import Machine
from tests.boot.system import (
    BAD,
    CUSTOM,
    KERNEL_ARGS,
    ROOT,
    booted,
    copy_disk,
    kernel_of,
    make_system,
    on_host,
    opened,
)
from tests.filesystems import remove

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.boot.plug import Upgraded

pytestmark = [pytest.mark.qemu, pytest.mark.debian, pytest.mark.loopfs]
CUTS = 3
# What systemd runs in a guarded system. It ends with the first that is not so.
LOOK = """set -e
echo mine >>/etc/passwd
chmod 600 /etc/group
test "$(stat -c %a /etc/group)" = 600
test "$(stat -c %a /rootfs/olpc.2/etc/group)" = 644
case $(cat /proc/$(busybox pidof rootman)/cmdline | tr '\\0' ' ') in
@*--storage-daemon*) ;;
*) false ;;
esac
case $(cat /proc/mounts) in
*/run/rootman/tree/*) false ;;
esac
echo all is well
"""


@pytest.fixture(scope="module")
def home(scratch: Path) -> Iterator[Path]:
    path = scratch / "qemu"
    path.mkdir()
    yield path
    remove(path)


@pytest.fixture(scope="module")
def system(home: Path) -> Path:
    return make_system(home)


@pytest.fixture(scope="module")
def upgraded(system: Path, home: Path) -> Upgraded:
    """BT-40 BT-41 BT-42: version 1 boots through ``current``, and upgrades to version 2."""
    return record_upgrade(system, home)


@pytest.fixture
def disk(home: Path) -> Iterator[Path]:
    """Give a name for a disk of the test."""
    path = home / "disk.of.test"
    yield path
    path.unlink()


def set_mode(root: Path, mode: str) -> None:
    """Have the machine with the filesystem ``root`` boot in another mode than ro."""
    text = (root / CUSTOM).read_text()
    (root / CUSTOM).write_text(text.replace("mode=ro", f"mode={mode}"))


def test_versions_boot_below_an_overlay_on_trial_and_rolled_back(
    upgraded: Upgraded, disk: Path
) -> None:
    """BT-40 BT-42 BT-43: what is changed in one stays with it."""
    copy_disk(upgraded.disk, disk)
    with opened(disk) as root:
        set_mode(root, "overlay")
    with Machine(disk) as machine:
        assert booted(machine) == ("olpc.2", "of the loader", "overlay")
        assert "olpc.2  on trial, attempts left: 2" in machine.run("rootman boot status")
        machine.run("echo mine >/etc/issue && rm /etc/passwd")
        assert machine.run("cat /rootfs/olpc.2/etc/issue") == "version 2\n"
        machine.run("rootman boot mark-good")
        machine.run("rootman rollback")
        machine.reboot()
        assert booted(machine) == ("olpc.1", "of the loader", "overlay")
        machine.run("test -e /etc/passwd")
    assert machine.boots == 2


def test_a_guarded_debian_changes_alone_and_shuts_down(upgraded: Upgraded, disk: Path) -> None:
    """BT-44: systemd ends and unmounts all that it may, and the guard answers to the end."""
    copy_disk(upgraded.disk, disk)
    with opened(disk) as root:
        linux, initrd = kernel_of(root / "rootfs/olpc.1", disk.parent)
        (root / "look").write_text(LOOK)
    args = KERNEL_ARGS.partition(" init=")[0].replace("quiet ", "")
    append = (
        f"{args} root={ROOT} rootman.tree=olpc.1 rootman.mode=guard "
        'systemd.run="sh /run/rootman/disk/look" systemd.run_success_action=reboot'
    )
    options = ("-kernel", str(linux), "-initrd", str(initrd), "-append", append)
    with Machine(disk, *options) as machine:
        machine.wait(r"^rootman: olpc\.1 \(of the loader\), guard$")
        machine.wait("all is well$")
        machine.wait("EXT4-fs .*re-mounted")
        machine.wait("reboot: Restarting system")
        assert "Failed to execute" not in machine.said
        assert "Kernel panic" not in machine.said
    with opened(disk) as root:
        assert "mine" in (root / "rootfs/olpc.1/etc/passwd").read_text()
        assert "mine" not in (root / "rootfs/olpc.2/etc/passwd").read_text()


def test_a_version_that_panics_goes_away_by_itself(system: Path, disk: Path) -> None:
    """BT-4 BT-6 BT-7: after its attempts the machine is where it was, and says why."""
    copy_disk(system, disk)
    with opened(disk) as root:
        on_host(root, "upgrade", root / f"{BAD}.rootman")
    with Machine(disk) as machine:
        assert booted(machine) == ("olpc.1", "of the loader", "ro")
        assert machine.boots == 4
        assert machine.said.count("rootman: olpc.3 (current)\n") == 3
        status = machine.run("rootman boot status")
        assert "olpc.1 runs\nolpc.1 boots next" in status
        assert "olpc.3  bad" in status
        assert machine.try_run(f"rootman upgrade /run/rootman/disk/{BAD}.rootman")[0] != 0


def test_without_links_and_with_a_damaged_boot_state_it_boots(
    upgraded: Upgraded, disk: Path
) -> None:
    """BT-2 BT-4: and what is wrong is said. BT-42: where the mode is rw, that, too."""
    copy_disk(upgraded.disk, disk)
    with opened(disk) as root:
        set_mode(root, "rw")
        store = root / "rootfs"
        for link in ("current", "previous"):
            (store / link).unlink()
        (store / ".rootman/boot/grubenv").write_bytes(b"\xff" * 1024)
    with Machine(disk) as machine:
        assert booted(machine) == ("olpc.2", "of the loader", "rw")
        assert machine.boots == 1
        assert "rootman: rw: a change of a file" in machine.said
        machine.run("touch /etc/mine && test -e /rootfs/olpc.2/etc/mine")
        assert "rootman: olpc.2 (newest)\n" in machine.said
        assert "the boot state" in machine.run("rootman boot status")


def test_with_a_kernel_of_the_firmware_the_initramfs_chooses_and_gives_help(
    upgraded: Upgraded, disk: Path
) -> None:
    """BT-40 BT-45: where somebody removed what is ``current``, and moved the store away."""
    copy_disk(upgraded.disk, disk)
    with opened(disk) as root:
        linux, initrd = kernel_of(root / "rootfs/olpc.1", disk.parent)
        shutil.move(root / "rootfs/olpc.2", root / "removed")
        (root / "rootfs").rename(root / "elsewhere")
    append = f"{KERNEL_ARGS} root={ROOT} rootman.mode=ro".replace("panic=1 ", "")
    options = ("-kernel", str(linux), "-initrd", str(initrd), "-append", append)
    with Machine(disk, *options) as machine:
        machine.wait("^rootman: nothing boots: there is no store at /run/rootman/disk/rootfs")
        machine.wait(r"\(initramfs\)")
        machine.type("mv /run/rootman/disk/elsewhere /run/rootman/disk/rootfs; exit")
        assert booted(machine) == ("olpc.1", "previous", "ro")


def test_after_a_power_cut_it_boots_what_was_or_what_is_to_be(
    upgraded: Upgraded, system: Path, disk: Path
) -> None:
    """S4 BT-4: at any moment of upgrade and rollback, with the write cache of the disk lost."""
    random = Random(0)
    for _ in range(CUTS):
        pull_the_plug(system, upgraded.log, disk, random)
