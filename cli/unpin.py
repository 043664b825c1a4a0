"""``rootman unpin``."""

from __future__ import annotations

import click

from cli.options import VERSION, changing
from cli.render import emit


@click.command
@click.argument("version", metavar="N", type=VERSION)
@click.pass_obj
def command(rootfs: str, version: int) -> None:
    """Lift the pin of a version.

    From then on prune may delete it, and an upgrade may take it for the spare, as soon
    as it is neither current nor previous.

    \b
      rootman unpin 5

    Exit codes: rootman --help lists them.
    """
    from rootman.retention import set_pin

    with changing(rootfs, "unpin") as opened:
        result = set_pin(opened, version, pinned=False)
    emit((f"{result.name} is not pinned{' any more' if result.changed else ''}",))
