"""What GRUB finds on a disk: it reads filesystems by itself, and replays no journal (S3).

It tries the link ``current`` and loads the kernel that lies there.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

KERNEL: Final = "boot/vmlinuz"
_CONTENT: Final = re.compile(rb"(kernel ([0-9]+)\n)\1*")


class Unbootable(Exception):
    """GRUB does not get a kernel; the message says why."""


def boots(image: Path, link: str = "current") -> int:
    """Return the version whose kernel GRUB loads through ``link``, all of it.

    Raises:
        Unbootable: it does not.
    """
    path = f"(loop0)/store/{link}/{KERNEL}"
    done = subprocess.run(("grub-fstest", image, "cat", path), check=False, capture_output=True)
    found = _CONTENT.fullmatch(done.stdout)
    if done.returncode or found is None:
        message = done.stderr.decode(errors="replace").strip()
        raise Unbootable(f"{link}: {message or done.stdout[:60]!r}")
    return int(found[2])
