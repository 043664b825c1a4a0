"""What became of local configuration, as it is told."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cli.diff import listed_path
from cli.render import count, path, printable
from rootman.names import tree_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootman.difference import PathDifference
    from rootman.merge.planning import Finding
    from rootman.names import TreeNumber


def merged(findings: Sequence[Finding]) -> list[str]:
    """Return what became of the configuration that was changed here: all that is to be known."""
    if not findings:
        return []
    counts = Counter(one.kind for one in findings)
    kept, both = counts["kept"], counts["merged"]
    sums = f"{count(kept, 'change')} kept, {both} merged, {count(counts['conflict'], 'conflict')}"
    lines = [f"configuration: {sums}"]
    for one in findings:
        what = "; ".join(one.what)
        if one.beside is not None:
            what += f": see {path(one.beside)}"
        if one.kind == "conflict" or one.what:
            lines.append(f"  {one.kind}: {path(one.path)}: {printable(what)}")
    return lines


def finding(one: Finding) -> dict[str, object]:
    """Return a finding as the documents of all commands show it."""
    return {
        "path": path(one.path),
        "kind": one.kind,
        "what": list(one.what),
        "beside": None if one.beside is None else path(one.beside),
    }


def left_behind(os_name: str, was: TreeNumber | None, found: Sequence[PathDifference]) -> list[str]:
    """Return the configuration that was changed in the tree ``was``, and is nowhere else."""
    if not found or was is None:
        return []
    return [
        f"configuration that was changed in {tree_name(os_name, was)} and stays there:",
        *(f"  {listed_path(one)}" for one in found),
        "before a reboot, to carry it along: rootman rollback && rootman rollback --keep-config",
    ]
