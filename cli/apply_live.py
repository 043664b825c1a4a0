"""``rootman apply-live``."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from cli.options import as_json, to_install
from cli.render import count, emit, emit_json, numbered, path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootman.live.applying import Applied
    from rootman.live.planning import Waiting

_SHOWN: Final = 5
_LETTERS: Final = {"new": "A", "config": "M"}


@click.command
@click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
@as_json
@click.pass_obj
def command(rootfs: str, dry_run: bool, as_json: bool) -> None:
    """Have of a new version what needs no reboot.

    After an upgrade the system runs from its old version until the next boot. This brings
    into it what is safe to have at once: files and directories that are new, and
    configuration that the release changed and you did not. Nothing else that is there is
    replaced or removed, and no kernel or module comes along. What still needs a reboot is
    said.

    What is applied is then a local change of the version that runs. It must be writable
    (rootman unlock).

    \b
      rootman upgrade /srv/repo && rootman apply-live --dry-run
      rootman apply-live

    Exit codes: rootman --help lists them.
    """
    from rootman.live.applying import apply_live

    with to_install(rootfs, "apply-live", dry_run=dry_run) as opened:
        done = apply_live(opened, dry_run=dry_run)
        name = opened.store.settings().os_name
    if as_json:
        emit_json({**_document(done, name), "dry_run": dry_run})
    else:
        emit(_lines(done, dry_run=dry_run))


def _document(done: Applied, name: str) -> dict[str, object]:
    plan = done.plan
    return {
        **numbered("running", name, done.running.number),
        **numbered("current", name, done.new.number),
        "applied": [{"path": path(one.path), "kind": one.kind} for one in plan.applied],
        "there": [path(one.path) for one in plan.there],
        "kept": [_waiting(one) for one in plan.kept],
        "waiting": [_waiting(one) for one in plan.waiting],
        "units": list(plan.units),
    }


def _waiting(one: Waiting) -> dict[str, str]:
    return {"path": path(one.path), "why": one.why}


def _lines(done: Applied, *, dry_run: bool) -> Iterator[str]:
    running, new, plan = done.running.name, done.new.name, done.plan
    if running == new:
        yield f"{new} is what runs: nothing to apply"
        return
    would = "would be " if dry_run else ""
    yield f"{count(len(plan.applied), 'path')} of {new} {would}applied to {running}, which runs"
    yield from (f"  {_LETTERS[one.kind]} {path(one.path)}" for one in plan.applied)
    if plan.there:
        yield f"here already: {count(len(plan.there), 'path')}"
    yield from _told("kept as it is here", plan.kept)
    yield from _told("still needs a reboot", plan.waiting)
    if plan.units:
        yield f"units changed: {' '.join(plan.units)} (systemctl daemon-reload)"
    if plan.applied and not dry_run:
        yield f"this is a local change of {running}: a rollback to it does not undo it"


def _told(what: str, found: Sequence[Waiting]) -> Iterator[str]:
    """Yield a line that counts what was found, and for each reason one with the first paths."""
    if not found:
        return
    yield f"{what}: {count(len(found), 'path')}"
    for why, number in Counter(one.why for one in found).most_common():
        paths = [path(one.path) for one in islice((one for one in found if one.why == why), _SHOWN)]
        more = ", ..." if number > len(paths) else ""
        yield f"  {why}: {number} ({', '.join(paths)}{more})"
