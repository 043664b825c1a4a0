"""``rootman hash``."""

from __future__ import annotations

import click

from cli.options import as_json
from cli.progress import Progress
from cli.render import emit, emit_json, readable


@click.command
@click.argument("path")
@click.option(
    "--clamp-mtime",
    "clamp",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Take later modification times for this one, as publish does (seconds since 1970).",
)
@as_json
def command(path: str, clamp: int | None, as_json: bool) -> None:
    """Print the SHA-256 that names a tree or a file in a repository.

    Of a directory that is the SHA-256 of its manifest, which a release names; equal trees
    have equal ones, to the last mode and time. Of a file it is that of its content, which
    names its object.

    \b
      rootman hash /build/root
      ls /srv/repo/manifests/$(rootman hash /build/root).zst
      rootman hash /build/root/bin/sh --json

    Exit codes: rootman --help lists them.
    """
    from rootman.listing import digest

    clamp_ns = None if clamp is None else clamp * 1_000_000_000
    with Progress("hash") as progress:
        found = digest(path, progress.counted(f"read {path}"), clamp_time_ns=clamp_ns)
    if as_json:
        document = {"path": readable(path), "kind": found.kind, "sha256": found.sha256}
        emit_json({**document, "size": found.size})
    else:
        emit((found.sha256,))
