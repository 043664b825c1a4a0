"""``rootman umount``."""

from __future__ import annotations

import click

from cli.render import emit, printable


@click.command
@click.argument("what", metavar="N|current|MOUNTPOINT")
@click.pass_obj
def command(rootfs: str, what: str) -> None:
    """Unmount what rootman mount has mounted.

    Named by its mount point, or by the version. What programs changed is in the
    version's directory and stays there. If a program uses the mount it is named,
    and nothing is unmounted.

    \b
      rootman umount /mnt
      rootman umount current

    Exit codes: rootman --help lists them.
    """
    from cow.mounts import take_down

    for one in take_down(rootfs, what):
        emit((printable(f"{one.tree} is no longer mounted at {one.mountpoint}"),))
