"""The life of a machine that works, in each mode: versions 1, 2 and 1 boot.

Version 1 upgrades itself from a server on its own loopback, version 2 is on trial, is marked
good, and is rolled back. Out of scope: versions that fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.boot.disks import copy_disk, opened
from tests.boot.plug import Recording
from tests.boot.qemu import Machine
from tests.boot.system import REPOSITORY, booted, set_mode

if TYPE_CHECKING:
    from pathlib import Path

RECORDED: Final = "overlay"
UPGRADE, ROLLBACK, FIRST_BOOT, SHUTDOWN = "upgrade", "rollback", "first boot", "shutdown"
PHASES: Final = (UPGRADE, ROLLBACK, FIRST_BOOT, SHUTDOWN)


def record_life(system: Path, disk: Path) -> Recording:
    """BT-42 BT-43: what is changed in a version stays with it. All writes are recorded."""
    before, log = (disk.with_name(f"{disk.name}.{what}") for what in ("before", "log"))
    recording = Recording(RECORDED, before, log)
    prepare(system, before, RECORDED)
    copy_disk(before, disk)
    with Machine(disk, log=log) as machine:
        boots(machine, 1, RECORDED)
        recording.end("start")
        upgrade(machine)
        recording.end(UPGRADE)
        machine.run("rootman rollback && rootman rollback")
        recording.end(ROLLBACK)
        machine.reboot()
        boots(machine, 2, RECORDED)
        is_on_trial(machine)
        machine.run("echo mine >>/etc/group")
        assert "mine" not in machine.run("cat /rootfs/olpc.2/etc/group")
        machine.become_systemd()
        assert "olpc.2  good" in machine.run("rootman boot status")
        recording.end(FIRST_BOOT)
        machine.type("systemctl reboot")
        boots(machine, 2, RECORDED)
        recording.end(SHUTDOWN)
        machine.run("grep mine /etc/group")
        machine.run("rootman rollback")
        machine.reboot()
        boots(machine, 1, RECORDED)
        assert machine.try_run("grep mine /etc/group")[0] != 0
        assert machine.boots == 4, machine.said
    return recording


def prepare(system: Path, disk: Path, mode: str) -> None:
    """Make a disk whose versions boot in ``mode``."""
    copy_disk(system, disk)
    with opened(disk) as root:
        set_mode(root, mode)


def boots(machine: Machine, version: int, mode: str) -> None:
    """Wait for a boot, which must be of a version."""
    assert booted(machine) == (f"olpc.{version}", "of the loader", mode)


def goes_forth(machine: Machine, mode: str) -> None:
    """Have the machine upgrade itself, and boot what it upgraded to, which is on trial."""
    upgrade(machine)
    machine.reboot()
    boots(machine, 2, mode)
    is_on_trial(machine)


def goes_back(machine: Machine, mode: str) -> None:
    """Have version 2 marked good, and rolled back to version 1: the third boot."""
    machine.run("rootman boot mark-good")
    machine.run("rootman rollback")
    machine.reboot()
    boots(machine, 1, mode)
    assert machine.boots == 3, machine.said


def upgrade(machine: Machine) -> None:
    """Have the machine upgrade itself from a server of its own, whose releases it verifies."""
    machine.run("busybox ip link set lo up")
    machine.run(f"rootman repo serve /run/rootman/disk/{REPOSITORY} &")
    machine.wait(r"^serving .* at (http://\S+),")
    said = machine.run("rootman upgrade http://127.0.0.1:8000")
    assert "taken at its word" not in said
    assert "olpc.2 boots next (current)" in machine.run("rootman boot status")


def is_on_trial(machine: Machine) -> None:
    """Look whether this is the first attempt to boot version 2."""
    assert "olpc.2  on trial, attempts left: 2" in machine.run("rootman boot status")
