"""``rootman publish``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from cli.options import VERSION, as_json, real_fs
from cli.progress import Progress
from cli.render import count, emit, emit_json, printable, readable, size

if TYPE_CHECKING:
    from rootman.repo.due import Request
    from rootman.repo.publish import PublishResult
    from rootman.repo.signing import Outcome


@click.command
@click.argument("tree")
@click.argument("repository", metavar="REPO")
@click.option("--version", type=VERSION, required=True, metavar="N", help="The version it gets.")
@click.option("--name", metavar="OS", help="The operating system's name [default: REPO's own].")
@click.option(
    "--clamp-mtime",
    "clamp",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Take later modification times for this one (seconds since 1970).",
)
@click.option(
    "--compatible",
    multiple=True,
    metavar="NAME",
    help="Hardware that it is for; may be given again [default: any].",
)
@click.option(
    "--config",
    multiple=True,
    metavar="PATH",
    help="A path whose local changes are merged at upgrades, such as /etc; may be given again.",
)
@click.option(
    "--state",
    multiple=True,
    metavar="PATH",
    help="A path that lives once per store, such as /var; may be given again.",
)
@click.option(
    "--sign",
    "keys",
    multiple=True,
    metavar="FILE",
    help="Sign it with this private key; may be given again.",
)
@as_json
def command(
    tree: str,
    repository: str,
    version: int,
    name: str | None,
    clamp: int | None,
    compatible: tuple[str, ...],
    config: tuple[str, ...],
    state: tuple[str, ...],
    keys: tuple[str, ...],
    as_json: bool,
) -> None:
    """Publish a tree as a release in a repository.

    TREE is a directory with a complete root tree in it, REPO a folder, made if it is
    missing: releases/, manifests/ and objects/, which any web server can serve. A
    published version never changes: publishing it again is fine with the same
    content and refused with other. An interrupted publish leaves the repository as
    it was, and the next one goes on where it stopped. Builds whose files are the
    same but for their times share them between versions with --clamp-mtime.

    With --sign devices can know that it is yours. The first signing makes
    metadata/1.root.json, which each device needs once: rootman trust. Sign again before
    90 days are over, by publishing or by `rootman repo sign`.

    \b
      rootman repo keys new olpc.key
      rootman publish /build/root /srv/repo --version 7 --config /etc --sign olpc.key
      rootman upgrade /srv/repo

    Exit codes: rootman --help lists them.
    """
    from rootman.repo.publish import Publication, publish

    publication = Publication(
        version=version,
        name=name,
        compatible=compatible,
        config=config,
        state=state,
        clamp_time_ns=None if clamp is None else clamp * 1_000_000_000,
    )
    signing = _request(keys)
    with Progress("publish") as progress:
        result = publish(
            tree,
            repository,
            publication,
            fs=real_fs(),
            on_progress=progress.phase,
            signing=signing,
        )
    if as_json:
        emit_json(_document(result, repository))
    else:
        emit(_lines(result, repository))


def _request(keys: tuple[str, ...]) -> Request | None:
    """Return how the release is to be signed; that costs what it imports."""
    if not keys:
        return None
    from rootman.repo.due import Request
    from rootman.repo.keys import read_signer

    return Request({name: read_signer(name) for name in keys}, renew=False)


def _document(result: PublishResult, repository: str) -> dict[str, object]:
    base = result.release.base
    return {
        "name": result.release.name,
        "version": result.release.version,
        "release": readable(_release_file(result, repository)),
        "timestamp": result.release.timestamp,
        "manifest": base.manifest,
        "entries": base.entries,
        "size": base.size,
        "already_published": result.already_published,
        "objects_new": result.objects_new,
        "bytes_new": result.bytes_new,
        "bytes_stored": result.bytes_stored,
        "signed": list(result.outcome.signed) if result.outcome else [],
        "waiting": list(result.outcome.waiting) if result.outcome else [],
    }


def _lines(result: PublishResult, repository: str) -> list[str]:
    release, base = result.release, result.release.base
    title = f"{release.name}.{release.version}"
    where = printable(repository)
    signed = _signed(result.outcome, repository) if result.outcome else []
    if result.already_published:
        return [f"{title} is published in {where} already, with this very content", *signed]
    content = f"{count(base.entries, 'path')}, {size(base.size)}"
    new = f"{count(result.objects_new, 'new object')}, {size(result.bytes_new)}"
    return [
        f"{title} published: {content}; {new} ({size(result.bytes_stored)} compressed)",
        *signed,
        f"to install it: rootman upgrade {printable(_release_file(result, repository))}",
    ]


def _signed(outcome: Outcome, repository: str) -> list[str]:
    from cli.repo_sign import lines

    return lines(outcome, repository)


def _release_file(result: PublishResult, repository: str) -> str:
    from rootman.repo.layout import release_path

    return os.path.join(repository, release_path(result.release.version))
