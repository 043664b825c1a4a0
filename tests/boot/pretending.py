"""A machine as commands see it that look at what runs it, and have it rebooted.

In mounts of its own are a kernel command line, a /run with or without systemd, and a kernel
with or without kexec. The programs that a machine is rebooted with only note how they are
called; those of this machine cannot be reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.commands import ROOTMAN, Machine

if TYPE_CHECKING:
    from pathlib import Path

_SETTING: Final = """
home=$1
shift
for program in kexec reboot systemctl; do
    for folder in /usr/sbin /usr/bin /sbin /bin; do
        [ ! -e "$folder/$program" ] || mount --bind /dev/null "$folder/$program" || exit 99
    done
done
mount --bind "$home/cmdline" /proc/cmdline &&
    mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /sys/kernel || exit 99
[ ! -e "$home/systemd" ] || mkdir -p /run/systemd/system
[ ! -e "$home/booted" ] || { mkdir /run/rootman && cp "$home/booted" /run/rootman; }
[ ! -e "$home/can-kexec" ] || echo 0 >/sys/kernel/kexec_loaded
PATH=$home/bin:$PATH
export PATH
exec "$@"
"""


class Stage:
    """What a machine seems to be; ``machine`` is the device on it."""

    def __init__(self, home: Path) -> None:
        self._home = home / "stage"
        (self._home / "bin").mkdir(parents=True)
        self._log = self._home / "log"
        self.says("")
        self.has("systemd", "can-kexec")
        self.program("reboot")
        self.program("systemctl")
        (self._home / "bin/rootman").symlink_to(ROOTMAN)
        # A process of its own ends with all that it started (``system``).
        runner = ("unshare", "--mount", "--pid", "--fork", "sh", "-c", _SETTING, "sh")
        self.machine = Machine(home, (*runner, str(self._home)))

    def says(self, command_line: str) -> None:
        """Have the kernel that runs been given a command line."""
        (self._home / "cmdline").write_text(f"{command_line}\n")

    def booted(self, tree: str, mode: str) -> None:
        """Have an initramfs brought up a tree."""
        (self._home / "booted").write_text(f"{tree}\nof the loader\n{mode}\n")

    def has(self, *names: str) -> None:
        """Have it just these: ``systemd``, ``can-kexec``."""
        for name in ("systemd", "can-kexec"):
            (self._home / name).unlink(missing_ok=True)
        for name in names:
            (self._home / name).touch()

    def program(self, name: str, then: str = ":") -> None:
        """Have it a program that notes how it is called, ``then`` does something."""
        path = self._home / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self._log}\n{then}\n')
        path.chmod(0o755)

    def called(self) -> list[str]:
        """Return how programs were called since this was last asked."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return lines
