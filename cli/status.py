"""``rootman status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from cli.options import as_json, looking, real_fs
from cli.render import count, emit, emit_json, moment, printable, readable, size, table

if TYPE_CHECKING:
    from rootman.overview import Overview, TreeOverview

_HEAD: Final = ("  version", "state", "shared", "exclusive", "sealed", "")
_NUMBERS: Final = frozenset({2, 3})  # the columns of sizes


@click.command
@as_json
@click.pass_obj
def command(rootfs: str, as_json: bool) -> None:
    """Show the versions of a store.

    For each: whether it is current or previous, whether it is pinned, with which bundles
    it was chosen, how much of its content it shares with other versions and how much it
    has alone (which is what deleting it would free). Below: the state paths, which are the
    same for all, the spare (the seed of the next upgrade), what is staged or was
    interrupted, and what is wrong with what to do about it.
    A version that rootman mount shows says where, one that runs and was unlocked says how
    (rootman unlock), and one that is on trial or failed says so (rootman boot status).

    \b
      rootman status
      rootman status --json | jq .current

    Exit codes: rootman --help lists them.
    """
    from rootman.overview import overview

    with looking(rootfs, "status") as view:
        document = overview(view, real_fs)
    if as_json:
        emit_json(_readable(document))
    else:
        emit(printable(line) for line in _lines(document))


def _readable(document: Overview) -> Overview:
    """Return it with all paths in characters that JSON has."""
    trees: list[TreeOverview] = [
        {**tree, "mounted_at": [readable(point) for point in tree["mounted_at"]]}
        for tree in document["trees"]
    ]
    return {**document, "rootfs": readable(document["rootfs"]), "trees": trees}


def _lines(store: Overview) -> list[str]:
    trees = store["trees"]
    lines = [f"{store['rootfs']}: {store['name']}, {count(len(trees), 'tree')}"]
    if trees:
        rows: list[tuple[str, ...]] = [_HEAD]
        rows += [_row(store, tree) for tree in reversed(trees)]
        lines += ["", *table(rows, right=_NUMBERS), ""]
    else:
        lines.append(f"the store is empty; to install: rootman{_option(store)} upgrade REPO")
    if store["state_paths"]:
        lines.append(f"state, the same for all versions: {', '.join(store['state_paths'])}")
    if store["spare_name"] is not None:
        lines.append(f"spare: a clone of {store['spare_name']}, ready to be upgraded")
    if store["staged"]:
        lines.append(f"staged: {', '.join(store['staged'])}")
    if store["downloads"]:
        waiting = count(store["downloads"], "object")
        lines.append(f"downloads: {waiting}, kept for the upgrade that wanted them")
    lines += [f"{_RECOVERY[store['recovery']]}: {what}" for what in store["interrupted"]]
    lines += [f"problem: {problem}" for problem in store["problems"]]
    return lines


_RECOVERY: Final = {
    "none": "",
    "done": "recovered",
    "in progress": "in progress",
    "not possible": "interrupted, to be done once the store can be written",
}


def _row(store: Overview, tree: TreeOverview) -> tuple[str, ...]:
    marks = []
    if tree["name"] == store["current_name"]:
        marks.append("current")
    if tree["name"] == store["previous_name"]:
        marks.append("previous")
    sign = {"current": "*", "previous": "-"}[marks[0]] if marks else " "
    if tree["pinned"]:
        marks.append("pinned")
    if tree["boot"] in ("pending", "bad"):
        marks.append("on trial" if tree["boot"] == "pending" else "bad")
    if tree["bundles"]:
        marks.append(f"with {' '.join(tree['bundles'])}")
    marks += [f"mounted at {point}" for point in tree["mounted_at"]]
    if tree["unlocked"] is not None:
        marks.append(f"unlocked ({tree['unlocked']})")
    return (
        f"{sign} {tree['name']}",
        tree["state"],
        size(tree["shared"]),
        size(tree["exclusive"]),
        moment(tree["sealed_at"]),
        ", ".join(marks),
    )


def _option(store: Overview) -> str:
    return "" if store["rootfs"] == "/rootfs" else f" --rootfs {store['rootfs']}"
