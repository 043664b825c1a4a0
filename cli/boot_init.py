"""``rootman boot init``."""

from __future__ import annotations

import click

from cli.options import changing
from cli.render import emit


@click.command
@click.pass_obj
def command(rootfs: str) -> None:
    """Begin to count attempts to boot a new version.

    For loaders other than GRUB, such as an initramfs that chooses; `rootman boot
    install-grub` does this too. From then on every upgraded version is on trial until it
    is marked good. A boot state that is damaged is begun anew; one that is there stays.

    \b
      rootman boot init

    Exit codes: rootman --help lists them.
    """
    from rootman.boot.marking import begin_boot

    with changing(rootfs, "boot init") as opened:
        result = begin_boot(opened)
    emit(
        (
            "attempts to boot a new version are counted from now on"
            if result.changed
            else "attempts are counted here already",
        )
    )
