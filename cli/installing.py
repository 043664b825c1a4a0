"""What an upgrade, or a change of bundles, has done or would do, as it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.configuration import finding, left_behind, merged
from cli.render import difference, emit, emit_json, numbered, printable, size
from cli.restarting import Again
from rootman.names import tree_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from rootman.demand import Download
    from rootman.layer.layering import Job
    from rootman.repo.repository import Repository
    from rootman.session import Session
    from rootman.uncarried import Uncarried
    from rootman.upgrade import UpgradeResult


def run_inside(job: Job, said: Callable[[str], None]) -> int:
    """Run programs in a staged tree, through a guard that is imported only now."""
    from cow.inside import run_inside as run

    return run(job, said)


def source(
    opened: Session, location: str, mirrors: tuple[str, ...], *, insecure: bool, dry_run: bool
) -> Repository:
    """Return the repository at ``location``, of which is taken what the store trusts.

    Raises:
        RootmanError: there is none, or it is not trusted.
    """
    from rootman.repo.repository import Repository
    from rootman.repo.trusted import Vetting

    fs = None if dry_run else opened.fs
    vet = Vetting(opened.store, opened.reporter, fs, is_insecure=insecure)
    return Repository.open(location, mirrors, vet=vet)


def check_from(location: str | None, mirrors: tuple[str, ...], *, insecure: bool) -> None:
    """Refuse options of a repository where none is given.

    Raises:
        click.UsageError: they are.
    """
    if location is None and (mirrors or insecure):
        raise click.UsageError("--mirror and --insecure are of --from REPO")


def maybe_source(
    opened: Session,
    location: str | None,
    mirrors: tuple[str, ...],
    stack: ExitStack,
    *,
    insecure: bool,
    dry_run: bool,
) -> Repository | None:
    """Return the repository at ``location``, as ``source``; None where none is given.

    ``stack`` closes it.

    Raises:
        RootmanError: there is none, or it is not trusted.
    """
    if location is None:
        return None
    repository = source(opened, location, mirrors, insecure=insecure, dry_run=dry_run)
    return stack.enter_context(repository)


def show(
    result: UpgradeResult,
    name: str,
    written: int,
    *,
    as_json: bool,
    dry_run: bool,
    again: Again | None = None,
) -> None:
    """Tell what was done, or would be, to people or to a script; ``written`` are bytes."""
    again = again or Again(None)
    if as_json:
        emit_json({**_document(result, name, written, dry_run=dry_run), **again.document()})
    else:
        lines = _rehearsed(result, name) if dry_run else _done(result, name, written)
        emit([*lines, *again.lines()])


def _document(
    result: UpgradeResult, name: str, written: int, *, dry_run: bool
) -> dict[str, object]:
    """Return what came of it, for scripts; ``written`` are bytes."""
    needs = result.needs
    return {
        "name": name,
        "version": result.number.version,
        "revision": result.number.revision,
        "tree_name": tree_name(name, result.number),
        **numbered("was", name, result.was),
        "dry_run": dry_run,
        "bundles": list(result.has),
        "bundles_added": _new(result.had, result.has),
        "bundles_removed": _new(result.has, result.had),
        "plan": [str(step) for step in result.plan],
        **numbered("retired", name, result.retired),
        "added": needs.added if needs else 0,
        "removed": needs.removed if needs else 0,
        "changed": needs.changed if needs else 0,
        "restored": needs.restored if needs else 0,
        "fetch_objects": needs.fetch_objects if needs else 0,
        "fetch_bytes": needs.fetch_bytes if needs else 0,
        "download_bytes": result.download.packs + result.download.apart,
        "download_pack_bytes": result.download.packs,
        "fetched": result.fetched,
        "left_behind": [difference(one) for one in result.left],
        "not_carried": _not_carried(result.uncarried),
        "layered": list(result.layered),
        "config": [finding(one) for one in result.merge.findings] if result.merge else [],
        "new_state": list(result.new_state),
        "state_begins_anew": result.is_state_anew,
        "bytes_written": None if dry_run else written,
        "seconds": round(result.seconds, 3),
    }


def _not_carried(uncarried: Uncarried | None) -> dict[str, object]:
    paths = uncarried.paths if uncarried else ()
    packages = uncarried.packages if uncarried else None
    return {
        "paths": [difference(one) for one in paths],
        "packages": {
            "added": list(packages.added) if packages else [],
            "removed": list(packages.removed) if packages else [],
            "changed": list(packages.changed) if packages else [],
        },
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
        lines += [_changes(result), _traffic(result.download, result.needs.fetch_bytes)]
    lines += _configuration(result, name)
    if result.uncarried:
        lines.append(printable(str(result.uncarried)))
    lines += _state(result, name)
    lines.append("nothing was changed")
    return lines


def _traffic(download: Download, written: int) -> str:
    """Return what is to come over a network, and how many bytes are to be written."""
    parts = []
    if download.packs:
        parts.append(f"a pack of {size(download.packs)}")
    if download.apart:
        parts.append(f"objects of at most {size(download.apart)}")
    if parts:
        return f"{' and '.join(parts)} to download, {size(written)} to write"
    return f"{size(written)} to fetch and to write"


def _done(result: UpgradeResult, name: str, written: int) -> list[str]:
    """Return what was done; ``written`` are bytes."""
    if not result.plan:
        return [f"{name}.{result.number} is current already: nothing to do"]
    took = f"current in {result.seconds:.2f} s"
    if result.needs is None:
        lines = [f"{_title(result, name)}: it was here already; {took}"]
    else:
        fetched = f"{size(result.fetched)} fetched, {size(written)} written"
        lines = [f"{_title(result, name)}: {_changes(result)}; {fetched}; {took}"]
    lines += _configuration(result, name)
    if result.layered:
        lines.append(f"layered: {', '.join(result.layered)}")
    lines += _state(result, name)
    if result.retired is not None:
        lines.append(f"{name}.{result.retired} became the spare, the seed of the next upgrade")
    if result.was is not None:
        lines.append("to go back: rootman rollback")
    return lines


def _configuration(result: UpgradeResult, name: str) -> list[str]:
    """Return what became of the configuration that was changed here: all that is to be known."""
    findings = result.merge.findings if result.merge else ()
    return merged(findings) or left_behind(name, result.was, result.left)


def _state(result: UpgradeResult, name: str) -> list[str]:
    """Return what the first boot makes, of what is in the tree that runs until then."""
    if not result.new_state:
        return []
    paths = ", ".join(map(printable, result.new_state))
    if result.is_state_anew:
        return [f"state that begins anew at the next boot: {paths}"]
    source = f"{name}.{result.number}" if result.was is None else f"{name}.{result.was}"
    return [f"state that is the same for all versions from the next boot on: {paths}, of {source}"]


def downloaded(result: UpgradeResult, name: str) -> list[str]:
    """Return what was downloaded."""
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
    """Return what differs: bundles that came or went, and paths."""
    needs = result.needs
    parts = [f"with {name}" for name in _new(result.had, result.has)]
    parts += [f"without {name}" for name in _new(result.has, result.had)]
    if needs is None:
        return ", ".join(parts) or "no changes"
    restored = f", {needs.restored} restored" if needs.restored else ""
    paths = f"{needs.added} added, {needs.removed} removed, {needs.changed} changed{restored}"
    return f"{', '.join(parts)}; {paths}" if parts else paths


def _new(before: Sequence[str], after: Sequence[str]) -> list[str]:
    return sorted(set(after) - set(before))
