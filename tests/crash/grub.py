"""What GRUB finds on a disk: it reads filesystems by itself, and replays no journal (S3).

It tries the link ``current`` and loads the kernel that lies there.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Final

from rootman.boot.block import parse_block

if TYPE_CHECKING:
    from pathlib import Path

    from rootman.boot.block import BootState

KERNEL: Final = "boot/vmlinuz"
_CONTENT: Final = re.compile(rb"(kernel ([0-9]+)\n)\1*")


_BLOCK: Final = "(loop0)/store/.rootman/boot/grubenv"


def boot_state(image: Path) -> BootState | None:
    """Return the boot state as GRUB reads it, None where there is no block."""
    done = subprocess.run(("grub-fstest", image, "cat", _BLOCK), check=False, capture_output=True)
    return None if done.returncode else parse_block(done.stdout)


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
