"""``rootman boot mark-good``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import NUMBER, changing
from cli.render import emit

if TYPE_CHECKING:
    from rootman.names import TreeNumber


@click.command
@click.argument("number", metavar="[N]", type=NUMBER, required=False)
@click.pass_obj
def command(rootfs: str, number: TreeNumber | None) -> None:
    """Say that a version has passed its checks.

    Without N it is the one that this machine has booted. Attempts to boot it are not
    counted any more, and one that was bad is not. Where it is good already, or no boot
    state is kept, nothing changes.

    \b
      rootman boot mark-good
      rootman boot mark-good 7

    Exit codes: rootman --help lists them.
    """
    from rootman.boot.marking import mark
    from rootman.boot.planning import plan_good

    with changing(rootfs, "boot mark-good") as opened:
        result = mark(opened, plan_good, number)
    emit((f"{result.name} is good{'' if result.changed else ' already'}",))
