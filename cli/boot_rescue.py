"""``rootman boot rescue``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import NUMBER, changing
from cli.render import emit

if TYPE_CHECKING:
    from rootman.names import TreeNumber


@click.command
@click.argument("number", metavar="[N]", type=NUMBER, required=False)
@click.option("--none", "none", is_flag=True, help="Keep none; the version stays pinned.")
@click.pass_obj
def command(rootfs: str, number: TreeNumber | None, none: bool) -> None:
    """Keep a version for when no other is left to boot.

    It is pinned, so that nothing deletes it, and is the last that the loader tries.

    \b
      rootman boot rescue 1
      rootman boot rescue --none

    Exit codes: rootman --help lists them.
    """
    if none == (number is not None):
        raise click.UsageError("say N, or --none", click.get_current_context())
    from rootman.boot.marking import choose_for
    from rootman.boot.planning import plan_rescue

    with changing(rootfs, "boot rescue") as opened:
        result = choose_for(opened, plan_rescue, number)
    emit((f"{result.name or 'no tree'} boots when no other is left",))
