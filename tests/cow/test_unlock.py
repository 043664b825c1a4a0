"""``rootman unlock`` on systems that run from a tree, by real mounts and guards."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from tests.builders import file, hardlink
from tests.commands import ROOTMAN, Machine
from tests.cow.guarding import snapshot
from tests.cow.running import rooms, running
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.builders import Tree

pytestmark = [pytest.mark.loopfs, pytest.mark.fuse]


def _tree(version: int) -> Tree:
    return {
        **rooms(),
        "etc/motd": file("hello"),
        "etc/version": file(str(version)),
        "etc/pair": file("one of two"),
        "etc/pair.2": hardlink("etc/pair"),
        "opt/tool": file("tool", 0o755),
        "srv/empty": file(),
    }


@pytest.fixture
def machine(tmp_on_ext4: Path) -> Machine:
    """Return a device with versions 1 and 2, which is current and has local configuration."""
    lab = Lab(tmp_on_ext4)
    lab.init()
    for version in (1, 2):
        lab.publish(version, _tree(version), config=("/etc",))
        lab.upgrade(version)
    (lab.tree(2) / "etc/hostname").write_text("here")
    (lab.tree(2) / "etc/hostname.2").hardlink_to(lab.tree(2) / "etc/hostname")
    return Machine(tmp_on_ext4)


CHANGES: Final = """
echo changed >/etc/motd
echo other >/etc/pair.2
echo filled >/srv/empty
echo new >/opt/new
chmod 700 /opt/tool
rm /etc/version
echo more >>/etc/hostname
"""


def test_what_is_changed_is_gone_at_the_next_boot(machine: Machine) -> None:
    """UL-1 UL-3 S5: nothing of it is in any tree, and the local configuration was there."""
    before = {number: snapshot(machine.tree(number)) for number in (1, 2)}
    with running(machine, "olpc.2", "ro") as system:
        assert "Read-only" in system.fails("echo x >/etc/motd")
        said = system.machine.run("unlock").lines

        assert said == [
            "olpc.2 is unlocked: what is changed is gone at the next boot",
            "writable: /etc /opt /srv; what is directly in / is not",
        ]
        system.sh(CHANGES)
        assert system.sh("cat /etc/pair /etc/hostname.2 /srv/empty") == "other\nheremore\nfilled"
        assert "Read-only" in system.fails("echo x >/new")
        assert "unlocked (throw-away)" in system.machine.run("status").out
        assert {number: snapshot(machine.tree(number)) for number in (1, 2)} == before

    assert {number: snapshot(machine.tree(number)) for number in (1, 2)} == before
    assert machine.document("status")["interrupted"] == []
    assert not (machine.store / ".rootman/staging/unlocked.2").exists()
    assert machine.run("verify", 1).code == 0


def test_unlocking_twice_is_unlocking_once(machine: Machine) -> None:
    """UL-1: while a guard has the clone no command removes it."""
    with running(machine, "olpc.2", "ro") as system:
        system.machine.run("unlock")
        system.sh("echo changed >/etc/motd")

        document = system.machine.document("unlock")

        assert (document["unlocked"], document["is_new"]) == ("throw-away", False)
        assert document["writable"] == ["/etc", "/opt", "/srv"]
        system.machine.run("pin", 1)
        assert system.machine.document("status")["staged"] == []
        assert system.sh("cat /etc/motd") == "changed"
        said = system.machine.refused("unlock", "--hotfix", code=4)
        assert "reboot, then rootman unlock --hotfix" in said


def test_an_upgrade_says_that_it_does_not_carry_what_is_thrown_away(machine: Machine) -> None:
    """UL-6."""
    Lab(machine.home).publish(3, _tree(3), config=("/etc",))
    with running(machine, "olpc.2", "ro") as system:
        system.machine.run("unlock")
        system.sh("echo changed >/etc/motd")

        done = system.machine.attempt("upgrade", machine.release(3))

        assert done.code == 0
        assert "olpc.2 is unlocked until the next boot: what was changed since" in done.err
    assert (machine.tree(3) / "etc/motd").read_text() == "hello"
    assert (machine.tree(3) / "etc/hostname").read_text() == "here"


def test_a_hotfix_stays_in_its_tree_and_can_be_rolled_back(machine: Machine) -> None:
    """UL-4 S5: the fallback is what was installed, with the configuration."""
    before = snapshot(machine.tree(1))
    with running(machine, "olpc.2", "ro") as system:
        said = system.machine.run("unlock", "--hotfix").lines
        clean = snapshot(machine.tree("2.1"))
        system.sh(CHANGES)
        assert "unlocked (hotfix)" in system.machine.run("status").out

    assert said == [
        "olpc.2 is unlocked: what is changed stays in it, and in no other version",
        "writable: /etc /opt /srv; what is directly in / is not",
        "previous: olpc.2.1, as it was installed (made now); to go back to it: rootman rollback",
        "olpc.1 stays, and is not previous any more: rootman rollback --to 1",
    ]
    machine.run("status")  # nothing is left to be recovered
    assert machine.links == {"current": "olpc.2", "previous": "olpc.2.1"}
    assert (machine.tree(2) / "opt/new").read_text() == "new\n"
    assert (snapshot(machine.tree(1)), snapshot(machine.tree("2.1"))) == (before, clean)
    assert (machine.tree("2.1") / "etc/hostname").read_text() == "here"
    assert not (machine.tree("2.1") / "opt/new").exists()
    machine.run("rollback")
    assert machine.links == {"current": "olpc.2.1", "previous": "olpc.2"}
    assert "nothing to do" in machine.run("upgrade", machine.release(2)).out


def test_a_hotfix_that_is_made_twice_has_one_fallback(machine: Machine) -> None:
    """UL-4: one that is clean serves again, one in which programs were changed does not."""
    for is_new in (True, False):
        with running(machine, "olpc.2", "ro") as system:
            document = system.machine.document("unlock", "--hotfix")
            assert (document["fallback_name"], document["fallback_is_new"]) == ("olpc.2.1", is_new)
    (machine.tree("2.1") / "opt/new").touch()

    with running(machine, "olpc.2", "ro") as system:
        assert system.machine.document("unlock", "--hotfix")["fallback_name"] == "olpc.2.2"
    assert machine.links == {"current": "olpc.2", "previous": "olpc.2.2"}


def test_what_can_be_written_already_only_gets_its_fallback(machine: Machine) -> None:
    """UL-2."""
    with running(machine, "olpc.2", "guard") as system:
        said = system.machine.run("unlock").lines
        (line,) = said
        assert line.startswith("olpc.2 is writable already (guard): what is changed stays in it")
        system.sh("echo new >/opt/new")
        hotfix = system.machine.document("unlock", "--hotfix")
        assert (hotfix["unlocked"], hotfix["fallback_name"]) == (None, "olpc.2.1")
    assert not (machine.tree("2.1") / "opt/new").exists()
    with running(machine, "olpc.2", "overlay") as system:
        assert "stays in its overlay" in system.machine.run("unlock").out


def test_what_would_leak_or_not_be_seen_is_refused(machine: Machine) -> None:
    """UL-2: and nothing is changed."""
    with running(machine, "olpc.2", "rw") as system:
        assert "a change of a file that versions share" in system.machine.refused("unlock", code=4)
    with running(machine, "olpc.1", "ro") as system:
        assert "is not what boots next" in system.machine.refused("unlock", "--hotfix", code=4)
        system.sh("sed -i s/olpc.1/olpc.2/ /run/rootman/booted")
        assert "/ is not olpc.2 of the store" in system.machine.refused("unlock", code=4)
    with running(machine, "olpc.2", "ro") as system:
        alone = Machine(machine.home, (*system.machine.runner, "unshare", "--mount"))
        assert "nsenter --mount=/proc/1/ns/mnt" in alone.refused("unlock", code=4)
        system.sh("rm /run/rootman/booted")
        assert "does not run a tree" in system.machine.refused("unlock", code=8)
    assert machine.links == {"current": "olpc.2", "previous": "olpc.1"}
    assert machine.document("status")["interrupted"] == []


def test_configuration_that_could_be_changed_is_unlocked_with_the_rest(machine: Machine) -> None:
    """UL-3 UL-4 UL-5: thrown away with a clone, and a hotfix by the guard that is there."""
    with running(machine, "olpc.2", "config") as system:
        system.sh("echo lasts >/etc/motd")
        before = snapshot(machine.tree(2))

        assert system.machine.document("unlock")["writable"] == ["/etc", "/opt", "/srv"]
        assert system.sh("cat /etc/motd") == "lasts"
        system.sh("echo changed >/etc/motd && echo new >/opt/new")
        assert snapshot(machine.tree(2)) == before
    with running(machine, "olpc.2", "config") as system:
        assert system.sh("cat /etc/motd; ls /opt") == "lasts\ntool"

        document = system.machine.document("unlock", "--hotfix")

        assert (document["unlocked"], document["fallback_name"]) == ("hotfix", "olpc.2.1")
        assert document["writable"] == ["/etc", "/opt", "/srv"]
        system.sh("echo changed >/etc/motd && echo new >/opt/new")
    assert (machine.tree(2) / "etc/motd").read_text() == "changed\n"
    assert (machine.tree(2) / "opt/new").read_text() == "new\n"
    assert (machine.tree("2.1") / "etc/motd").read_text() == "lasts\n"


def test_what_is_mounted_below_stays_in_sight(machine: Machine) -> None:
    """UL-5: and can be unmounted where it is seen."""
    (machine.tree(2) / "opt/data").mkdir()
    with running(machine, "olpc.2", "ro") as system:
        system.sh("mount -t tmpfs data /opt/data && mkdir /opt/data/deep && echo it >/opt/data/it")
        system.sh("mount -t tmpfs deep /opt/data/deep && echo deep >/opt/data/deep/it")

        system.machine.run("unlock")

        assert system.sh("cat /opt/data/it /opt/data/deep/it") == "it\ndeep"
        system.sh("echo new >/opt/new")
        system.sh("umount /opt/data/deep && umount /opt/data && rmdir /opt/data")


def test_the_guard_does_not_end_with_the_unit_that_unlocked(machine: Machine) -> None:
    """BT-44 UL-1: nor with anything else that the system ends before it is down."""
    with running(machine, "olpc.2", "ro") as system:
        system.sh("mkdir /run/cgroup && mount -t cgroup2 none /run/cgroup")
        unit = f"/run/cgroup/rootman-test-{os.getpid()}"
        system.sh(f"mkdir {unit}")
        try:
            unlock = f"{ROOTMAN} --rootfs {machine.store} unlock"
            system.sh(f"echo $$ >{unit}/cgroup.procs; {unlock}")
            assert system.sh(f"cat {unit}/cgroup.procs") == ""
        finally:
            system.sh(f"rmdir {unit}")
        daemon = system.sh("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep '^@'")
        assert daemon.startswith("@")


SYSTEMD: Final = """
mkdir -p /run/systemd/system /run/bin
printf '#!/bin/sh\\necho "$*" >>/run/called\\nexit %s\\n' {code} >/run/bin/systemctl
chmod 755 /run/bin/systemctl
"""


def test_systemd_takes_away_what_covers_before_it_ends_the_machine(machine: Machine) -> None:
    """UL-7: when it stops the guard for a moment it runs no program through it."""
    environment = {"PATH": f"/run/bin:{os.environ['PATH']}"}
    with running(machine, "olpc.2", "ro") as system:
        system.sh(SYSTEMD.format(code=0))

        system.machine.run("unlock", env=environment)

        assert system.sh("cat /run/called") == "daemon-reload\nstart rootman-unlocked.service"
        unit = "/run/systemd/system/rootman-unlocked.service"
        system.sh("echo changed >/etc/motd")
        system.sh(f"$(sed -n 's/^ExecStop=-//p' {unit})")
        assert system.sh("cat /etc/motd") == "hello"
        assert system.fails("grep -E ' (/etc|/opt|/srv|/run/rootman/writable) ' /proc/mounts") == ""


def test_where_systemd_does_not_take_the_unit_nothing_is_unlocked(machine: Machine) -> None:
    """UL-7."""
    environment = {"PATH": f"/run/bin:{os.environ['PATH']}"}
    with running(machine, "olpc.2", "ro") as system:
        system.sh(SYSTEMD.format(code=1))

        said = system.machine.refused("unlock", code=7, env=environment)

        assert "systemctl: exit code 1" in said
        assert "Read-only" in system.fails("echo x >/etc/motd")
        assert not list((machine.store / ".rootman/staging").glob("unlocked.*"))


def test_what_fails_leaves_the_system_as_it_was(machine: Machine) -> None:
    """UL-1 UL-3: no clone stays, and nothing is covered."""
    with running(machine, "olpc.2", "ro") as system:
        system.sh("touch /run/rootman/writable")
        said = system.machine.refused("unlock", code=7)

        assert "unlock: unlock olpc.2: /run/rootman/writable: File exists" in said
        system.sh("rm /run/rootman/writable")
        assert not list((machine.store / ".rootman/staging").glob("unlocked.*"))
        assert "Read-only" in system.fails("echo x >/etc/motd")
        system.machine.run("unlock")
