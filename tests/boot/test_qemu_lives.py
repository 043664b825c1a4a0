"""Real boots of versions that work, in each mode: SeaBIOS, GRUB, Debian's kernel and initramfs.

The life below an overlay, which is recorded, is in ``test_qemu_cuts``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.boot.lives import URL, boots, goes_back, goes_forth, is_on_trial, prepare, upgrade
from tests.boot.qemu import Machine
from tests.boot.system import CONFIG

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.debian, pytest.mark.loopfs]


def test_a_life_read_only(system: Path, disk: Path) -> None:
    """BT-40 BT-42 BT-71 UL-1: nothing can be changed before it is unlocked."""
    prepare(system, disk, "ro")
    with Machine(disk) as machine:
        boots(machine, 1, "ro")
        for place in ("/dev/null", "/proc/self", "/sys/block", "/run/rootman", "/rootfs/current"):
            machine.run(f"test -e {place}")
        assert machine.try_run("touch /etc/mine")[0] != 0
        machine.run("touch /home/mine")
        goes_forth(machine, "ro")
        machine.run("test -e /home/mine && touch /var/mine")
        assert "/home, /var" in machine.run("rootman status")
        machine.run("touch /etc/local/mine && test -e /rootfs/olpc.2/etc/local/mine")
        assert machine.try_run("touch /etc/mine")[0] != 0
        machine.run("rootman unlock && touch /etc/mine /usr/mine /etc/local/unlocked")
        assert "unlocked (throw-away)" in machine.run("rootman status")
        goes_back(machine, "ro")
        machine.run("test -e /var/mine")
        thrown_away = "/rootfs/olpc.2/etc/mine /rootfs/olpc.2/usr/mine /rootfs/olpc.2/etc/local/un*"
        assert machine.try_run(f"ls {thrown_away}")[0] != 0


def test_a_life_as_it_is(system: Path, disk: Path) -> None:
    """BT-42 BT-61: where the mode is rw, that is said; what is new is in one version alone.

    The second version is started by kexec.
    """
    prepare(system, disk, "rw")
    with Machine(disk) as machine:
        boots(machine, 1, "rw")
        assert "rootman: rw: a change of a file" in machine.said
        machine.run("touch /etc/mine && test -e /rootfs/olpc.1/etc/mine")
        machine.become_systemd()
        upgrade(machine)
        machine.type(f"rootman upgrade {URL} --kexec")
        boots(machine, 2, "rw")
        assert machine.boots == 1, machine.said
        is_on_trial(machine)
        assert machine.try_run("test -e /etc/mine")[0] != 0
        goes_back(machine, "rw")
        machine.run("test -e /etc/mine")


def test_a_life_guarded(system: Path, disk: Path) -> None:
    """BT-42 BT-44: each changes alone; systemd ends, and the guard answers to the end of it.

    BT-61 BT-62 MG-17: what is changed after the upgrade in its configuration is in the new version.
    """
    prepare(system, disk, "guard")
    with Machine(disk) as machine:
        boots(machine, 1, "guard")
        machine.run("chmod 600 /etc/group && echo mine >>/etc/passwd && touch /var/mine")
        machine.run(f"echo before >{CONFIG}/mine")
        machine.become_systemd()
        upgrade(machine)
        machine.run(f"echo after >>{CONFIG}/mine")
        _goes_down(machine, f"rootman upgrade {URL} --reboot")
        boots(machine, 2, "guard")
        is_on_trial(machine)
        assert machine.run(f"cat {CONFIG}/mine") == "before\nafter\n"
        assert "is not in olpc.2" not in machine.run("rootman status")
        machine.run("chmod 640 /etc/group && test -e /var/mine")
        assert "/run/rootman/room" not in machine.run("cat /proc/mounts")
        modes = machine.run("stat -c %a /etc/group /rootfs/olpc.1/etc/group")
        assert modes == "640\n600\n"
        daemon = machine.run("tr '\\0' ' ' </proc/$(busybox pidof rootman)/cmdline; echo")
        assert daemon.startswith("@")
        assert "--storage-daemon" in daemon
        assert "/run/rootman/tree/" not in machine.run("cat /proc/mounts")
        goes_back(machine, "guard")
        machine.run("grep mine /etc/passwd")
        assert "mine" not in machine.run("cat /rootfs/olpc.2/etc/passwd")


def _goes_down(machine: Machine, command: str) -> None:
    """Have systemd reboot the machine by a command, to the end of all filesystems."""
    machine.run("dmesg -n 7")
    machine.type(command)
    machine.wait("EXT4-fs .*re-mounted")
    machine.wait("reboot: Restarting system")
    assert "Failed to execute" not in machine.said
    assert "Kernel panic" not in machine.said
