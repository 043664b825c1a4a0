"""Loaders for real: systemd-boot in a UEFI, on a FAT that Linux and the firmware write.

And the disks that a power cut leaves of that FAT, as Linux writes it; and an initrd of dracut.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from rootman.boot.initramfs import install_initramfs
from rootman.fsops import RealFs
from tests.boot.disks import ROOT, copy_disk, opened
from tests.boot.esp import as_disk, as_firmware, count_flushes, cut_power, make_esp, read_esp
from tests.boot.qemu import Machine
from tests.boot.system import (
    ENDING,
    KERNEL_ARGS,
    booted,
    kernel_of,
    on_host,
    proc_in,
)
from tests.boot.test_entries import Menu
from tests.debian_trees import booting_tree
from tests.filesystems import remove, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.debian, pytest.mark.loopfs]

CUTS: Final = 40
MOUNT: Final = "modprobe vfat && mount -t vfat /dev/{} /boot"
# A machine in the mode ro boots in half of the time.
READ_ONLY: Final = "sed -i 's/root=UUID/rootman.mode=ro &/' /rootfs/.rootman/state.json"


@pytest.fixture(scope="module")
def home(scratch: Path) -> Iterator[Path]:
    path = scratch / "loaders"
    path.mkdir()
    yield path
    remove(path)


def install(disk: Path, esp: Path, log: Path) -> int:
    """Boot version 1 by a kernel of the firmware, have the menu kept, upgrade to a bad version.

    Return how often the FAT had been flushed before the upgrade.
    """
    with opened(disk) as root:
        linux, initrd = kernel_of(root / "rootfs/olpc.1", disk.parent)
    append = f"{KERNEL_ARGS} root=/dev/vdb1 rootman.tree=olpc.1 rootman.mode=ro"
    options = ("-kernel", str(linux), "-initrd", str(initrd), "-append", append)
    # With its writes logged, the FAT is the first disk.
    with Machine(esp, *as_disk(disk), *options, log=log) as machine:
        booted(machine)
        machine.run(MOUNT.format("vda"))
        machine.run("rootman boot install-entries /boot")
        machine.run(READ_ONLY)
        flushes = count_flushes(log)
        machine.run(f"rootman upgrade /run/rootman/disk/{ENDING}.rootman")
        assert machine.run("ls /boot/loader/entries").split() == [
            "rootman-olpc.1-2.conf", f"rootman-olpc.{ENDING}-1+3.conf",
        ]  # fmt: skip
    return flushes


def test_systemd_boot_counts_and_falls_back(system: Path, home: Path) -> None:
    """BT-20 BT-22 BT-23: it panics. BT-21: what a power cut leaves boots either."""
    disk, esp, log = home / "disk", home / "esp", home / "log"
    copy_disk(system, disk)
    make_esp(esp)
    copy_disk(esp, home / "esp.before")

    flushes = install(disk, esp, log)

    found = set()
    for seed in range(CUTS):
        what = cut_power(home / "esp.before", log, home / "cut", Random(seed), first=flushes)
        read_esp(home / "cut", home / "read")
        menu = Menu(home / "read")
        found.add(menu.default)
        for files in menu.kernels().values():
            for path in files:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                assert path.name.startswith(digest[:32]), what
    assert found == {"olpc.1", f"olpc.{ENDING}"}

    # Two of its attempts are over.
    entries = f"::/loader/entries/rootman-olpc.{ENDING}-1"
    run("mmove", "-i", str(esp), f"{entries}+3.conf", f"{entries}+1-2.conf")
    with Machine(disk, *as_disk(esp), *as_firmware(home)) as machine:
        assert booted(machine) == ("olpc.1", "of the loader", "ro")
        assert machine.boots == 2
        assert machine.said.count(f"rootman: olpc.{ENDING} (of the loader), ro\n") == 1
        machine.run(MOUNT.format("vdb"))
        assert f"rootman-olpc.{ENDING}-1+0-3.conf" in machine.run("ls /boot/loader/entries")
        status = machine.run("rootman boot status")
        assert f"olpc.{ENDING} failed, and another tree boots" in status
        assert f"olpc.{ENDING}  bad " in status
        assert machine.run("readlink /rootfs/current") == "olpc.1\n"
        assert machine.run("ls /boot/loader/entries").split() == [
            "rootman-olpc.1-1.conf", f"rootman-olpc.{ENDING}-2+0.conf",
        ]  # fmt: skip


def make_initrd(tree: Path) -> Path:
    """Make an initrd with dracut in a copy of the Debian that boots, which it is left in."""
    run("cp", "-a", str(booting_tree()), str(tree))
    install_initramfs(RealFs(), str(tree), "dracut")
    release = next((tree / "usr/lib/modules").iterdir()).name
    with proc_in(tree):
        run("chroot", str(tree), "depmod", release)
        run("chroot", str(tree), "dracut", "--no-hostonly", "--force", "/initrd", release)
    return tree / "initrd"


def test_an_initrd_of_dracut_chooses_counts_and_starts_the_guard(system: Path, home: Path) -> None:
    """BT-50 BT-40 BT-44: with systemd in it; where the firmware knows but this kernel."""
    disk = home / "disk.of.dracut"
    copy_disk(system, disk)
    with opened(disk) as root:
        linux, _ = kernel_of(root / "rootfs/olpc.1", home)
        on_host(root, "upgrade", root / "2.rootman")
    append = f"{KERNEL_ARGS} root={ROOT} rootman.mode=guard"
    initrd = make_initrd(home / "tree")
    options = ("-kernel", str(linux), "-initrd", str(initrd), "-append", append)
    with Machine(disk, *options) as machine:
        assert booted(machine) == ("olpc.2", "current", "guard")
        assert "attempts left: 2" in machine.run("rootman boot status")
        machine.run("echo mine >>/etc/passwd && rm /etc/group")
        machine.run("test -e /rootfs/olpc.1/etc/group")
