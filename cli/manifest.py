"""``rootman manifest``."""

from __future__ import annotations

import click

from cli.progress import Progress
from cli.render import emit_raw


@click.command
@click.argument("tree")
def command(tree: str) -> None:
    """Print the mtree(5) manifest of a directory.

    One line for each path below TREE, sorted, with its type, mode, owner, size,
    time, SHA-256 and extended attributes: what publish would put into a release.
    Other mtree programs read it, and so do diff and comm. Bytes that are not
    printable ASCII are spelt as a backslash and three octal digits.

    \b
      rootman manifest /rootfs/current/ | grep ^./etc/
      rootman manifest /build/root | bsdtar -tvf -

    Exit codes: rootman --help lists them.
    """
    from rootman.listing import listing

    with Progress("manifest") as progress, listing(tree, progress.counted(f"read {tree}")) as lines:
        emit_raw(lines)
