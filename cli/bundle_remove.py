"""``rootman bundle remove``."""

from __future__ import annotations

import click

from cli import installing
from cli.options import as_json, insecure, maybe_from, mirrors, to_install


@click.command
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@maybe_from
@click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
@mirrors
@insecure
@as_json
@click.pass_obj
def command(
    rootfs: str,
    names: tuple[str, ...],
    source: str | None,
    dry_run: bool,
    mirrors: tuple[str, ...],
    insecure: bool,
    as_json: bool,
) -> None:
    """Remove bundles from what is current.

    Another tree of the same version is made that has not their files, but for those
    that another bundle has, too, and becomes current as by an upgrade. What came with
    them and nothing else includes goes, too. It needs no repository.

    \b
      rootman bundle remove editor --dry-run
      rootman bundle remove editor
      rootman rollback                            to go back

    Exit codes: rootman --help lists them.
    """
    from contextlib import ExitStack

    from rootman.accounting import bytes_written
    from rootman.bundling import remove_bundles
    from rootman.upgrade import Options

    installing.check_from(source, mirrors, insecure=insecure)
    before = bytes_written()
    with ExitStack() as stack:
        opened = stack.enter_context(to_install(rootfs, "bundle remove", dry_run=dry_run))
        repository = installing.maybe_source(
            opened, source, mirrors, stack, insecure=insecure, dry_run=dry_run
        )
        options = Options(dry_run=dry_run, inside=installing.run_inside)
        result = remove_bundles(opened, repository, names, options)
        name = opened.store.settings().os_name
    written = bytes_written() - before
    installing.show(result, name, written, as_json=as_json, dry_run=dry_run)
