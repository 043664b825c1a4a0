"""``rootman unlock``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli import installing
from cli.options import as_json, changing, insecure, maybe_from, mirrors
from cli.render import emit, emit_json, numbered, printable, readable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cow.unlocking import Unlocked


@click.command
@click.option("--hotfix", is_flag=True, help="Keep what is changed, with a version to go back to.")
@maybe_from
@mirrors
@insecure
@as_json
@click.pass_obj
def command(
    rootfs: str,
    hotfix: bool,
    source: str | None,
    mirrors: tuple[str, ...],
    insecure: bool,
    as_json: bool,
) -> None:
    """Make the version that runs writable.

    For a system that runs read-only (rootman.mode=ro). What is changed is in no other
    version, and it is gone at the next boot: a reboot locks the system again. Programs that
    run keep the files that they have open. What is directly in / stays read-only.

    With --hotfix what is changed stays in this version. First a copy of it as it was
    installed, with your configuration, is made the previous version, so that rootman
    rollback undoes the hotfix. An upgrade carries the configuration and nothing else.

    Where the system can be written already, as by default, it says so; --hotfix then
    makes the copy alone.

    \b
      rootman unlock && apt install strace
      rootman unlock --hotfix

    Exit codes: rootman --help lists them.
    """
    from contextlib import ExitStack

    from cow.unlocking import unlock

    if source is not None and not hotfix:
        raise click.UsageError("--from REPO is of --hotfix", click.get_current_context())
    installing.check_from(source, mirrors, insecure=insecure)
    with ExitStack() as stack:
        opened = stack.enter_context(changing(rootfs, "unlock"))
        repository = installing.maybe_source(
            opened, source, mirrors, stack, insecure=insecure, dry_run=False
        )
        done = unlock(opened, hotfix=hotfix, repository=repository)
        name = opened.store.settings().os_name
    if as_json:
        emit_json(_document(done, name))
    else:
        emit(printable(line) for line in _lines(done, name))


def _document(done: Unlocked, name: str) -> dict[str, object]:
    fallback = done.fallback
    return {
        **numbered("tree", name, done.tree.number),
        "mode": done.mode,
        "unlocked": done.how,
        "is_new": done.is_new,
        "writable": [readable(path) for path in done.covered],
        **numbered("fallback", name, fallback.number if fallback else None),
        "fallback_is_new": fallback is not None and fallback.is_new,
    }


def _lines(done: Unlocked, name: str) -> Iterator[str]:
    tree = done.tree.name
    if done.how is None:
        where = "in it, and in no other version" if done.mode == "guard" else "in its overlay"
        yield f"{tree} is writable already ({done.mode}): what is changed stays {where}"
    else:
        already = "" if done.is_new else " already"
        stays = "stays in it, and in no other version"
        lasts = stays if done.how == "hotfix" else "is gone at the next boot"
        yield f"{tree} is unlocked{already}: what is changed {lasts}"
        yield f"writable: {' '.join(done.covered)}; what is directly in / is not"
    if done.fallback is not None:
        made = "made now" if done.fallback.is_new else "was here"
        copy = f"{name}.{done.fallback.number}"
        yield f"previous: {copy}, as it was installed ({made}); to go back to it: rootman rollback"
        if done.fallback.was is not None:
            was = done.fallback.was
            yield f"{name}.{was} stays, and is not previous any more: rootman rollback --to {was}"
