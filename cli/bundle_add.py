"""``rootman bundle add``."""

from __future__ import annotations

import click

from cli import installing
from cli.options import as_json, insecure, mirrors, to_install


@click.command
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--from",
    "source",
    metavar="REPO",
    envvar="ROOTMAN_REPO",
    required=True,
    help="The repository that has the version; ROOTMAN_REPO names a default.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
@mirrors
@insecure
@as_json
@click.pass_obj
def command(
    rootfs: str,
    names: tuple[str, ...],
    source: str,
    dry_run: bool,
    mirrors: tuple[str, ...],
    insecure: bool,
    as_json: bool,
) -> None:
    """Add bundles to what is current.

    Another tree of the same version is made that has them, and all that they include,
    and becomes current as by an upgrade. REPO is the folder or URL of a repository with
    the version that is current, or a file of rootman export.

    \b
      rootman bundle add editor --from /srv/repo --dry-run
      rootman bundle add editor fonts --from https://example.org/repo
      rootman rollback                            to go back

    Exit codes: rootman --help lists them.
    """
    from contextlib import ExitStack

    from rootman.accounting import bytes_written
    from rootman.bundling import add_bundles
    from rootman.upgrade import Options

    options = Options(dry_run=dry_run, inside=installing.run_inside)
    before = bytes_written()
    with ExitStack() as stack:
        opened = stack.enter_context(to_install(rootfs, "bundle add", dry_run=dry_run))
        repository = stack.enter_context(
            installing.source(opened, source, mirrors, insecure=insecure, dry_run=dry_run)
        )
        result = add_bundles(opened, repository, names, options)
        name = repository.name
    written = bytes_written() - before
    installing.show(result, name, written, as_json=as_json, dry_run=dry_run)
