"""``rootman prune``."""

from __future__ import annotations

import click

from cli.options import VERSION, as_json, changing
from cli.render import emit, emit_json, size


@click.command
@click.argument("versions", metavar="[N]...", type=VERSION, nargs=-1)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    metavar="K",
    help="Keep this many of the newest versions [default: 2].",
)
@as_json
@click.pass_obj
def command(rootfs: str, versions: tuple[int, ...], keep: int | None, as_json: bool) -> None:
    """Delete old versions.

    All but the newest K, or exactly those that are named. Versions that are current,
    previous or pinned always stay, and naming one is refused; so is, before anything
    is deleted, a version that something is mounted in or that a process uses, which
    is named then.

    \b
      rootman prune
      rootman prune --keep 5
      rootman prune 3 4

    Exit codes: rootman --help lists them.
    """
    if versions and keep is not None:
        raise click.UsageError("give versions, or --keep", click.get_current_context())
    from rootman.plan import KEEP_DEFAULT
    from rootman.retention import prune

    with changing(rootfs, "prune") as opened:
        result = prune(opened, keep=KEEP_DEFAULT if keep is None else keep, versions=versions)
    if as_json:
        emit_json({"deleted": list(result.deleted), "bytes_freed": result.freed})
    elif result.deleted:
        names = ", ".join(f"{result.os_name}.{version}" for version in result.deleted)
        emit((f"deleted {names}: {size(result.freed)} freed",))
    else:
        emit(("nothing to delete",))
