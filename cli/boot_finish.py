"""``rootman boot finish``."""

from __future__ import annotations

import click

from cli.configuration import merged
from cli.options import changing
from cli.render import emit


@click.command
@click.pass_obj
def command(rootfs: str) -> None:
    """Finish what was begun, before this machine goes down.

    An upgrade that ended with the session it was started in is finished or undone now, so
    that the next boot takes what it would have led to; configuration that was changed since an
    upgrade is merged into the new version once more; and what was written last comes to
    its place on the disk, where a loader finds it. The unit rootman-shutdown.service does
    this at every shutdown; under another init, call it after all services have ended.

    A merge that fails, or takes longer than 10 seconds, leaves what the upgrade had merged.
    rootman status says so after the boot, and so does every command that changes something.

    \b
      rootman boot finish
      systemctl enable rootman-shutdown.service

    Exit codes: rootman --help lists them.
    """
    from rootman.boot.marking import finish
    from rootman.boot.running import booted_name

    with changing(rootfs, "boot finish") as opened:
        result = finish(opened, booted_name())
    findings = result.merge.findings if result.merge is not None else ()
    emit([*merged(findings), f"{result.next or 'no tree'} boots next"])
