"""``rootman boot``: the group; each of its commands is a file ``boot_NAME.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from cli.main import Commands

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBCOMMANDS: Final[Mapping[str, str]] = {
    "status": "Show what boots next, what is on trial and what failed.",
    "init": "Begin to count attempts to boot a new version.",
    "install-grub": "Have GRUB choose the version, count attempts and fall back.",
    "install-entries": "Keep the menu of systemd-boot or extlinux, with kernels of its own.",
    "install-uboot": "Have U-Boot choose the version, count attempts and fall back.",
    "install-initramfs": "Have an initramfs bring up the tree that is booted.",
    "label": "Have a tree name itself and its kernel to loaders.",
    "mark-good": "Say that a version has passed its checks.",
    "mark-bad": "Say that a version failed.",
    "choose": "Have the next boot take a version, once.",
    "rescue": "Keep a version for when no other is left to boot.",
    "make-state": "Make the state paths of version N that are not there yet.",
    "finish": "Finish what was begun, before this machine goes down.",
}


class Subcommands(Commands):
    """The commands of the group, found as those of ``rootman`` are."""

    table = SUBCOMMANDS
    prefix = "boot_"


@click.group(cls=Subcommands)
def command() -> None:
    """Say what boots, and what came of it.

    Where a boot state is kept, an upgraded version is on trial: each attempt to boot it
    is counted before it is made, until `rootman boot mark-good` says that it works. When
    no attempt is left, the loader boots the previous version, and the one that failed is
    bad: it is not booted, and not installed again without --retry-bad.

    \b
      rootman boot install-initramfs --root /build/root
      rootman boot label /build/root --version 7         before it is published
      rootman boot install-grub                          or install-entries, install-uboot
      rootman boot status
      rootman boot mark-good                             once it runs as it should

    Exit codes: rootman --help lists them.
    """
