"""``rootman layer remove``."""

from __future__ import annotations

import click

from cli.layer import document
from cli.options import as_json, changing
from cli.render import emit, emit_json


@click.command
@click.argument("names", metavar="PACKAGE...", nargs=-1, required=True)
@as_json
@click.pass_obj
def command(rootfs: str, names: tuple[str, ...], as_json: bool) -> None:
    """Have packages no more in a new version.

    The next upgrade does not install them; the versions that are here keep what they have.
    What was in their configuration is carried on, as all local configuration is.

    \b
      rootman layer remove strace

    Exit codes: rootman --help lists them.
    """
    from rootman.layer.keeping import change_layer

    with changing(rootfs, "layer remove") as opened:
        kept = change_layer(opened, removed=names)
    if as_json:
        emit_json(document(kept))
    else:
        emit((f"the next upgrade does not install {', '.join(names)}",))
