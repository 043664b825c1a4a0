"""``rootman rollback``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.configuration import finding, left_behind, merged
from cli.options import NUMBER, as_json, changing, restarting
from cli.render import difference, emit, emit_json, numbered
from cli.restarting import Again

if TYPE_CHECKING:
    from rootman.boot.restart import Way
    from rootman.names import TreeNumber
    from rootman.rollback import RollbackResult


@click.command
@click.option("--to", type=NUMBER, metavar="N", help="Make this version current instead.")
@click.option("--retry-bad", is_flag=True, help="Go to a version that failed here before, too.")
@click.option(
    "--keep-config",
    is_flag=True,
    help="Carry along the configuration that was changed in the version that is left.",
)
@restarting
@as_json
@click.pass_obj
def command(
    rootfs: str,
    to: TreeNumber | None,
    retry_bad: bool,
    keep_config: bool,
    way: Way | None,
    as_json: bool,
) -> None:
    """Go back to the previous version.

    `current` and `previous` change places, by one rename, so a second rollback
    returns to the start. With --to, any version of the store becomes current, and
    the one that was is previous. No tree is deleted, nor changed without --keep-config.
    Configuration that was changed in the version that is left, and is not in the other,
    is listed.

    With --keep-config it is carried along: merged into the other version, as an upgrade
    does, what was changed there before included. Where both were changed, that of the
    version that is left stays, and the other lies beside it, as NAME.rootman-new. The
    other version must not be in use.

    With --reboot or --kexec the machine boots it at once (rootman upgrade --help).

    \b
      rootman rollback
      rootman rollback --to 5
      rootman rollback --keep-config
      rootman rollback --reboot

    Exit codes: rootman --help lists them.
    """
    from rootman.rollback import rollback

    again = Again(way)
    with changing(rootfs, "rollback") as opened:
        result = rollback(opened, to, retry_bad=retry_bad, keep_config=keep_config)
        again.prepare(opened, changed=True)
    if as_json:
        emit_json({**_document(result), **again.document()})
    else:
        emit([*_lines(result), *again.lines()])
    again.perform()


def _document(result: RollbackResult) -> dict[str, object]:
    return {
        "name": result.os_name,
        **numbered("was", result.os_name, result.was),
        **numbered("current", result.os_name, result.current),
        **numbered("previous", result.os_name, result.previous),
        "seconds": round(result.seconds, 3),
        "left_behind": [difference(one) for one in result.left],
        "config": [finding(one) for one in result.carried],
    }


def _lines(result: RollbackResult) -> list[str]:
    name = result.os_name
    before = "nothing" if result.was is None else f"{name}.{result.was}"
    lines = [f"{before} -> {name}.{result.current}: current in {result.seconds:.2f} s"]
    lines += merged(result.carried)
    lines += left_behind(name, result.was, result.left)
    if result.previous is not None:
        lines.append(f"to return to {name}.{result.previous}: rootman rollback")
    return lines
