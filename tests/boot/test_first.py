"""The first boot of a store that was written to a device: tested, proved, and never again."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from rootman.boot.block import BootState, serialise_block
from rootman.boot.first import after_passing, is_due
from tests.boot.pretending import Stage
from tests.boot.states import read_block
from tests.builders import directory, file
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from rootman.boot.first import Trial
    from tests.commands import Done

pytestmark = pytest.mark.loopfs

PLAIN = "root=/dev/x rootman.tree=olpc.1 rootman.firstboot"
REBOOT = "systemctl reboot"


@pytest.mark.parametrize(
    ("trial", "command_line", "due", "after"),
    [
        ("", "quiet", False, ""),
        ("", "rootman.firstboot", True, "rebooting"),
        ("", "rootman.firstboot=noreboot", True, "passed"),
        ("", "rootman.firstboot rootman.firstboot=noreboot", True, "passed"),
        ("", "rootman.firstboot=yes", True, "rebooting"),
        ("rebooting", "rootman.firstboot", False, "passed"),
        ("rebooting", "quiet", False, "passed"),
        ("passed", "rootman.firstboot", False, "passed"),
    ],
)
def test_what_comes_of_it(trial: Trial, command_line: str, due: bool, after: Trial) -> None:  # noqa: FBT001
    """BT-63: whatever the command lines of later boots are, one reboot is all there is."""
    assert is_due(trial, command_line) == due
    assert after_passing(trial, command_line) == after
    assert after_passing(after, "rootman.firstboot") == ("passed" if after else "rebooting")


@pytest.fixture
def stage(tmp_on_ext4: Path) -> Stage:
    """Give a machine with version 1 alone, whose store has no boot state, booted."""
    lab = Lab(tmp_on_ext4)
    lab.init()
    lab.publish(1, {"etc": directory(), "etc/issue": file("1"), "rootfs": directory()})
    lab.upgrade(1)
    made = Stage(tmp_on_ext4)
    made.says(PLAIN)
    return made


def boot(stage: Stage) -> tuple[Done, bool]:
    """Do what the unit does at the end of a boot; return what it said, and whether it reboots."""
    done = stage.machine.attempt("health", "--act")
    return done, REBOOT in stage.called()


def told(stage: Stage) -> object:
    return stage.machine.document("boot", "status")["first_boot"]


def block(stage: Stage) -> Path:
    return stage.machine.store / ".rootman/boot/grubenv"


def test_it_is_tested_and_reboots_once(stage: Stage) -> None:
    """BT-63."""
    assert told(stage) == "due"
    assert "this first boot has not passed" in stage.machine.run("status").lines[-1]

    first, reboots = boot(stage)
    assert (first.code, first.err) == (0, "")
    assert "rebooting once" in first.lines[-1]
    assert reboots
    assert read_block(block(stage)) == BootState()
    assert told(stage) == "rebooting"

    second, reboots = boot(stage)
    assert second.lines[-1] == "the booted version is good"
    assert not reboots
    assert told(stage) == "passed"
    assert "first boot: passed" in stage.machine.run("boot", "status").lines

    third, reboots = boot(stage)
    assert third.code == 0
    assert not reboots


def test_it_stays_up_where_that_is_wanted(stage: Stage) -> None:
    """BT-63: and a version that was on trial is good."""
    stage.says(f"{PLAIN}=noreboot")
    stage.machine.run("boot", "init")
    block(stage).write_bytes(serialise_block(BootState("olpc.1", 1)))

    done, reboots = boot(stage)

    assert done.lines[-1] == "the booted version is good"
    assert not reboots
    assert told(stage) == "passed"
    assert read_block(block(stage)) == BootState()


def test_what_is_not_what_was_installed_does_not_pass(stage: Stage) -> None:
    """BT-63: it stays up, says so at every boot, and passes once it is mended."""
    issue = stage.machine.tree(1) / "etc/issue"
    with issue.open("a") as file_:
        file_.write("more")

    done, reboots = boot(stage)
    assert done.code == 13
    assert any("30-first-boot.sh: olpc.1 is damaged: 1 path" in line for line in done.lines)
    assert not reboots
    assert told(stage) == "due"

    stage.machine.run("repair", "1", "--from", stage.machine.repo)
    (issue.parent / "own").write_text("what runs makes files of its own")
    done, reboots = boot(stage)
    assert done.code == 0
    assert reboots


def test_a_version_that_is_changed_in_place_is_not_compared(stage: Stage) -> None:
    """BT-63: in the mode rw."""
    stage.booted("olpc.1", "rw")
    (stage.machine.tree(1) / "etc/issue").write_text("changed")

    done, reboots = boot(stage)

    assert (done.code, reboots) == (0, True)


def test_what_cannot_be_kept_does_not_reboot(stage: Stage) -> None:
    """BT-63: or the next boot would be a first one again."""
    state = stage.machine.store / ".rootman/state.json"
    subprocess.run(("chattr", "+i", state), check=True)
    try:
        done, reboots = boot(stage)
    finally:
        subprocess.run(("chattr", "-i", state), check=True)

    assert done.code == 7
    assert "write state.json" in done.err
    assert not reboots
    assert told(stage) == "due"


def test_who_does_not_ask_has_no_first_boot(stage: Stage) -> None:
    """BT-63."""
    stage.says(PLAIN.replace(" rootman.firstboot", ""))
    stage.machine.run("boot", "init")

    _, reboots = boot(stage)

    assert not reboots
    assert told(stage) == ""
    assert "first_boot" not in (stage.machine.store / ".rootman/state.json").read_text()
