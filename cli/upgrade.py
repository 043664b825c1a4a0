"""``rootman upgrade``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli import installing
from cli.options import as_json, insecure, mirrors, restarting, to_install
from cli.render import emit
from cli.restarting import Again

if TYPE_CHECKING:
    from rootman.boot.restart import Way


@click.command
@click.argument("manifest", required=False)
@click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
@click.option(
    "--allow-downgrade", is_flag=True, help="Take a release that is older than current, too."
)
@click.option("--retry-bad", is_flag=True, help="Take a release that failed here before, too.")
@click.option("--no-layer", is_flag=True, help="Go without the packages of rootman layer.")
@click.option("--download-only", is_flag=True, help="Fetch all that is needed; install it later.")
@restarting
@mirrors
@insecure
@as_json
@click.pass_obj
def command(
    rootfs: str,
    manifest: str | None,
    dry_run: bool,
    allow_downgrade: bool,
    retry_bad: bool,
    download_only: bool,
    no_layer: bool,
    way: Way | None,
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
    It has the bundles that were chosen before (rootman bundle), and what was changed in
    the configuration that the release names; conflicts are listed, and keep what is here
    (rootman config-diff). What else was changed in the version that is left stays there, and is
    told before anything is done; the packages of rootman layer are installed anew.
    On an empty store this installs the first version. A store that was given a root
    of trust (rootman trust) takes only what is signed; others take no URL. Where the
    boot loader counts attempts (rootman boot), the new version is on trial first.

    With --reboot the machine then reboots, unless the version that boots next runs already:
    so this can be done each night. With --kexec it boots the new kernel at once, without
    firmware and loader; that needs kexec-tools and systemd, and is counted as an attempt.
    Where kexec is not possible at all nothing is begun; where only the last step fails, the
    upgrade stands, and the exit code is 14.

    \b
      rootman upgrade /srv/repo --dry-run
      rootman upgrade /srv/repo
      rootman upgrade /srv/repo/releases/7.json
      rootman upgrade https://example.org/repo --reboot
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
    from rootman.upgrade import Options, upgrade

    if manifest is None and (mirrors or download_only):
        raise click.UsageError("say where from: MANIFEST", click.get_current_context())
    if way and (dry_run or download_only):
        what = f"--{way} is for what is installed"
        raise click.UsageError(what, click.get_current_context())
    again = Again(way)
    options = Options(
        allow_downgrade, dry_run, download_only, retry_bad, no_layer, installing.run_inside
    )
    before = bytes_written()
    with ExitStack() as stack:
        opened = stack.enter_context(to_install(rootfs, "upgrade", dry_run=dry_run))
        if manifest is None:
            repository = stack.enter_context(Repository(Downloads(opened.store)))
        else:
            repository = stack.enter_context(
                installing.source(opened, manifest, mirrors, insecure=insecure, dry_run=dry_run)
            )
        result = upgrade(opened, repository, options)
        name = repository.name
        again.prepare(opened, changed=bool(result.plan))
    written = bytes_written() - before
    if download_only and not (as_json or dry_run):
        emit(installing.downloaded(result, name))
    else:
        installing.show(result, name, written, as_json=as_json, dry_run=dry_run, again=again)
    again.perform()
