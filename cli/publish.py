"""``rootman publish``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from cli.options import NAMED_FILE, ORIGIN, VERSION, as_json, real_fs
from cli.progress import Progress
from cli.render import count, emit, emit_json, printable, readable, size

if TYPE_CHECKING:
    from rootman.release import Bundle, Release
    from rootman.repo.due import Request
    from rootman.repo.packs import Pack
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
    "--bundle",
    "bundles",
    type=NAMED_FILE,
    multiple=True,
    metavar="NAME=LIST",
    help="What of TREE only those get who choose the bundle NAME; may be given again.",
)
@click.option(
    "--sign",
    "keys",
    multiple=True,
    metavar="FILE",
    help="Sign it with this private key; may be given again.",
)
@click.option(
    "--from",
    "origins",
    type=ORIGIN,
    multiple=True,
    metavar="N",
    help="Make a pack for devices with this version, or `empty`; may be given again"
    " [default: the last two, and empty].",
)
@click.option("--no-packs", is_flag=True, help="Make none; rootman repo pack can do it later.")
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
    bundles: tuple[tuple[str, str], ...],
    keys: tuple[str, ...],
    origins: tuple[int, ...],
    no_packs: bool,
    as_json: bool,
) -> None:
    """Publish a tree as a release in a repository.

    TREE is a directory with a complete root tree in it, REPO a folder, made if it is
    missing, which any web server can serve as it is. A
    published version never changes: publishing it again is fine with the same
    content and refused with other. An interrupted publish leaves the repository as
    it was, and the next one goes on where it stopped. Builds whose files are the
    same but for their times share them between versions with --clamp-mtime.

    A device has all of TREE but what --bundle takes out; it adds bundles by `rootman
    bundle add`. LIST is a text file with a line for each:

    \b
      /usr/bin/vim            a file, or a directory with all that is below
      include spell           another bundle, which comes with this one
      description An editor   a line for people
      # a comment; bytes that are no text are written as \\ooo, as in a manifest

    Several lists may have the same path. All names of a file with hardlinks are in the
    same lists.

    When it is published, packs are made, by which devices upgrade with few bytes;
    devices that no pack is for fetch file by file.

    With --sign devices can know that it is yours. The first signing makes
    metadata/1.root.json, which each device needs once: rootman trust. Sign again before
    90 days are over, by publishing or by `rootman repo sign`.

    \b
      rootman repo keys new olpc.key
      rootman publish /build/root /srv/repo --version 7 --config /etc --sign olpc.key
      rootman upgrade /srv/repo

    Exit codes: rootman --help lists them.
    """
    from rootman.repo.parts import read_lists
    from rootman.repo.publish import Publication, publish

    if no_packs and origins:
        raise click.UsageError("--from and --no-packs exclude each other")
    publication = Publication(
        version=version,
        name=name,
        compatible=compatible,
        config=config,
        state=state,
        clamp_time_ns=None if clamp is None else clamp * 1_000_000_000,
        lists=read_lists(bundles),
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
        packs = [] if no_packs else _make_packs(result, repository, origins, progress)
    if as_json:
        emit_json(_document(result, repository, packs))
    else:
        emit(_lines(result, repository, packs))


def _make_packs(
    result: PublishResult, repository: str, origins: tuple[int, ...], progress: Progress
) -> list[Pack]:
    """Make the packs that were asked for, else the usual ones as far as it is possible here."""
    from functools import partial

    from rootman.errors import RootmanError
    from rootman.repo.packs import can_find_differences, make_packs, usual_origins
    from rootman.repo.repository import Repository

    version = result.release.version
    make = partial(make_packs, repository, version, fs=real_fs(), on_progress=progress.pack)
    if origins:
        return list(make([one or None for one in origins]))
    with Repository.open(repository) as opened:
        wanted = usual_origins(opened.versions(), version)
    if not can_find_differences() and any(wanted):
        progress.warn(
            "no packs between versions: bsdiff4 is not installed"
            " (hint: pip install 'rootman[publish]')"
        )
        wanted = [None]
    try:
        return list(make(wanted))
    except RootmanError as error:
        # The release is there, and devices can do without.
        progress.warn(f"published, but not all packs were made: {error}")
        return []


def _request(keys: tuple[str, ...]) -> Request | None:
    """Return how the release is to be signed; that costs what it imports."""
    if not keys:
        return None
    from rootman.repo.due import Request
    from rootman.repo.keys import read_signer

    return Request({name: read_signer(name) for name in keys}, renew=False)


def _document(result: PublishResult, repository: str, packs: list[Pack]) -> dict[str, object]:
    from cli.repo_pack import document

    base = result.release.base
    return {
        "name": result.release.name,
        "version": result.release.version,
        "release": readable(_release_file(result, repository)),
        "timestamp": result.release.timestamp,
        "manifest": base.manifest,
        "entries": base.entries,
        "size": base.size,
        "bundles": [_bundle(one) for one in _optional(result.release)],
        "already_published": result.already_published,
        "objects_new": result.objects_new,
        "bytes_new": result.bytes_new,
        "bytes_stored": result.bytes_stored,
        "packs": [document(pack) for pack in packs],
        "signed": list(result.outcome.signed) if result.outcome else [],
        "waiting": list(result.outcome.waiting) if result.outcome else [],
    }


def _optional(release: Release) -> list[Bundle]:
    """Return the bundles of a release that are not base."""
    return [one for one in release.bundles if one is not release.base]


def _bundle(bundle: Bundle) -> dict[str, object]:
    return {
        "name": bundle.name,
        "manifest": bundle.manifest,
        "entries": bundle.entries,
        "size": bundle.size,
        "includes": list(bundle.includes),
        "description": bundle.description,
    }


def _lines(result: PublishResult, repository: str, packs: list[Pack]) -> list[str]:
    from cli.repo_pack import line

    release, base = result.release, result.release.base
    title = f"{release.name}.{release.version}"
    where = printable(repository)
    signed = _signed(result.outcome, repository) if result.outcome else []
    more = [*signed, *(line(pack, release.version) for pack in packs if pack.made)]
    if result.already_published:
        return [f"{title} is published in {where} already, with this very content", *more]
    content = f"{count(base.entries, 'path')}, {size(base.size)}"
    new = f"{count(result.objects_new, 'new object')}, {size(result.bytes_new)}"
    return [
        f"{title} published: {content}; {new} ({size(result.bytes_stored)} compressed)",
        *(
            f"bundle {one.name}: {count(one.entries, 'path')}, {size(one.size)}"
            for one in _optional(release)
        ),
        *more,
        f"to install it: rootman upgrade {printable(_release_file(result, repository))}",
    ]


def _signed(outcome: Outcome, repository: str) -> list[str]:
    from cli.repo_sign import lines

    return lines(outcome, repository)


def _release_file(result: PublishResult, repository: str) -> str:
    from rootman.repo.layout import release_path

    return os.path.join(repository, release_path(result.release.version))
