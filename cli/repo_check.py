"""``rootman repo check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import as_json
from cli.progress import Progress
from cli.render import count, emit, emit_json, printable, readable, size
from rootman.errors import EXIT_DAMAGED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.repo.check import Amount, Report


@click.command
@click.argument("repository", metavar="REPO")
@as_json
def command(repository: str, as_json: bool) -> int:
    """Verify a whole repository.

    Every file in the folder REPO is read: releases and what lists them, manifests, all
    objects that a release needs, and packs, which are unpacked once. Where it is signed,
    the signatures are verified as a device does that was given the first root. There is
    a line for each file that is damaged, missing or not as it should be, with what to do.
    Nothing is changed.

    What no release needs, and what an interrupted publish left, is no damage: it is
    counted. A pack from a version that is not here any more cannot be unpacked here.

    \b
      rootman repo check /srv/repo
      rootman repo check /srv/repo --json

    Exits with 0 when all is sound and 11 when not; rootman --help lists the others.
    """
    from rootman.repo.check import check

    with Progress("repo check") as progress:
        report = check(repository, progress)
    if as_json:
        emit_json(_document(report))
    else:
        emit(_lines(report))
    return EXIT_DAMAGED if report.findings else 0


def _document(report: Report) -> dict[str, object]:
    return {
        "name": report.name,
        "published": list(report.versions.published),
        "retired": sorted(report.versions.retired),
        "signed": report.is_signed,
        "manifests": report.manifests,
        "objects": _amount(report.objects),
        "packs": {**_amount(report.packs), "untested": report.untested},
        "unneeded": _amount(report.unneeded) if report.unneeded else None,
        "left": _amount(report.left),
        "findings": [
            {"path": readable(one.path), "problem": readable(one.problem), "hint": one.hint}
            for one in report.findings
        ],
    }


def _amount(amount: Amount) -> dict[str, int]:
    return {"files": amount.files, "bytes": amount.size}


def _lines(report: Report) -> Iterator[str]:
    for one in report.findings:
        yield printable(f"{one.path}: {one.problem} (hint: {one.hint})")
    if report.untested:
        yield f"not tested: {count(report.untested, 'pack')} from versions that are not here"
    if report.unneeded is None:
        yield "what no version needs cannot be told while a version is damaged"
    elif report.unneeded.files:
        yield f"no version needs {_some(report.unneeded)}: rootman repo prune deletes that"
    if report.left.files:
        yield f"an interrupted command left {_some(report.left)}: the next one deletes that"
    versions, retired = len(report.versions.published), len(report.versions.retired)
    parts = [count(versions, "version"), *([f"{retired} retired"] if retired else [])]
    parts += [count(report.objects.files, "object"), count(report.packs.files, "pack")]
    found = len(report.findings)
    verdict = "sound" if not found else f"{count(found, 'file')} not as it should be"
    signed = "signed" if report.is_signed else "not signed"
    yield f"{report.name}: {verdict}: {', '.join(parts)}, {signed}"


def _some(amount: Amount) -> str:
    return f"{count(amount.files, 'file')} ({size(amount.size)})"
