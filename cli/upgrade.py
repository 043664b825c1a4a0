"""``rootman upgrade``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import as_json, changing, rehearsing
from cli.render import emit, emit_json, size

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rootman.session import Session
    from rootman.upgrade import UpgradeResult


@click.command
@click.argument("manifest")
@click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
@click.option(
    "--allow-downgrade", is_flag=True, help="Take a release that is older than current, too."
)
@as_json
@click.pass_obj
def command(
    rootfs: str, manifest: str, dry_run: bool, allow_downgrade: bool, as_json: bool
) -> None:
    """Install a release and make it current.

    MANIFEST is a release file in a repository, or the repository itself for its
    newest release. The new version is built beside the others, of what does not
    change by links, and becomes current by one rename; what was current is
    previous then. The running system is not touched: it runs from its own tree
    until the next boot. On an empty store this installs the first version.

    \b
      rootman upgrade /srv/repo --dry-run
      rootman upgrade /srv/repo
      rootman upgrade /srv/repo/releases/7.json
      rootman rollback                            to go back

    Exit codes: rootman --help lists them.
    """
    from rootman.accounting import bytes_written
    from rootman.repo.repository import Repository
    from rootman.upgrade import Options, upgrade

    options = Options(allow_downgrade=allow_downgrade, dry_run=dry_run)
    before = bytes_written()
    with Repository.open(manifest) as repository, _opened(rootfs, dry_run=dry_run) as opened:
        result = upgrade(opened, repository, options)
        name = repository.name
    written = bytes_written() - before
    if as_json:
        emit_json(_document(result, name, written, dry_run=dry_run))
    elif dry_run:
        emit(_rehearsed(result, name))
    else:
        emit(_done(result, name, written))


def _opened(rootfs: str, *, dry_run: bool) -> AbstractContextManager[Session]:
    return rehearsing(rootfs, "upgrade") if dry_run else changing(rootfs, "upgrade")


def _document(
    result: UpgradeResult, name: str, written: int, *, dry_run: bool
) -> dict[str, object]:
    needs = result.needs
    return {
        "name": name,
        "version": result.version,
        "was": result.was,
        "dry_run": dry_run,
        "plan": [str(step) for step in result.plan],
        "retired": result.retired,
        "added": needs.added if needs else 0,
        "removed": needs.removed if needs else 0,
        "changed": needs.changed if needs else 0,
        "restored": needs.restored if needs else 0,
        "fetch_objects": needs.fetch_objects if needs else 0,
        "fetch_bytes": needs.fetch_bytes if needs else 0,
        "fetched": result.fetched,
        "bytes_written": None if dry_run else written,
        "seconds": round(result.seconds, 3),
    }


def _rehearsed(result: UpgradeResult, name: str) -> list[str]:
    """Return the plan, a step a line, and what it would cost."""
    if not result.plan:
        return [f"{name}.{result.version} is current already: nothing to do"]
    lines = [f"{_title(result, name)} would take these steps:"]
    lines += [f"  {step}" for step in result.plan]
    if result.retired is not None:
        lines.append(f"  make {name}.{result.retired}, which no link names then, the spare")
    if result.needs is not None:
        lines += [_changes(result), f"{size(result.needs.fetch_bytes)} to fetch and to write"]
    lines.append("nothing was changed")
    return lines


def _done(result: UpgradeResult, name: str, written: int) -> list[str]:
    if not result.plan:
        return [f"{name}.{result.version} is current already: nothing to do"]
    took = f"current in {result.seconds:.2f} s"
    if result.needs is None:
        lines = [f"{_title(result, name)}: it was here already; {took}"]
    else:
        fetched = f"{size(result.fetched)} fetched, {size(written)} written"
        lines = [f"{_title(result, name)}: {_changes(result)}; {fetched}; {took}"]
    if result.retired is not None:
        lines.append(f"{name}.{result.retired} became the spare, the seed of the next upgrade")
    if result.was is not None:
        lines.append("to go back: rootman rollback")
    return lines


def _title(result: UpgradeResult, name: str) -> str:
    before = "nothing" if result.was is None else f"{name}.{result.was}"
    return f"{before} -> {name}.{result.version}"


def _changes(result: UpgradeResult) -> str:
    needs = result.needs
    if needs is None:
        return "no changes"
    restored = f", {needs.restored} restored" if needs.restored else ""
    return f"{needs.added} added, {needs.removed} removed, {needs.changed} changed{restored}"
