"""``rootman bundle list``."""

from __future__ import annotations

import click

from cli.offering import document, offered
from cli.options import as_json, insecure, maybe_repository, mirrors
from cli.render import count, emit, emit_json, printable, size, table


@click.command
@maybe_repository
@mirrors
@insecure
@as_json
@click.pass_obj
def command(
    rootfs: str, repository: str | None, mirrors: tuple[str, ...], insecure: bool, as_json: bool
) -> None:
    """List the bundles that there are.

    Those of the version that is current, as REPO has it; of the newest in REPO where it
    has not that one; without REPO as they were when it was installed. A star marks what is
    here by choice, a plus what came with that.

    \b
      rootman bundle list
      rootman bundle list https://example.org/repo

    Exit codes: rootman --help lists them.
    """
    with offered(rootfs, "bundle list", repository, mirrors, insecure=insecure) as asked:
        offer = asked.offer
    bundles = [one for one in offer.release.bundles if one is not offer.release.base]
    name, version = offer.release.name, offer.release.version
    if as_json:
        found = [document(offer, one) for one in bundles]
        emit_json({"name": name, "version": version, "bundles": found})
        return
    marks = {"chosen": "*", "included": "+", "absent": " "}
    rows = [
        (
            f"{marks[offer.presence(one)]} {one.name}",
            size(one.size),
            count(one.entries, "path"),
            printable(one.description),
        )
        for one in bundles
    ]
    emit(table(rows, right=frozenset({1, 2})) if rows else [f"{name}.{version} has no bundles"])
