"""What covers the directories of ``/`` is taken away before systemd ends the machine.

systemd-shutdown stops all processes, the guard among them, while it looks for those to end. A
page of its own program that had to be read through the guard then would never come. So by then
the program is to be the one of the tree below.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from rootman.boot.programs import run
from rootman.boot.restart import SYSTEMD

if TYPE_CHECKING:
    from collections.abc import Sequence

UNIT: Final = "rootman-unlocked.service"
# It stops after all services and sessions, as rootman-shutdown.service does, and before systemd
# unmounts what it finds.
_TEXT: Final = """[Unit]
Description=What rootman unlock made writable
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStop=-/bin/umount --lazy {}
"""


def uncover_at_shutdown(points: Sequence[str]) -> None:
    """Have systemd, where that runs, take away the mounts at ``points`` when it ends all services.

    Raises:
        OSError: its unit cannot be written.
        SystemFailure: systemd does not take it.
    """
    if not os.path.isdir(SYSTEMD):
        return
    with open(f"{SYSTEMD}/{UNIT}", "w", encoding="utf-8") as file:
        file.write(_TEXT.format(" ".join(points)))
    run("systemctl", "daemon-reload")
    run("systemctl", "start", UNIT)
