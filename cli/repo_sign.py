"""``rootman repo sign``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import as_json, real_fs
from cli.render import emit, emit_json, printable

if TYPE_CHECKING:
    from rootman.repo.signing import Outcome


@click.command
@click.argument("repository", metavar="REPO")
@click.option(
    "--key",
    "keys",
    multiple=True,
    required=True,
    metavar="FILE",
    help="A private key; may be given again.",
)
@click.option(
    "--role",
    type=click.Choice(["root", "targets", "online"]),
    help="Sign for this role alone [default: targets if due, and online].",
)
@click.option(
    "--days",
    type=click.IntRange(1, 36_500),
    metavar="N",
    help="How long it holds [default: root 1825, targets 730, online 90].",
)
@as_json
def command(
    repository: str, keys: tuple[str, ...], role: str | None, days: int | None, as_json: bool
) -> None:
    """Sign what a repository offers, and renew its signatures.

    Three roles sign. `targets` lists the releases. `online` says every 90 days at the
    latest that this list is the newest, so that nobody can hold devices on an old one;
    a machine can do that, daily, with a key that can do nothing else. `root` says whose
    keys these are. The first signing gives all of them to its key; for a team, see
    `rootman repo keys change --help`.

    Without --role whatever is due is signed, and online anew. With --role root the next
    root is signed, renewed or as `keys change` left it. Several people can do that in
    turn, each with a copy of repository.json and metadata/; it is published by the
    signature that completes it. Readers see all of a signing or nothing.

    \b
      rootman repo sign /srv/repo --key olpc.key
      rootman repo sign /srv/repo --key online.key --role online --days 7
      rootman repo sign /media/usb/repo --key alice.key --role root

    Exit codes: rootman --help lists them.
    """
    from rootman.repo.due import Request
    from rootman.repo.keys import read_signer
    from rootman.repo.signing import open_existing, sign

    request = Request({name: read_signer(name) for name in keys}, role, days)
    with open_existing(real_fs(), repository) as writer:
        outcome = sign(writer, request)
    if as_json:
        emit_json({"signed": list(outcome.signed), "waiting": list(outcome.waiting)})
    else:
        emit(lines(outcome, repository))


def lines(outcome: Outcome, repository: str) -> list[str]:
    """Return what a signing came to, for people."""
    found = []
    if outcome.signed:
        found.append(f"signed: {', '.join(outcome.signed)}")
    found += [f"waiting: {what}" for what in outcome.waiting]
    if "root 1" in outcome.signed:
        where = f"{printable(repository)}/metadata/1.root.json"
        found.append(f"devices need {where}: rootman trust 1.root.json")
    return found or ["everything is signed already"]
