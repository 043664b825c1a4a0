"""``rootman bundle info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.offering import document, offered
from cli.options import as_json, insecure, maybe_repository, mirrors
from cli.render import count, emit, emit_json, printable, size

if TYPE_CHECKING:
    from rootman.finding import Offer
    from rootman.release import Bundle


@click.command
@click.argument("name")
@maybe_repository
@mirrors
@insecure
@as_json
@click.pass_obj
def command(
    rootfs: str,
    name: str,
    repository: str | None,
    mirrors: tuple[str, ...],
    insecure: bool,
    as_json: bool,
) -> None:
    """Show what is known of a bundle.

    It is that of the version that is current, as REPO has it, or, without REPO, as it
    was when that was installed.

    \b
      rootman bundle info editor https://example.org/repo

    Exit codes: rootman --help lists them.
    """
    with offered(rootfs, "bundle info", repository, mirrors, insecure=insecure) as asked:
        offer = asked.offer
        bundle = offer.bundle(name)
    release = offer.release
    if as_json:
        found = document(offer, bundle)
        emit_json({**found, "version": release.version, "os": release.name})
    else:
        emit(_lines(offer, bundle))


def _lines(offer: Offer, bundle: Bundle) -> list[str]:
    release = offer.release
    here = {
        "chosen": "here, by choice",
        "included": "here, as others include it",
        "absent": "not here",
    }
    lines = [f"{bundle.name} of {release.name}.{release.version}: {here[offer.presence(bundle)]}"]
    if bundle.description:
        lines.append(printable(bundle.description))
    lines.append(f"{count(bundle.entries, 'path')}, {size(bundle.size)}")
    if bundle.includes:
        lines.append(f"includes {', '.join(bundle.includes)}")
    return lines
