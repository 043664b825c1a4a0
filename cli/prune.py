"""``rootman prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import NUMBER, as_json, changing
from cli.render import emit, emit_json, size
from rootman.names import tree_name

if TYPE_CHECKING:
    from rootman.names import TreeNumber


@click.command
@click.argument("numbers", metavar="[N]...", type=NUMBER, nargs=-1)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    metavar="K",
    help="Keep this many of the newest versions [default: 2].",
)
@as_json
@click.pass_obj
def command(rootfs: str, numbers: tuple[TreeNumber, ...], keep: int | None, as_json: bool) -> None:
    """Delete old versions.

    All but the newest K, or exactly those that are named. Versions that are current,
    previous or pinned always stay, and naming one is refused; so is, before anything
    is deleted, a version that something is mounted in or that a process uses, which
    is named then. State that no version has any more, since rootman reset --state, goes, too.

    \b
      rootman prune
      rootman prune --keep 5
      rootman prune 3 4

    Exit codes: rootman --help lists them.
    """
    if numbers and keep is not None:
        raise click.UsageError("give versions, or --keep", click.get_current_context())
    from rootman.retention import prune
    from rootman.upkeep import KEEP_DEFAULT

    with changing(rootfs, "prune") as opened:
        result = prune(opened, keep=KEEP_DEFAULT if keep is None else keep, numbers=numbers)
    names = [tree_name(result.os_name, number) for number in result.deleted]
    if as_json:
        deleted = [number.version for number in result.deleted]
        document = {"deleted": deleted, "deleted_names": names, "bytes_freed": result.freed}
        emit_json({**document, "state_generations": list(result.generations)})
    else:
        told = [f"deleted {', '.join(names)}: {size(result.freed)} freed"] if names else []
        if result.generations:
            told.append("deleted what was in the state before it began anew")
        emit(told or ["nothing to delete"])
