"""``rootman layer add``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.layer import document
from cli.options import as_json, changing
from cli.render import emit, emit_json

if TYPE_CHECKING:
    from rootman.layer.keeping import Kept


@click.command
@click.argument("names", metavar="PACKAGE...", nargs=-1, required=True)
@as_json
@click.pass_obj
def command(rootfs: str, names: tuple[str, ...], as_json: bool) -> None:
    """Have packages in each new version.

    The next upgrade installs them in the version that it makes; no version that is here
    already is changed. Packages that they need come along, and need not be named.

    \b
      rootman layer add htop strace

    Exit codes: rootman --help lists them.
    """
    from rootman.layer.keeping import change_layer

    with changing(rootfs, "layer add") as opened:
        kept = change_layer(opened, added=names)
    if as_json:
        emit_json(document(kept))
    else:
        emit(_lines(kept, names))


def _lines(kept: Kept, names: tuple[str, ...]) -> list[str]:
    lines = [f"the next upgrade installs {', '.join(names)} in the new version"]
    missing = [name for name in names if name not in kept.there]
    if kept.manager and missing:
        command = f"{kept.manager} install {' '.join(missing)}"
        lines.append(f"to have it in {kept.current}, too: {command}")
    return lines
