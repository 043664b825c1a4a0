"""``rootman boot install-initramfs``."""

from __future__ import annotations

import click

from cli.options import real_fs
from cli.render import emit, printable


@click.command
@click.option("--root", default="/", show_default=True, metavar="DIR", help="The tree to do it in.")
@click.option("--dracut", is_flag=True, help="For dracut, where initramfs-tools is there, too.")
def command(root: str, dracut: bool) -> None:
    """Have an initramfs bring up the tree that is booted.

    Writes a hook and a boot script for initramfs-tools below etc/initramfs-tools, or a
    module for dracut; the next initramfs that is made has them. Where the kernel command
    line has an option of rootman, such an initramfs takes the tree that the loader names,
    or chooses by the boot state, and mounts it as rootman.mode= says:

    \b
      guard      everything can be changed, and no other version with it (the default)
      ro         nothing can be changed
      overlay    what is changed goes to a directory of its own
      rw         what is changed in a file that versions share is changed in all of them

    With rootman.step it stops before each step for a look, and with rootman.debug it
    shows each command.

    \b
      rootman boot install-initramfs --root /build/root
      chroot /build/root update-initramfs -u
      chroot /build/root dracut --no-hostonly --force --regenerate-all

    Exit codes: rootman --help lists them.
    """
    from rootman.boot.initramfs import install_initramfs

    written = install_initramfs(real_fs(), root, "dracut" if dracut else None)
    lines = [f"written: {printable(path)}" for path in written]
    emit(lines or (f"{printable(root)} has all of it already",))
