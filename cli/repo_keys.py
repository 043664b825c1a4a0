"""``rootman repo keys``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from cli.options import as_json, real_fs
from cli.render import emit, emit_json, moment, printable

if TYPE_CHECKING:
    from rootman.repo.framework import Root
    from rootman.repo.metadata import Document, Published


@click.group
def command() -> None:
    """Make keys, and say whose sign what.

    One person needs one key: make it, sign with it, keep it safe. A team gives the
    roles to different keys, some of them to several people, and changes them later.

    \b
      rootman repo keys new olpc.key
      rootman repo keys list /srv/repo

    Exit codes: rootman --help lists them.
    """


@command.command
@click.argument("file")
@as_json
def new(file: str, as_json: bool) -> None:
    """Make a key.

    FILE is the private key (ed25519, PKCS#8, PEM), for you alone: who has it can sign.
    FILE.pub is its public half, to be given to whoever changes the keys of a
    repository. Neither is ever overwritten.

    \b
      rootman repo keys new olpc.key

    Exit codes: rootman --help lists them.
    """
    from rootman.repo.keys import PUBLIC_SUFFIX, make_key

    key = make_key(file)
    if as_json:
        emit_json({"key": key.keyid, "private": file, "public": file + PUBLIC_SUFFIX})
    else:
        emit((f"key {key.keyid}: {printable(file)}, public half {printable(file)}.pub",))


@command.command("list")
@click.argument("repository", metavar="REPO")
@as_json
def show(repository: str, as_json: bool) -> None:
    """Show whose keys sign what, and until when that holds.

    A root that waits for signatures is shown below the one that counts.

    \b
      rootman repo keys list /srv/repo

    Exit codes: rootman --help lists them.
    """
    from rootman.repo.signing import look_published

    published = look_published(repository)
    if as_json:
        emit_json(_document(published))
    else:
        emit(_lines(published))


@command.command
@click.argument("repository", metavar="REPO")
@click.option(
    "--role",
    "roles",
    type=click.Choice(["root", "targets", "online"]),
    multiple=True,
    required=True,
    help="Whose keys change; may be given again.",
)
@click.option("--add", multiple=True, metavar="FILE", help="A public key; may be given again.")
@click.option(
    "--remove", multiple=True, metavar="KEY", help="A key's id or file; may be given again."
)
@click.option(
    "--threshold", type=click.IntRange(1, 100), metavar="N", help="How many of the keys must sign."
)
@click.option(
    "--days",
    type=click.IntRange(1, 36_500),
    metavar="N",
    help="How long the new root holds [default: 1825].",
)
def change(
    repository: str,
    roles: tuple[str, ...],
    add: tuple[str, ...],
    remove: tuple[str, ...],
    threshold: int | None,
    days: int | None,
) -> None:
    """Prepare a root in which other keys sign for a role.

    It may take several commands. The root counts when it is signed, by as many as the old
    root asks for and as many as the new one does: rootman repo sign --role root. Where
    nothing is signed yet this prepares the first root: give each role its keys.

    To replace a key that others may have, add a new one and remove the old one in every
    role that it has, then sign the root with both.

    \b
      rootman repo keys change /srv/repo --role online --add online.key.pub --remove olpc.key
      rootman repo keys change /srv/repo --role root --add a.pub --add b.pub --threshold 2
      rootman repo sign /srv/repo --role root --key olpc.key --key online.key

    Exit codes: rootman --help lists them.
    """
    from rootman.repo.due import Request
    from rootman.repo.keys import read_public_key
    from rootman.repo.signing import change_keys, open_existing

    added = [read_public_key(file) for file in add]
    removed = [read_public_key(key).keyid if os.path.exists(key) else key for key in remove]
    with open_existing(real_fs(), repository) as writer:
        staged = change_keys(
            writer, roles, Request({}, days=days), add=added, remove=removed, threshold=threshold
        )
    emit(
        (
            *_root_lines(staged, "prepared"),
            f"to publish it: rootman repo sign {printable(repository)} --role root --key FILE",
        )
    )


def _document(published: Published) -> dict[str, object]:
    return {
        "root": _root_document(published.root),
        "staged": _root_document(published.staged),
        "metadata": {
            one.signed.type: {
                "version": one.signed.version,
                "expires": int(one.signed.expires.timestamp()),
            }
            for one in (published.targets, published.snapshot, published.timestamp)
            if one is not None
        },
    }


def _root_document(root: Document[Root] | None) -> dict[str, object] | None:
    if root is None:
        return None
    from rootman.repo.anchor import role_keys

    return {
        "version": root.signed.version,
        "expires": int(root.signed.expires.timestamp()),
        "roles": {
            one.role: {"threshold": one.threshold, "keys": list(one.keys)}
            for one in role_keys(root.signed)
        },
        "signed_by": sorted(root.metadata.signatures),
    }


def _lines(published: Published) -> list[str]:
    lines = _root_lines(published.root, "root") if published.root else ["nothing is signed yet"]
    for one in (published.targets, published.snapshot, published.timestamp):
        if one is not None:
            until = moment(int(one.signed.expires.timestamp()))
            lines.append(f"{one.signed.type} {one.signed.version}, until {until}")
    if published.staged:
        from rootman.repo.roots import lacking

        lines += _root_lines(published.staged, "prepared")
        lines += [f"waiting: {what}" for what in lacking(published.staged, published.root)]
    return lines


def _root_lines(root: Document[Root], title: str) -> list[str]:
    from rootman.repo.anchor import role_keys

    until = moment(int(root.signed.expires.timestamp()))
    signed = root.metadata.signatures
    lines = [f"{title}: version {root.signed.version}, until {until}"]
    for role in role_keys(root.signed):
        lines.append(f"  {role.role}: {role.threshold} of these keys")
        lines += [
            f"    {key}{' (signed)' if key in signed and role.role == 'root' else ''}"
            for key in role.keys
        ]
    return lines
