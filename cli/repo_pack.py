"""``rootman repo pack``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import ORIGIN, VERSION, as_json, real_fs
from cli.progress import Progress
from cli.render import emit, emit_json, size

if TYPE_CHECKING:
    from rootman.repo.packs import Pack


@click.command
@click.argument("repository", metavar="REPO")
@click.option("--version", type=VERSION, metavar="N", help="Where packs lead to [default: newest].")
@click.option(
    "--from",
    "origins",
    type=ORIGIN,
    multiple=True,
    metavar="N",
    help="A version that devices have, or `empty`; may be given again"
    " [default: the last two, and empty].",
)
@as_json
def command(repository: str, version: int | None, origins: tuple[int, ...], as_json: bool) -> None:
    """Make packs, by which devices upgrade with few bytes.

    A pack holds what one version has and another has not, as differences between
    files where that is less; `rootman publish` makes some. A device that finds none
    for its version takes what it needs file by file. A pack that would be no smaller
    than that is not kept. Each bundle that changed has packs of its own.

    \b
      rootman repo pack /srv/repo --from 3               for devices that are behind
      rootman repo pack /srv/repo --version 7 --from empty

    Exit codes: rootman --help lists them.
    """
    from rootman.repo.packs import make_packs, usual_origins
    from rootman.repo.repository import Repository

    with Repository.open(repository) as opened:
        versions = opened.versions()
        target = opened.newest_version() if version is None else version
    wanted = [one or None for one in origins] or usual_origins(versions, target)
    with Progress("repo pack") as progress:
        packs = list(
            make_packs(repository, target, wanted, fs=real_fs(), on_progress=progress.pack)
        )
    if as_json:
        emit_json({"version": target, "packs": [document(one) for one in packs]})
    else:
        emit([line(one, target) for one in packs] or ["no pack is needed: nothing differs"])


def document(pack: Pack) -> dict[str, object]:
    """Return what came of a pack, for scripts: ``from`` is null for no version at all."""
    return {
        "bundle": pack.bundle,
        "from": pack.old,
        "size": pack.size,
        "instead_of": pack.instead,
        "kept": pack.kept,
        "made": pack.made,
    }


def line(pack: Pack, version: int) -> str:
    """Return what came of a pack, for people."""
    of = "" if pack.bundle == "base" else f" of {pack.bundle}"
    way = f"pack{of} from {pack.old or 'nothing'} to {version}"
    if not pack.kept:
        return f"{way}: not kept, with {size(pack.size)} no smaller than what it stands for"
    known = "" if pack.made else ", there already"
    return f"{way}: {size(pack.size)} instead of {size(pack.instead)}{known}"
