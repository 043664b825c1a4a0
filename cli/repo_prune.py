"""``rootman repo prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import as_json, real_fs
from cli.progress import Progress
from cli.render import count, emit, emit_json, moment, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootman.repo.due import Request
    from rootman.repo.prune import PruneResult

_DAY = 86_400


@click.command
@click.argument("repository", metavar="REPO")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    required=True,
    metavar="N",
    help="Keep this many of the newest versions.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0, max=36_500),
    default=1,
    show_default=True,
    metavar="DAYS",
    help="How long after it was retired a version can still be fetched.",
)
@click.option(
    "--sign",
    "keys",
    multiple=True,
    metavar="FILE",
    help="Sign the shorter list with this private key; may be given again.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would go; change nothing.")
@as_json
def command(
    repository: str, keep: int, grace: float, keys: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Drop old versions from a repository.

    All but the newest N are retired: nothing lists them any more, and nobody can begin to
    fetch them. What only they need is deleted when they have been retired for the grace,
    by this command given again, from cron for example; so nobody who was fetching one of
    them meets a hole. What the versions that are kept need always stays, and so does every
    pack that leads to one of them. What no version needs is deleted, too.

    A signed repository has to be signed anew whenever versions are retired: --sign.

    \b
      rootman repo prune /srv/repo --keep 5 --dry-run
      rootman repo prune /srv/repo --keep 5 --sign olpc.key
      rootman repo prune /srv/repo --keep 1 --grace 0       nobody reads it now

    Exit codes: rootman --help lists them.
    """
    from rootman.repo.prune import prune, rehearse

    with Progress("repo prune") as progress:
        if dry_run:
            result = rehearse(repository, keep, grace * _DAY, reporter=progress)
        else:
            result = prune(
                repository,
                keep,
                grace * _DAY,
                fs=real_fs(),
                reporter=progress,
                signing=_request(keys),
            )
    if as_json:
        emit_json({"dry_run": dry_run, **_document(result)})
    else:
        emit(_lines(result, done=not dry_run))


def _request(keys: tuple[str, ...]) -> Request | None:
    """Return how the shorter list is to be signed; that costs what it imports."""
    if not keys:
        return None
    from rootman.repo.due import Request
    from rootman.repo.keys import read_signer

    return Request({name: read_signer(name) for name in keys}, renew=False)


def _document(result: PruneResult) -> dict[str, object]:
    plan, amounts = result.plan, result.amounts
    return {
        "kept": list(plan.kept),
        "retired": list(plan.retire),
        "deleted": list(plan.expired),
        "waiting": [{"version": one, "until": int(end)} for one, end in plan.waiting.items()],
        "files_deleted": amounts.files,
        "bytes_freed": amounts.freed,
        "bytes_pending": amounts.pending,
        "signed": list(result.outcome.signed) if result.outcome else [],
    }


def _lines(result: PruneResult, *, done: bool) -> Iterator[str]:
    plan, amounts = result.plan, result.amounts
    would = "" if done else "would be "
    if plan.retire:
        yield f"{would}retired: {_some(plan.retire)}"
    if plan.expired or amounts.files:
        freed = f"{count(amounts.files, 'file')}, {size(amounts.freed)}"
        yield f"{would}deleted: {_some(plan.expired) or 'what no version needs'}: {freed}"
    if plan.waiting:
        end = moment(int(max(plan.waiting.values())))
        pending = f"{size(amounts.pending)} more, by a prune after {end}"
        yield f"to be deleted: {_some(plan.waiting)}: {pending}"
    if result.outcome:
        yield f"signed: {', '.join(result.outcome.signed)}"
    if not (plan.retire or plan.expired or plan.waiting or amounts.files):
        yield "nothing to delete"


def _some(versions: Iterable[int]) -> str:
    return ", ".join(map(str, versions))
