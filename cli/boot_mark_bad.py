"""``rootman boot mark-bad``."""

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
    """Say that a version failed.

    Without N it is the one that this machine has booted. It is not booted while another
    one is there, and not installed again without --retry-bad; if it is current, another
    version becomes current at once. The last version that is left is refused.

    \b
      rootman boot mark-bad
      rootman boot mark-bad 7

    Exit codes: rootman --help lists them.
    """
    from rootman.boot.marking import mark
    from rootman.boot.planning import plan_bad

    with changing(rootfs, "boot mark-bad") as opened:
        result = mark(opened, plan_bad, number)
    already = "" if result.changed else " already"
    emit((f"{result.name} is bad{already}; {result.next} boots next",))
