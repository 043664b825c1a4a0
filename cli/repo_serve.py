"""``rootman repo serve``."""

from __future__ import annotations

from contextlib import suppress

import click

from cli.render import emit, printable


@click.command
@click.argument("repository", metavar="REPO")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any."
)
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
def command(repository: str, port: int, address: str) -> None:
    """Serve a repository over HTTP, to try it out.

    REPO is served read-only, by default to this machine alone, until Ctrl-C. For
    more than a trial, any web server can serve the folder as plain files.

    \b
      rootman repo serve /srv/repo
      rootman upgrade http://127.0.0.1:8000             --insecure, where nothing is signed

    Exit codes: rootman --help lists them.
    """
    from rootman.repo.serving import serving

    with serving(repository, address, port) as server:
        emit((f"serving {printable(repository)} at {server.url}, until Ctrl-C",))
        trusted = "" if server.is_signed else "--insecure "
        emit((f"to install from it: rootman upgrade {trusted}{server.url}",))
        with suppress(KeyboardInterrupt):  # as it was told to end
            server.serve_forever()
