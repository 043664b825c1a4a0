"""``rootman boot install-grub``."""

from __future__ import annotations

import click

from cli.options import changing
from cli.render import emit, printable
from rootman.boot.initramfs import MODES


@click.command
@click.option(
    "--grub-dir",
    default="/boot/grub",
    show_default=True,
    metavar="DIR",
    help="Where GRUB has its grub.cfg.",
)
@click.option(
    "--mode",
    type=click.Choice(MODES),
    help="How versions come up that do not say it themselves (rootman boot label --args).",
)
@click.pass_obj
def command(rootfs: str, grub_dir: str, mode: str | None) -> None:
    """Have GRUB choose the version, count attempts and fall back.

    Writes rootman.cfg into GRUB's directory, and a line that sources it into custom.cfg,
    which the grub.cfg of Debian reads at its end and update-grub leaves alone. GRUB then
    boots `current`, else `previous`, else the newest version that is not bad, and its
    menu has every version. A store on a filesystem that GRUB cannot read, or in which it
    cannot count, is refused.

    With --mode every version comes up so on this machine (rootman boot install-initramfs
    says what the modes are), unless its own label says otherwise. Without it what was said
    before stays; in the beginning that is guard.

    \b
      rootman boot install-grub
      rootman boot install-grub --mode ro
      rootman boot install-grub --grub-dir /mnt/boot/grub

    Exit codes: rootman --help lists them.
    """
    from rootman.boot.installing import install_grub

    with changing(rootfs, "boot install-grub") as opened:
        result = install_grub(opened, grub_dir, mode=mode)
        for warning in result.warnings:
            opened.reporter.warn(warning)
    lines = [f"written: {printable(path)}" for path in result.written]
    emit(lines or (f"{printable(grub_dir)} has all of it already",))
