"""``rootman search``, which is ``rootman bundle search``, too."""

from __future__ import annotations

import click

from cli.offering import offered
from cli.options import as_json, insecure, maybe_repository, mirrors
from cli.render import emit, emit_json, table


@click.command
@click.argument("wanted", metavar="PATH")
@maybe_repository
@mirrors
@insecure
@as_json
@click.pass_obj
def command(
    rootfs: str,
    wanted: str,
    repository: str | None,
    mirrors: tuple[str, ...],
    insecure: bool,
    as_json: bool,
) -> None:
    """Find out which bundles have a path.

    PATH is a whole path, or, without a slash at its beginning, a part of a name. Looked for
    it is in the version that is current: in all of its bundles with REPO, and without in
    those that are here. Nothing is changed. To find nothing is an answer, too: it says so,
    and exits with 0.

    \b
      rootman search /usr/bin/vim https://example.org/repo
      rootman search vim

    Exit codes: rootman --help lists them.
    """
    from rootman.finding import Found, search

    with offered(rootfs, "search", repository, mirrors, insecure=insecure) as asked:
        offer = asked.offer
        results = list(search(asked.opened, asked.state, offer, wanted))
    found = [one for one in results if isinstance(one, Found)]
    unknown = [one.name for one in results if not isinstance(one, Found)]
    if as_json:
        paths = [
            {"bundle": one.bundle.name, "path": one.path, "here": offer.presence(one.bundle)}
            for one in found
        ]
        emit_json({"version": offer.release.version, "found": paths, "not_searched": unknown})
        return
    emit(table([(one.bundle.name, one.path) for one in found]) if found else ["nothing found"])
    if unknown:
        emit([f"not searched, as they are not here: {', '.join(unknown)} (hint: name a REPO)"])
