"""``rootman layer``: what it keeps; ``layer_add`` and ``layer_remove`` change that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from cli.main import Commands
from cli.options import as_json, looking
from cli.render import emit, emit_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootman.layer.keeping import Kept

SUBCOMMANDS: Final[Mapping[str, str]] = {
    "add": "Have packages in each new version.",
    "remove": "Have packages no more in a new version.",
}


class Subcommands(Commands):
    """The commands of the group, found as those of ``rootman`` are."""

    table = SUBCOMMANDS
    prefix = "layer_"


@click.group(cls=Subcommands, invoke_without_command=True)
@as_json
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Keep packages that each new version gets besides.

    What is installed in a version, by apt-get for example, stays in that version. The packages
    that are listed here an upgrade installs anew, in the new version before it is sealed, by its
    own package manager and with the network: that of Debian, apt-get. Where that fails the
    upgrade fails, and nothing was changed; `rootman upgrade --no-layer` goes without.
    Without a command the list is shown.

    \b
      rootman layer add htop strace
      rootman layer
      rootman layer remove strace

    Exit codes: rootman --help lists them.
    """
    if context.invoked_subcommand is not None:
        return
    from rootman.layer.keeping import look_at_layer

    with looking(context.obj, "layer") as view:
        kept = look_at_layer(view.store, view.state)
    if as_json:
        emit_json(document(kept))
    else:
        emit(_lines(kept))


def document(kept: Kept) -> dict[str, object]:
    """Return the layer for scripts."""
    return {
        "name": kept.os_name,
        "layer": list(kept.layer),
        "current_name": kept.current or None,
        "installed": sorted(kept.there),
        "package_manager": kept.manager or None,
    }


def _lines(kept: Kept) -> list[str]:
    if not kept.layer:
        return ["no packages are kept for new versions; to begin: rootman layer add PACKAGE"]
    return [
        f"{name}: in {kept.current}" if name in kept.there else f"{name}: with the next upgrade"
        for name in kept.layer
    ]
