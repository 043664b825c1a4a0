"""``rootman mount``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.render import emit, printable

if TYPE_CHECKING:
    from rootman.names import TreeNumber


@click.command
@click.argument("what", nargs=-1, required=True, metavar="[N|current] MOUNTPOINT")
@click.option("--tree", metavar="DIR", help="Guard this directory, instead of a version.")
@click.option("--foreground", is_flag=True, help="Stay, for a service manager; log to stderr.")
@click.option("--storage-daemon", is_flag=True, help="Serve the root of the system: an initramfs.")
@click.pass_obj
def command(
    rootfs: str, what: tuple[str, ...], tree: str | None, foreground: bool, storage_daemon: bool
) -> None:
    """Mount a version so that it can be changed.

    Version N, current by default, appears at MOUNTPOINT. Whatever programs change
    there is changed in that version alone: a file that other versions share is
    copied before its first change. With --tree any directory that shares files
    with others by hardlinks can be guarded so.

    While it is mounted the directory below is not to be changed by anything else.
    A guard that was killed loses nothing; mount it again. With --foreground it
    says to a service manager when it is ready, and ends on SIGTERM. --storage-daemon is
    for an initramfs that mounts the root of the system: systemd then leaves it alone.

    \b
      rootman mount /mnt
      rootman mount 7 /mnt
      rootman mount --tree /srv/farm/a /mnt

    Exit codes: rootman --help lists them.
    """
    from cow.mounts import Request, mount

    number, mountpoint = _arguments(what, tree)
    request = Request(rootfs, number, tree, mountpoint)
    source = mount(request, foreground=foreground, storage_daemon=storage_daemon)
    if not foreground:
        emit((printable(f"{source} is mounted at {mountpoint}"),))


def _arguments(what: tuple[str, ...], tree: str | None) -> tuple[TreeNumber | None, str]:
    *first, mountpoint = what
    context = click.get_current_context()
    if len(first) > 1 or (first and tree is not None):
        raise click.UsageError("there is one MOUNTPOINT, and --tree or a version", context)
    if first in ([], ["current"]):
        return None, mountpoint
    from cli.options import NUMBER

    return NUMBER.convert(first[0], None, context), mountpoint
