"""``rootman diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from cli.options import NUMBER, as_json, looking
from cli.render import compact_json, difference, emit, path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootman.difference import PathDifference
    from rootman.names import TreeNumber
    from rootman.state import Tree


@click.command
@click.argument("old", metavar="A", type=NUMBER)
@click.argument("new", metavar="B", type=NUMBER)
@as_json
@click.pass_obj
def command(rootfs: str, old: TreeNumber, new: TreeNumber, as_json: bool) -> None:
    """Show what differs between two versions.

    From version A to version B, as they were installed, so nothing of the trees
    themselves is read: a line for each path, with A for added, D for deleted, M
    for modified and then what differs (content, or which metadata). Paths are spelt
    as in a manifest, so a line is a path whatever its name holds. The last line
    sums up.

    \b
      rootman diff 6 7
      rootman diff 6 7 | grep '^M etc/'

    Exit codes: rootman --help lists them.
    """
    from rootman.comparison import compare
    from rootman.difference import path_differences
    from rootman.execute import explained
    from rootman.store import require_tree
    from rootman.verify import open_tree

    with looking(rootfs, "diff") as view, explained(rootfs):
        before, after = require_tree(view.state, old), require_tree(view.state, new)
        with (
            open_tree(view.store, before) as (_, one),
            open_tree(view.store, after) as (_, two),
            one.manifest() as ours,
            two.manifest() as theirs,
        ):
            found = path_differences(compare(ours, theirs))
            emit(written(before, after, found) if as_json else listed(found))


_LETTERS: Final = {"added": "A", "removed": "D", "changed": "M"}


def listed(found: Iterable[PathDifference]) -> Iterator[str]:
    """Yield a line for each difference, and one that sums up."""
    counts = dict.fromkeys(_LETTERS, 0)
    for one in found:
        counts[one.kind] += 1
        yield listed_path(one)
    yield ", ".join(f"{number} {kind}" for kind, number in counts.items())


def listed_path(one: PathDifference) -> str:
    """Return the line for one difference."""
    what = f" ({', '.join(map(str, one.what))})" if one.what else ""
    return f"{_LETTERS[one.kind]} {path(one.path)}{what}"


def written(old: Tree, new: Tree, found: Iterable[PathDifference]) -> Iterator[str]:
    """Yield the document piece by piece: it may have as many differences as there are paths."""
    counts = dict.fromkeys(_LETTERS, 0)
    yield (
        f'{{"from": {old.number.version}, "from_name": "{old.name}",'
        f' "to": {new.number.version}, "to_name": "{new.name}", "differences": ['
    )
    separator = "  "
    for one in found:
        counts[one.kind] += 1
        yield separator + compact_json(difference(one))
        separator = ", "
    yield f"], {compact_json(counts)[1:]}"
