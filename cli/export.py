"""``rootman export``."""

from __future__ import annotations

import click

from cli.options import ORIGIN, VERSION, as_json, real_fs
from cli.progress import Progress
from cli.render import emit, emit_json, printable, readable, size


@click.command
@click.argument("repository", metavar="REPO")
@click.option("--version", type=VERSION, metavar="N", help="The release [default: newest].")
@click.option(
    "--from",
    "origins",
    type=ORIGIN,
    multiple=True,
    default=("empty",),
    metavar="N",
    help="What devices have: a version, or `empty`; may be given again [default: empty].",
)
@click.option("-o", "--output", required=True, metavar="FILE", help="For example olpc-7.rootman.")
@as_json
def command(
    repository: str, version: int | None, origins: tuple[int, ...], output: str, as_json: bool
) -> None:
    """Write a release into one file.

    It is for a stick, or for a device without a network.

    Such a file has the signatures of the repository, so a device accepts it from
    anybody. From `empty` it installs and upgrades any device; from a version it is
    much smaller, and upgrades devices with that very version. Given again, it has both.

    \b
      rootman export /srv/repo -o olpc-7.rootman
      rootman export /srv/repo --version 7 --from 6 -o olpc-6-7.rootman
      rootman upgrade olpc-7.rootman                        on the device

    Exit codes: rootman --help lists them.
    """
    from rootman.repo.export import export

    wanted = [one or None for one in origins]
    with Progress("export") as progress:
        done = export(repository, version, wanted, output, fs=real_fs(), on_progress=progress.pack)
    if as_json:
        emit_json(
            {
                "version": done.version,
                "from": list(done.origins),
                "file": readable(output),
                "size": done.size,
            }
        )
        return
    ways = ", ".join(str(one) if one else "nothing" for one in done.origins)
    emit([f"{printable(output)}: version {done.version}, from {ways}; {size(done.size)}"])
