"""``rootman unpin``."""

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
    """Lift the pin of a version.

    From then on prune may delete it, and an upgrade may take it for the spare, as soon
    as it is neither current nor previous.

    \b
      rootman unpin 5

    Exit codes: rootman --help lists them.
    """
    from rootman.retention import set_pin

    with changing(rootfs, "unpin") as opened:
        result = set_pin(opened, number, pinned=False)
    emit((f"{result.name} is not pinned{' any more' if result.changed else ''}",))
