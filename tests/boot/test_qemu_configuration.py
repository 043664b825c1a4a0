"""A device that somebody uses: what was done to it with real programs, across real boots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.boot.lives import boots, prepare
from tests.boot.qemu import Machine
from tests.boot.system import CONFIGURED, EVERYTHING
from tests.debian_trees import DEB

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.debian, pytest.mark.loopfs]

_RELEASE: Final = f"/run/rootman/disk/{EVERYTHING}/releases/{CONFIGURED}.json"
_KEY: Final = "/etc/ssh/ssh_host_ed25519_key"
_UNIT: Final = "/etc/systemd/system/mine.service"
_SERVICE: Final = r"[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
_USED: Final = (
    f"dpkg --install /{DEB} >/dev/null 2>&1 && hello",
    "useradd --create-home --uid 1234 me && echo me:first | chpasswd",
    "sed -i 's/^#*PermitRootLogin.*/PermitRootLogin no/' /etc/ssh/sshd_config",
    f"printf '{_SERVICE}' >{_UNIT}",
    "systemctl enable --quiet mine.service",
    "rm /etc/machine-id && systemd-machine-id-setup >/dev/null 2>&1",
    f"ssh-keygen -q -t ed25519 -N '' -f {_KEY}",
)
# What shows all of that but the package, and the password apart.
_SHOWN: Final = (
    "id me; grep ^PermitRootLogin /etc/ssh/sshd_config; cat /etc/machine-id;"
    f" sha256sum {_KEY} {_UNIT}; stat -c '%a %U' {_KEY} /etc/shadow /home/me;"
    " readlink /etc/systemd/system/multi-user.target.wants/mine.service"
)


def test_a_used_device_is_upgraded_and_rolled_back(system: Path, disk: Path) -> None:
    """MG-3 MG-9 MG-20 LY-1: also when the plug is pulled between the upgrade and the reboot."""
    prepare(system, disk, "guard")
    with Machine(disk) as machine:
        boots(machine, 1, "guard")
        for command in _USED:
            machine.run(command)
        shown, password = machine.run(_SHOWN), machine.run("grep ^me: /etc/shadow")
        said = machine.run(f"rootman upgrade {_RELEASE}")
        assert "not carried over" in said
        assert "conflict:" not in said
    with Machine(disk) as machine:
        boots(machine, CONFIGURED, "guard")
        assert machine.run(_SHOWN) == shown
        assert machine.run("grep ^me: /etc/shadow") == password
        assert machine.try_run("hello")[0] != 0
        machine.run("echo me:second | chpasswd")
        password = machine.run("grep ^me: /etc/shadow")
        machine.run("rootman boot mark-good && rootman rollback --keep-config")
        machine.reboot()
        boots(machine, 1, "guard")
        assert machine.run(_SHOWN) == shown
        assert machine.run("grep ^me: /etc/shadow") == password
        machine.run("hello")
