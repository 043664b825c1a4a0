"""``rootman pin``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import NUMBER, changing
from cli.render import emit

if TYPE_CHECKING:
    from rootman.names import TreeNumber


@click.command
@click.argument("number", metavar="N", type=NUMBER)
@click.pass_obj
def command(rootfs: str, number: TreeNumber) -> None:
    """Keep a version from being deleted.

    A pinned version is never deleted by prune, and an upgrade never takes it for the
    spare, until `rootman unpin` lifts the pin.

    \b
      rootman pin 5

    Exit codes: rootman --help lists them.
    """
    from rootman.retention import set_pin

    with changing(rootfs, "pin") as opened:
        result = set_pin(opened, number, pinned=True)
    emit((f"{result.name} is pinned{'' if result.changed else ' already'}",))
