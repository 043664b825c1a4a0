"""``rootman boot install-entries``."""

from __future__ import annotations

import click

from cli.options import changing
from cli.render import emit, printable
from rootman.boot.loader import KINDS


@click.command
@click.argument("directory", metavar="[DIR]", required=False)
@click.option(
    "--loader",
    type=click.Choice(KINDS),
    help="The loader; by default the one whose directory is in DIR.",
)
@click.option("--none", "none", is_flag=True, help="Keep the menu no longer; what is there stays.")
@click.pass_obj
def command(rootfs: str, directory: str | None, loader: str | None, none: bool) -> None:
    """Keep the menu of systemd-boot or extlinux, with kernels of its own.

    For loaders that read a FAT and not the filesystem of the store. DIR is where it is mounted.
    The kernel of each version is copied there, once where versions share it, and each
    has an entry; from then on every command that changes what boots changes the menu, too.

    systemd-boot counts the attempts to boot a new version in the name of its entry, and
    falls back by itself. extlinux boots what its file says: the initramfs counts, and
    a version whose kernel or initramfs does not come up stays the default.

    \b
      rootman boot install-entries /boot
      rootman boot install-entries /efi --loader systemd-boot
      rootman boot install-entries --none

    Exit codes: rootman --help lists them.
    """
    if none == (directory is not None):
        raise click.UsageError("say DIR, or --none", click.get_current_context())
    from rootman.boot.entries import forget_loader, install_entries

    with changing(rootfs, "boot install-entries") as opened:
        if directory is None:
            kept = forget_loader(opened)
            emit((f"the menu is {'left as it is now' if kept else 'not kept here'}",))
            return
        result = install_entries(opened, directory, loader)
        for warning in result.warnings:
            opened.reporter.warn(warning)
    trees = ", ".join(result.menu) or "nothing"
    emit((printable(f"the menu of {result.kind} in {directory} has {trees}"),))
