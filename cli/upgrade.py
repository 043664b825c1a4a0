"""``rootman upgrade``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import as_json, changing, insecure, mirrors, rehearsing
from cli.render import emit, emit_json, numbered, size
from rootman.names import tree_name

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rootman.session import Session
    from rootman.upgrade import Options, UpgradeResult


@click.command
@click.argument("manifest", required=False)
@click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
@click.option(
    "--allow-downgrade", is_flag=True, help="Take a release that is older than current, too."
)
@click.option("--download-only", is_flag=True, help="Fetch all that is needed; install it later.")
@mirrors
@insecure
@as_json
@click.pass_obj
def command(
    rootfs: str,
    manifest: str | None,
    dry_run: bool,
    allow_downgrade: bool,
    download_only: bool,
    mirrors: tuple[str, ...],
    insecure: bool,
    as_json: bool,
) -> None:
    """Install a release and make it current.

    MANIFEST is a release file in a repository, or the repository itself for its
    newest release; a folder, a URL, or a file of rootman export. Without it, what
    --download-only fetched is installed. An interrupted download goes on where it was.

    The new version is built beside the others, of what does not change by links,
    and becomes current by one rename; what was current is previous then. The
    running system is not touched: it runs from its own tree until the next boot.
    On an empty store this installs the first version. A store that was given a root
    of trust (rootman trust) takes only what is signed; others take no URL.

    \b
      rootman upgrade /srv/repo --dry-run
      rootman upgrade /srv/repo
      rootman upgrade /srv/repo/releases/7.json
      rootman upgrade https://example.org/repo --download-only
      rootman upgrade olpc-7.rootman
      rootman upgrade                             what was downloaded
      rootman rollback                            to go back

    Exit codes: rootman --help lists them.
    """
    from contextlib import ExitStack

    from rootman.accounting import bytes_written
    from rootman.downloads import Downloads
    from rootman.repo.repository import Repository
    from rootman.repo.trusted import Vetting
    from rootman.upgrade import Options, upgrade

    if manifest is None and (mirrors or download_only):
        raise click.UsageError("say where from: MANIFEST", click.get_current_context())
    options = Options(allow_downgrade, dry_run, download_only)
    before = bytes_written()
    with ExitStack() as stack:
        opened = stack.enter_context(_opened(rootfs, dry_run=dry_run))
        if manifest is None:
            repository = stack.enter_context(Repository(Downloads(opened.store)))
        else:
            fs = None if dry_run else opened.fs
            vet = Vetting(opened.store, opened.reporter, fs, is_insecure=insecure)
            repository = stack.enter_context(Repository.open(manifest, mirrors, vet=vet))
        result = upgrade(opened, repository, options)
        name = repository.name
    written = bytes_written() - before
    if as_json:
        emit_json(_document(result, name, written, options))
    elif dry_run:
        emit(_rehearsed(result, name))
    elif download_only:
        emit(_downloaded(result, name))
    else:
        emit(_done(result, name, written))


def _opened(rootfs: str, *, dry_run: bool) -> AbstractContextManager[Session]:
    return rehearsing(rootfs, "upgrade") if dry_run else changing(rootfs, "upgrade")


def _document(
    result: UpgradeResult, name: str, written: int, options: Options
) -> dict[str, object]:
    needs = result.needs
    return {
        "name": name,
        "version": result.number.version,
        "revision": result.number.revision,
        "tree_name": tree_name(name, result.number),
        **numbered("was", name, result.was),
        "dry_run": options.dry_run,
        "plan": [str(step) for step in result.plan],
        **numbered("retired", name, result.retired),
        "added": needs.added if needs else 0,
        "removed": needs.removed if needs else 0,
        "changed": needs.changed if needs else 0,
        "restored": needs.restored if needs else 0,
        "fetch_objects": needs.fetch_objects if needs else 0,
        "fetch_bytes": needs.fetch_bytes if needs else 0,
        "fetched": result.fetched,
        "bytes_written": None if options.dry_run else written,
        "seconds": round(result.seconds, 3),
    }


def _rehearsed(result: UpgradeResult, name: str) -> list[str]:
    """Return the plan, a step a line, and what it would cost."""
    if not result.plan:
        return [f"{name}.{result.number} is current already: nothing to do"]
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
        return [f"{name}.{result.number} is current already: nothing to do"]
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


def _downloaded(result: UpgradeResult, name: str) -> list[str]:
    if not result.plan:
        return [f"{name}.{result.number} is here already: nothing to download"]
    return [
        f"{name}.{result.number} downloaded: {size(result.fetched)}",
        "to install it: rootman upgrade",
    ]


def _title(result: UpgradeResult, name: str) -> str:
    before = "nothing" if result.was is None else f"{name}.{result.was}"
    return f"{before} -> {name}.{result.number}"


def _changes(result: UpgradeResult) -> str:
    needs = result.needs
    if needs is None:
        return "no changes"
    restored = f", {needs.restored} restored" if needs.restored else ""
    return f"{needs.added} added, {needs.removed} removed, {needs.changed} changed{restored}"
