"""``rootman pin``."""

from __future__ import annotations

import click

from cli.options import VERSION, changing
from cli.render import emit


@click.command
@click.argument("version", metavar="N", type=VERSION)
@click.pass_obj
def command(rootfs: str, version: int) -> None:
    """Keep a version from being deleted.

    A pinned version is never deleted by prune, and an upgrade never takes it for the
    spare, until `rootman unpin` lifts the pin.

    \b
      rootman pin 5

    Exit codes: rootman --help lists them.
    """
    from rootman.retention import set_pin

    with changing(rootfs, "pin") as opened:
        result = set_pin(opened, version, pinned=True)
    emit((f"{result.name} is pinned{'' if result.changed else ' already'}",))
