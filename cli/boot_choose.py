"""``rootman boot choose``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import NUMBER, changing
from cli.render import emit

if TYPE_CHECKING:
    from rootman.names import TreeNumber


@click.command
@click.argument("number", metavar="[N]", type=NUMBER, required=False)
@click.option("--once", is_flag=True, help="For the next boot alone.")
@click.option("--none", "none", is_flag=True, help="Take such a choice back.")
@click.pass_obj
def command(rootfs: str, number: TreeNumber | None, once: bool, none: bool) -> None:
    """Have the next boot take a version, once.

    Whatever is known about it: also a bad one boots. The choice is over before it is
    booted, so that the boot after that goes as ever. To change for good: rootman rollback.

    \b
      rootman boot choose 5 --once
      rootman boot choose --none

    Exit codes: rootman --help lists them.
    """
    if none in {number is not None, once}:
        raise click.UsageError("say N --once, or --none", click.get_current_context())
    from rootman.boot.marking import choose_for
    from rootman.boot.planning import plan_once

    with changing(rootfs, "boot choose") as opened:
        result = choose_for(opened, plan_once, number)
    once_more = "" if none else ", once"
    emit((f"{result.next} boots next{once_more}",))
