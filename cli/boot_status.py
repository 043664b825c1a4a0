"""``rootman boot status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import as_json, looking
from cli.render import emit, emit_json, printable, table

if TYPE_CHECKING:
    from rootman.boot.marking import BootOverview, TreeBoot


@click.command
@as_json
@click.pass_obj
def command(rootfs: str, as_json: bool) -> None:
    """Show what boots next, what is on trial and what failed.

    \b
      rootman boot status
      rootman boot status --json | jq -r .next

    Exit codes: rootman --help lists them.
    """
    from rootman.boot.marking import boot_overview

    with looking(rootfs, "boot status") as view:
        found = boot_overview(view.state)
        problems = [one for one in view.state.problems if one.startswith("the boot ")]
    if as_json:
        emit_json(found)
    else:
        emit(printable(line) for line in [*_lines(found), *(f"problem: {one}" for one in problems)])


def _lines(found: BootOverview) -> list[str]:
    lines = [f"{found['next'] or 'no tree'} boots next{_reason(found['reason'])}"]
    if found["booted"]:
        lines.insert(0, f"{found['booted']} runs")
    if not found["set_up"]:
        return [*lines, "no attempts are counted here; to begin: rootman boot init"]
    lines += table([("  ", one["name"], _state(one)) for one in reversed(found["trees"])])
    gone = set(found["bad"]) - {one["name"] for one in found["trees"]}
    lines += [f"bad, and not here any more: {', '.join(sorted(gone))}"] if gone else []
    lines += [f"in the next boot, once: {found['once']}"] if found["once"] else []
    lines += [f"when no other is left: {found['rescue']}"] if found["rescue"] else []
    return lines


def _reason(reason: str) -> str:
    return {"": "", "last resort": ": every tree is bad"}.get(reason, f" ({reason})")


def _state(tree: TreeBoot) -> str:
    if tree["tries"] is None:
        return tree["state"]
    return f"on trial, attempts left: {tree['tries']}"
