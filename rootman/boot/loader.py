"""A loader that has a menu of its own, on a filesystem of its own. Pure.

What the menu says is ``menu``; how it is written is ``menuwriter``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SYSTEMD_BOOT: Final = "systemd-boot"
EXTLINUX: Final = "extlinux"
KINDS: Final = (SYSTEMD_BOOT, EXTLINUX)


@dataclass(frozen=True, slots=True)
class Loader:
    """Which loader it is, and where its menu and its kernels are kept (BT-20).

    ``path`` is the directory, where ``token`` is found again: whatever else is mounted there is
    left alone. ``prefix`` is the path of that directory in its filesystem, "" for the root of
    it. ``root`` is what the kernel is told of where the store is.
    """

    kind: str
    path: str
    token: str
    prefix: str
    root: str

    @property
    def hint(self) -> str:
        """What to do where the menu is not found."""
        return f"mount it, or make it anew: rootman boot install-entries {self.path}"

    @property
    def counts(self) -> bool:
        """Whether the loader itself counts the attempts to boot a tree."""
        return self.kind == SYSTEMD_BOOT
