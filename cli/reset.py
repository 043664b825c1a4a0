"""``rootman reset``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli import installing
from cli.options import as_json, insecure, maybe_from, mirrors, restarting, to_install
from cli.restarting import Again

if TYPE_CHECKING:
    from rootman.boot.restart import Way


@click.command
@click.option("--state", is_flag=True, help="Have the state paths begin anew, too.")
@maybe_from
@click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
@restarting
@mirrors
@insecure
@as_json
@click.pass_obj
def command(
    rootfs: str,
    state: bool,
    source: str | None,
    dry_run: bool,
    way: Way | None,
    mirrors: tuple[str, ...],
    insecure: bool,
    as_json: bool,
) -> None:
    """Go back to how this version was published.

    Another tree of the same version is made, with the configuration that its release has
    and nothing of what was changed here, and becomes current. What is in the state paths,
    such as /home, stays; with --state they begin anew at the next boot, with what the
    version has there. What was current is previous then, and has all that it had, its
    state too: rootman rollback undoes the reset, until rootman prune has deleted that
    version. Bundles stay chosen. It needs no network.

    \b
      rootman reset --dry-run
      rootman reset --state --reboot
      rootman rollback                            to undo it

    Exit codes: rootman --help lists them.
    """
    from contextlib import ExitStack

    from rootman.accounting import bytes_written
    from rootman.reset import reset
    from rootman.upgrade import Options

    installing.check_from(source, mirrors, insecure=insecure)
    if way and dry_run:
        raise click.UsageError(f"--{way} is for what is done")
    again = Again(way)
    before = bytes_written()
    with ExitStack() as stack:
        opened = stack.enter_context(to_install(rootfs, "reset", dry_run=dry_run))
        repository = installing.maybe_source(
            opened, source, mirrors, stack, insecure=insecure, dry_run=dry_run
        )
        result = reset(opened, repository, state=state, options=Options(dry_run=dry_run))
        name = opened.store.settings().os_name
        again.prepare(opened, changed=bool(result.plan))
    written = bytes_written() - before
    installing.show(result, name, written, as_json=as_json, dry_run=dry_run, again=again)
    again.perform()
