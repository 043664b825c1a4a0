"""``rootman repo``: the group of commands for a repository, each in a file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS: Final[Mapping[str, str]] = {
    "pack": "Make packs, by which devices upgrade with few bytes.",
    "serve": "Serve a repository over HTTP, to try it out.",
}


class RepoCommands(click.Group):
    """The commands, known by name and summary until one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, imported now."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        from importlib import import_module

        command: click.Command = import_module(f"cli.repo_{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summaries without importing what they are of."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=RepoCommands)
def command() -> None:
    """Look after a repository.

    \b
      rootman repo serve /srv/repo           try it out: http://127.0.0.1:8000

    Exit codes: rootman --help lists them.
    """
