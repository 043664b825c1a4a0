"""``rootman repo``: the group; each of its commands is a file ``repo_NAME.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from cli.main import Commands

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBCOMMANDS: Final[Mapping[str, str]] = {
    "pack": "Make packs, by which devices upgrade with few bytes.",
    "check": "Verify a whole repository.",
    "prune": "Drop old versions from a repository.",
    "keys": "Make keys, and say whose sign what.",
    "sign": "Sign what a repository offers, and renew its signatures.",
    "serve": "Serve a repository over HTTP, to try it out.",
}


class Subcommands(Commands):
    """The commands of the group, found as those of ``rootman`` are."""

    table = SUBCOMMANDS
    prefix = "repo_"


@click.group(cls=Subcommands)
def command() -> None:
    """Look after a repository.

    A repository is what `rootman publish` makes: a folder of files that any web server
    can serve. Signed, a device needs to trust neither the server nor the way to it.

    \b
      rootman repo keys new olpc.key
      rootman publish /build/root /srv/repo --version 1 --sign olpc.key
      rootman repo sign /srv/repo --key olpc.key         before 90 days are over
      rootman repo serve /srv/repo                       http://127.0.0.1:8000
      rootman repo prune /srv/repo --keep 5 --sign olpc.key
      rootman repo check /srv/repo

    Exit codes: rootman --help lists them.
    """
