"""``rootman boot status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
        found = boot_overview(view.state, view.store.path)
    if as_json:
        emit_json(found)
    else:
        emit(printable(line) for line in _lines(found))


def _lines(found: BootOverview) -> list[str]:
    lines = [f"{found['next'] or 'no tree'} boots next{_reason(found['reason'])}"]
    if found["booted"]:
        lines.insert(0, f"{found['booted']} runs")
    if found["set_up"]:
        lines += _known(found)
    else:
        lines.append("no attempts are counted here; to begin: rootman boot init")
    lines += [f"first boot: {_FIRST[found['first_boot']]}"] if found["first_boot"] else []
    return [*lines, *(f"problem: {one}" for one in found["problems"])]


def _known(found: BootOverview) -> list[str]:
    lines = table([_row(found, one) for one in reversed(found["trees"])])
    gone = set(found["bad"]) - {one["name"] for one in found["trees"]}
    lines += [f"bad, and not here any more: {', '.join(sorted(gone))}"] if gone else []
    lines += [f"in the next boot, once: {found['once']}"] if found["once"] else []
    lines += [f"when no other is left: {found['rescue']}"] if found["rescue"] else []
    return lines


_FIRST: Final = {
    "due": "to be tested (rootman health --act)",
    "rebooting": "passed, to be proved by another boot",
    "passed": "passed",
}


def _reason(reason: str) -> str:
    return {"": "", "last resort": ": every tree is bad"}.get(reason, f" ({reason})")


def _row(found: BootOverview, tree: TreeBoot) -> tuple[str, str, str]:
    named = (("current", found["current"]), ("previous", found["previous"]))
    marks = [mark for mark, name in (*named, ("runs", found["booted"])) if name == tree["name"]]
    return f"  {tree['name']}", _state(tree), ", ".join(marks)


def _state(tree: TreeBoot) -> str:
    if tree["tries"] is None:
        return tree["state"]
    return f"on trial, attempts left: {tree['tries']}"
