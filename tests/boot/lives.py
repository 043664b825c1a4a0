"""The life of a machine that works, in each mode: versions 1, 2 and 1 boot.

Version 1 upgrades itself from a server on its own loopback, version 2 is on trial, is marked
good, and is rolled back. Out of scope: versions that fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.boot.disks import copy_disk, opened
from tests.boot.plug import Recording
from tests.boot.qemu import Machine
from tests.boot.system import DATABASE, REPOSITORY, booted, set_mode

if TYPE_CHECKING:
    from pathlib import Path

RECORDED: Final = "overlay"
URL: Final = "http://127.0.0.1:8000"
UPGRADE, ROLLBACK, FIRST_BOOT, SHUTDOWN = "upgrade", "rollback", "first boot", "shutdown"
PHASES: Final = (UPGRADE, ROLLBACK, FIRST_BOOT, SHUTDOWN)


def record_life(system: Path, disk: Path) -> Recording:
    """BT-42 BT-43: what is changed in a version stays with it. All writes are recorded.

    BT-70 BT-71: what is in its state does not, and a database there is written to all the time.
    """
    before, log = (disk.with_name(f"{disk.name}.{what}") for what in ("before", "log"))
    recording = Recording(RECORDED, before, log)
    prepare(system, before, RECORDED)
    copy_disk(before, disk)
    with Machine(disk, log=log) as machine:
        boots(machine, 1, RECORDED)
        machine.run("echo before >/var/before && sync -f /var/before")
        recording.end("start", write_rows(machine, 0))
        upgrade(machine)
        machine.run("echo during >/var/during")
        recording.end(UPGRADE, acknowledged(machine))
        machine.run("rootman rollback && rootman rollback")
        recording.end(ROLLBACK, acknowledged(machine))
        machine.reboot()
        boots(machine, 2, RECORDED)
        write_rows(machine, recording.rows[ROLLBACK])
        is_on_trial(machine)
        machine.run("cd /var && grep before before && grep during during && echo after >after")
        machine.run("echo mine >>/etc/group")
        assert "mine" not in machine.run("cat /rootfs/olpc.2/etc/group")
        machine.become_systemd()
        assert "olpc.2  good" in machine.run("rootman boot status")
        recording.end(FIRST_BOOT, acknowledged(machine))
        machine.type("systemctl reboot")
        boots(machine, 2, RECORDED)
        recording.end(SHUTDOWN, write_rows(machine, recording.rows[FIRST_BOOT]))
        machine.run("grep mine /etc/group")
        machine.run("rootman rollback")
        machine.reboot()
        boots(machine, 1, RECORDED)
        assert machine.try_run("grep mine /etc/group")[0] != 0
        machine.run("cd /var && grep before before && grep during during && grep after after")
        count_rows(machine, recording.rows[SHUTDOWN])
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
    """Have version 2 marked good, and rolled back to version 1: one more boot."""
    before = machine.boots
    machine.run("rootman boot mark-good")
    machine.run("rootman rollback")
    machine.reboot()
    boots(machine, 1, mode)
    assert machine.boots == before + 1, machine.said


def upgrade(machine: Machine) -> None:
    """Have the machine upgrade itself from a server of its own, whose releases it verifies."""
    machine.run("busybox ip link set lo up")
    machine.run(f"rootman repo serve /run/rootman/disk/{REPOSITORY} &")
    machine.wait(r"^serving .* at (http://\S+),")
    said = machine.run(f"rootman upgrade {URL}")
    assert "taken at its word" not in said
    assert "olpc.2 boots next (current)" in machine.run("rootman boot status")


def count_rows(machine: Machine, least: int) -> int:
    """Return how many rows the database has, which is whole and has at least so many."""
    rows = int(machine.run(f"/{DATABASE} check"))
    assert rows >= least
    return rows


def write_rows(machine: Machine, least: int) -> int:
    """Look at the database, and have it written to until this boot ends; return the rows."""
    rows = count_rows(machine, least)
    machine.run(f"/{DATABASE} &")
    return rows


def acknowledged(machine: Machine) -> int:
    """Return how many rows are in the database for good."""
    return int(machine.run("cat /run/acknowledged"))


def is_on_trial(machine: Machine) -> None:
    """Look whether this is the first attempt to boot version 2."""
    assert "olpc.2  on trial, attempts left: 2" in machine.run("rootman boot status")
