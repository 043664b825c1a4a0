"""Upgrades and rollbacks that reboot, through the loader or by kexec.

That the machine then does boot what was loaded is seen in ``test_qemu``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from rootman.boot.block import BootState
from rootman.boot.commandline import firmware_limit, for_tree, option, words
from rootman.boot.label import Label
from tests.boot.pretending import Stage
from tests.boot.states import read_block
from tests.builders import directory, file, symlink
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.builders import Node, Tree

pytestmark = pytest.mark.loopfs

KERNEL: Final[Tree] = {
    "rootfs": directory(),
    "boot": directory(),
    "boot/vmlinuz-6.1": file(b"linux"),
    "boot/initrd.img-6.1": file(b"initrd"),
}
ROOT: Final = "root=UUID=12 rootman.store=/store rootman.mode=ro ro"
RUNS_1: Final = f"BOOT_IMAGE=/boot/linux {ROOT} rootman.tree=olpc.1 quiet panic=1"


def label(version: int, args: str = "") -> Node:
    text = Label(f"olpc.{version}", "/boot/vmlinuz-6.1", "/boot/initrd.img-6.1", args)
    return file(text.serialise())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("quiet rootman.mode=ro rootman.mode=rw", "rw"),
        ("rootman.mode", ""),
        ('a="rootman.mode=x y" quiet', None),
        ("rootman.modes=ro", None),
    ],
)
def test_options_of_a_kernel(text: str, found: str | None) -> None:
    """BT-41."""
    assert option(text, "rootman.mode") == found


@pytest.mark.parametrize(
    ("running", "own", "expected"),
    [
        (RUNS_1, "quiet panic=1", f"{ROOT} rootman.tree=olpc.2 new"),
        # What is not at the end is not of the label: it is the machine's.
        (f"quiet panic=1 {ROOT}", "quiet panic=1", f"quiet panic=1 {ROOT} rootman.tree=olpc.2 new"),
        (
            f"{ROOT} rootman.tree=olpc.1 rootman.count rootman.bootcount=1 rootman.bootlimit=3",
            "",
            f"{ROOT} rootman.bootcount=1 rootman.bootlimit=3 rootman.tree=olpc.2 new",
        ),
        (f"{ROOT} rootman.version=olpc.1", "", f"{ROOT} rootman.tree=olpc.2 new"),
        ('initrd=/x a="b c" root=/dev/x', "", 'a="b c" root=/dev/x rootman.tree=olpc.2 new'),
    ],
)
def test_the_command_line_of_another_tree(running: str, own: str, expected: str) -> None:
    """BT-61: what is the machine's stays, what was the other tree's goes."""
    assert for_tree(running, own.split(), "olpc.2", ["new"]) == expected


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("rootman.bootcount=2 rootman.bootlimit=3", 5),
        ("rootman.bootcount=999999998 rootman.bootlimit=1", 999_999_999),
        ("rootman.bootcount=999999998 rootman.bootlimit=2", 0),
        ("rootman.bootcount=2", 0),
        ("rootman.bootlimit=3", 0),
        ("rootman.bootcount=0 rootman.bootlimit=3", 0),
        ("rootman.bootcount=2 rootman.bootlimit=0", 0),
        ("rootman.bootcount=2 rootman.bootlimit=x", 0),
        ("rootman.bootcount=2 rootman.bootlimit=0x3", 0),
        ("quiet", 0),
    ],
)
def test_how_far_the_firmware_may_count(text: str, limit: int) -> None:
    """BT-32: only numbers count."""
    assert firmware_limit(text) == limit


def test_a_quoted_word_is_one() -> None:
    assert words('a "b c"  d="e f"g\n') == ["a", '"b c"', 'd="e f"g']


@pytest.fixture
def stage(tmp_on_ext4: Path) -> Stage:
    """Give a machine that runs version 1, where attempts are counted, and version 2 to be had."""
    lab = Lab(tmp_on_ext4)
    lab.init()
    for version, args in ((1, "quiet panic=1"), (2, "loud")):
        lab.publish(version, {**KERNEL, "boot/rootman.cfg": label(version, args)})
    lab.upgrade(1)
    lab.boot_init()
    made = Stage(tmp_on_ext4)
    made.says(RUNS_1)
    return made


def block(stage: Stage) -> Path:
    return stage.machine.store / ".rootman/boot/grubenv"


@pytest.mark.parametrize(("init", "command"), [(("systemd",), "systemctl reboot"), ((), "reboot ")])
def test_an_upgrade_reboots_when_it_is_told(
    stage: Stage, init: tuple[str, ...], command: str
) -> None:
    """BT-61: by systemd, or by reboot(8)."""
    stage.has(*init)

    done = stage.machine.run("upgrade", stage.machine.repo, "--reboot")

    assert done.lines[-1] == "rebooting into olpc.2"
    assert stage.called() == [command]
    assert read_block(block(stage)) == BootState("olpc.2", 3)


def test_a_trial_begins_where_the_firmware_has_come_to(stage: Stage) -> None:
    """BT-32: what it counted before is of other trees, whether it begins anew or not."""
    machine = stage.machine
    stage.says(f"{RUNS_1} rootman.bootcount=2 rootman.bootlimit=3")

    machine.run("upgrade", machine.repo)

    assert read_block(block(stage)) == BootState("olpc.2", 3, limit=5)


def test_what_runs_already_is_not_rebooted(stage: Stage) -> None:
    """BT-61: a machine that upgrades each night does not reboot each night."""
    machine = stage.machine
    again = ("upgrade", machine.repo, "--reboot")
    machine.run("upgrade", machine.repo)

    assert machine.run(*again).lines[-1] == "rebooting into olpc.2"
    assert stage.called() == ["systemctl reboot"]
    for command_line in (RUNS_1.replace("olpc.1", "olpc.2"), "nobody knows"):
        stage.says(command_line)
        assert machine.run(*again).lines[-1] == "what boots next runs already: no reboot"
        assert machine.document(*again)["restarts_into"] is None
        assert stage.called() == []


def test_a_rollback_reboots_when_it_is_told(stage: Stage) -> None:
    """BT-61."""
    machine = stage.machine
    machine.run("upgrade", machine.repo)
    stage.says(RUNS_1.replace("olpc.1", "olpc.2"))

    assert machine.document("rollback", "--reboot")["restarts_into"] == "olpc.1"
    assert stage.called() == ["systemctl reboot"]


def test_what_runs_is_merged_again_when_it_goes_down(tmp_on_ext4: Path) -> None:
    """BT-62, MG-17: the command line of the kernel says what runs."""
    lab = Lab(tmp_on_ext4)
    lab.init()
    for version in (1, 2):
        lab.publish(version, {"etc/issue": file("1"), "x": file(str(version))}, config=("/etc",))
    lab.upgrade(1)
    stage = Stage(tmp_on_ext4)
    stage.machine.run("upgrade", lab.repo)
    (lab.tree(1) / "etc/added").write_text("mine")

    unknown = stage.machine.run("boot", "finish")
    stage.says(RUNS_1)
    done = stage.machine.run("boot", "finish")

    assert unknown.lines == ["olpc.2 boots next"]
    assert done.lines == [
        "configuration: 1 change kept, 0 merged, 0 conflicts",
        "olpc.2 boots next",
    ]
    assert (lab.tree(2) / "etc/added").read_text() == "mine"


def test_a_reboot_that_fails_leaves_the_upgrade(stage: Stage) -> None:
    """BT-61 EX-1: it is told what was done and what was not."""
    stage.program("systemctl", "echo 'Access denied' >&2; exit 1")

    done = stage.machine.attempt("upgrade", stage.machine.repo, "--reboot")

    assert done.code == 14
    assert "olpc.1 -> olpc.2" in done.out
    assert done.err == (
        "rootman: upgrade: this machine was not rebooted: systemctl: Access denied"
        " (hint: reboot it by hand)\n"
    )
    assert stage.machine.links["current"] == "olpc.2"


def test_kexec_does_what_the_loader_does(stage: Stage) -> None:
    """BT-61 BT-6: the attempt is counted before anything is loaded."""
    machine = stage.machine
    stage.program("kexec", f"grep -a rootman_tries {block(stage)} >{machine.home}/then")

    done = machine.run("upgrade", machine.repo, "--kexec")

    boot = machine.tree(2) / "boot"
    assert done.lines[-1] == "rebooting into olpc.2"
    loaded, asked = stage.called()
    assert loaded == (
        f"kexec --kexec-syscall-auto --load {boot}/vmlinuz-6.1 --initrd={boot}/initrd.img-6.1"
        f" --command-line={ROOT} rootman.tree=olpc.2 loud"
    )
    assert asked == "systemctl kexec"
    assert (machine.home / "then").read_text() == "rootman_tries=2\n"
    assert read_block(block(stage)) == BootState("olpc.2", 2)
    assert machine.run("rollback", "--reboot").lines[-1] == (
        "what boots next runs already: no reboot"
    )


def test_kexec_boots_what_is_chosen_once(stage: Stage) -> None:
    """BT-61 BT-5: and the choice is over."""
    machine = stage.machine
    stage.program("kexec")
    machine.run("upgrade", machine.repo)
    machine.run("boot", "mark-good", 2)
    stage.says(RUNS_1.replace("olpc.1", "olpc.2"))
    machine.run("boot", "choose", 1, "--once")

    assert machine.document("upgrade", machine.repo, "--kexec")["restarts_into"] == "olpc.1"
    assert read_block(block(stage)) == BootState()


def test_a_kernel_that_cannot_be_loaded_leaves_the_upgrade_and_the_count(stage: Stage) -> None:
    """BT-61."""
    machine = stage.machine
    stage.program("kexec", 'case $1 in --unload) ;; *) echo "no room" >&2; exit 255 ;; esac')

    done = machine.attempt("upgrade", machine.repo, "--kexec", "--json")

    assert done.code == 14
    assert '"restarts_into": null' in done.out
    assert done.err == "rootman: upgrade: kexec: no room\n"
    assert [line.split()[1] for line in stage.called()] == ["--kexec-syscall-auto", "--unload"]
    assert machine.links["current"] == "olpc.2"
    assert read_block(block(stage)) == BootState("olpc.2", 3)


def test_a_kexec_that_systemd_refuses_leaves_nothing_loaded(stage: Stage) -> None:
    """BT-61."""
    stage.program("kexec")
    stage.program("systemctl", "exit 1")

    done = stage.machine.attempt("upgrade", stage.machine.repo, "--kexec")

    assert done.code == 14
    assert stage.called()[1:] == ["systemctl kexec", "kexec --unload"]


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        ({"boot/rootman.cfg": file("set rootman_tree=olpc.3\n")}, "has no boot/rootman.cfg"),
        (
            {"boot/vmlinuz-6.1": symlink("/etc/passwd"), "boot/rootman.cfg": label(3)},
            "/boot/vmlinuz-6.1 of olpc.3 leads out",
        ),
    ],
)
def test_a_tree_that_says_no_kernel_of_its_own(stage: Stage, kernel: Tree, why: str) -> None:
    """BT-61."""
    machine = stage.machine
    stage.program("kexec")
    Lab(machine.home).publish(3, {**KERNEL, **kernel})

    done = machine.attempt("upgrade", machine.repo, "--kexec")

    assert done.code == 14
    assert why in done.err
    assert stage.called() == ["kexec --unload"]
    assert read_block(block(stage)) == BootState("olpc.3", 3)


@pytest.mark.parametrize(
    ("has", "command_line", "why"),
    [
        (("systemd",), RUNS_1, "its kernel does not allow it"),
        (("can-kexec",), RUNS_1, "systemd does not run here"),
        (("systemd", "can-kexec"), "root=/dev/x", "has not booted by rootman"),
        ((), "", "there is no program kexec (hint: apt-get install kexec-tools, or --reboot)"),
    ],
)
def test_where_there_is_no_kexec_nothing_is_begun(
    stage: Stage, has: tuple[str, ...], command_line: str, why: str
) -> None:
    """BT-61 S6."""
    machine = stage.machine
    stage.has(*has)
    stage.says(command_line)
    if has:
        stage.program("kexec")

    line = machine.refused("upgrade", machine.repo, "--kexec", code=7)

    assert line.startswith("rootman: upgrade: this machine cannot kexec: ")
    assert why in line
    assert machine.links["current"] == "olpc.1"
    assert stage.called() == []


@pytest.mark.parametrize("option", ["--dry-run", "--download-only"])
def test_what_is_not_installed_is_not_rebooted_into(stage: Stage, option: str) -> None:
    machine = stage.machine

    machine.refused("upgrade", machine.repo, "--reboot", option, code=2)
