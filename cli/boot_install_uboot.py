"""``rootman boot install-uboot``."""

from __future__ import annotations

import click

from cli.options import changing
from cli.render import emit, printable

_LIMIT = "if U-Boot has a bootlimit it needs: setenv altbootcmd run bootcmd; saveenv"


@click.command
@click.argument("directory", metavar="[DIR]", default="/boot")
@click.pass_obj
def command(rootfs: str, directory: str) -> None:
    """Have U-Boot choose the version, count attempts and fall back.

    Writes boot.scr into DIR, /boot by default, where U-Boot's standard boot finds and runs it. It
    boots `current`, else `previous`, else the version for rescue. Attempts are counted
    in the boot state, by one sector that the script knows the place of; where
    that is not as it was, the initramfs counts. To be done again after
    `rootman boot init` mended a damaged boot state.

    A U-Boot that counts its starts, with `bootlimit` set, ends a trial, too: also that of a
    kernel that hangs where the sector cannot be written. It needs `altbootcmd` set to
    `run bootcmd`, or stops at its prompt.

    \b
      rootman boot install-uboot
      rootman boot install-uboot /mnt/boot

    Exit codes: rootman --help lists them.
    """
    from rootman.boot.uboot_install import install_uboot

    with changing(rootfs, "boot install-uboot") as opened:
        result = install_uboot(opened, directory)
        for warning in result.warnings:
            opened.reporter.warn(warning)
    emit(
        (printable(f"{result.path} {'written' if result.is_new else 'is as it is to be'}"), _LIMIT)
    )
