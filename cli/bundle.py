"""``rootman bundle``: the group; each of its commands is a file ``bundle_NAME.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from cli.main import Commands

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBCOMMANDS: Final[Mapping[str, str]] = {
    "list": "List the bundles that there are.",
    "info": "Show what is known of a bundle.",
    "search": "Find out which bundles have a path.",
    "add": "Add bundles to what is current.",
    "remove": "Remove bundles from what is current.",
}


class Subcommands(Commands):
    """The commands of the group, found as those of ``rootman`` are."""

    table = SUBCOMMANDS
    prefix = "bundle_"

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, imported now; ``search`` is that of ``rootman`` itself."""
        if cmd_name == "search":
            from cli.search import command as search

            return search
        return super().get_command(ctx, cmd_name)


@click.group(cls=Subcommands)
def command() -> None:
    """Add what is optional, remove it, and look for it.

    A bundle is a set of files that a version may have or not, as its publisher made them
    (rootman publish --bundle). To add or remove one makes another tree of the same
    version, olpc.7.1 beside olpc.7, which becomes current as by an upgrade: at once, and
    rootman rollback goes back. Upgrades keep what was chosen.

    \b
      rootman bundle list https://example.org/repo
      rootman bundle add editor --from https://example.org/repo
      rootman bundle remove editor
      rootman rollback                            to have it again

    Exit codes: rootman --help lists them.
    """
