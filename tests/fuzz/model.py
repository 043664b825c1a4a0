"""The manifest of a tree from its literal description, and what makes one a manifest.

What ``rootman`` does with streams, a syscall at a time or from one manifest to the next,
stands here as plainly as it can, with everything in memory: to be compared with.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from rootman.errors import InvalidManifest
from rootman.manifest import HEADER, MAX_LINE, Entry, format_line, group_inode, parse_line
from tests.builders import Node, hardlink
from tests.unit.entries import sorted_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootman.manifest import EntryType
    from tests.builders import Tree


def content_of(node: Node) -> bytes:
    """Return the bytes of a file, its hole included."""
    return bytes(node.hole) + node.content


def entries_of(tree: Tree) -> dict[str, Entry]:
    """Return the entries that a tree has when it is made as described; its parents are all there.

    An access ACL must say the same as the mode, as it is with those of ``trees``.
    """
    firsts = {name: node.target if node.kind == "hardlink" else name for name, node in tree.items()}
    groups: dict[str, list[bytes]] = {}
    for name, first in firsts.items():
        groups.setdefault(first, []).append(os.fsencode(name))
    found = {}
    for name, first in firsts.items():
        names = groups[first]
        entry = replace(_entry(tree[first]), path=os.fsencode(name))
        if len(names) > 1:
            # In the order of the written paths, which is that of the manifest.
            first_name = min(names, key=lambda one: format_line(replace(entry, path=one)))
            entry = replace(entry, nlink=len(names), inode=group_inode(first_name))
        found[name] = entry
    return found


def _entry(node: Node) -> Entry:
    kind: EntryType = node.kind if node.kind != "hardlink" else "file"
    is_file = kind == "file"
    return Entry(
        path=b".",
        type=kind,
        mode=node.mode,
        uid=node.uid,
        gid=node.gid,
        time_ns=node.time,
        size=len(content_of(node)) if is_file else 0,
        sha256=hashlib.sha256(content_of(node)).hexdigest() if is_file else "",
        link=os.fsencode(node.target) if kind == "link" else b"",
        device=node.device if kind in ("char", "block") else None,
        xattrs=tuple((os.fsencode(name), value) for name, value in node.xattrs.items()),
    )


def manifest_of(tree: Tree) -> bytes:
    """Return the manifest of a tree that is made as described."""
    return HEADER + b"".join(sorted_lines(entries_of(tree).values()))


def tree_of(manifest: bytes, contents: Mapping[str, bytes]) -> Tree:
    """Return the tree that a manifest describes; ``contents`` has the files by their hash."""
    tree: Tree = {}
    firsts: dict[int, str] = {}
    for line in lines_of(manifest):
        entry = parse_line(line)
        name = os.fsdecode(entry.path)
        if entry.nlink > 1 and entry.inode in firsts:
            tree[name] = hardlink(firsts[entry.inode])
            continue
        firsts[entry.inode] = name
        tree[name] = Node(
            entry.type,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.time_ns,
            content=contents[entry.sha256] if entry.type == "file" else b"",
            target=os.fsdecode(entry.link),
            device=entry.device or (0, 0),
            xattrs={os.fsdecode(one): value for one, value in entry.xattrs},
        )
    return tree


def lines_of(manifest: bytes) -> list[bytes]:
    """Return the lines of a manifest but for the first."""
    return manifest.removeprefix(HEADER).splitlines(keepends=True)


def _field(line: bytes) -> bytes:
    return line.partition(b" ")[0]


def is_ordered(data: bytes) -> bool:
    """Return whether ``data`` is a manifest as far as can be said without a look into its lines.

    That is: its first line, its end, and that path fields ascend (MF-1, MF-2, MF-5).
    """
    if not data.startswith(HEADER) or not data.endswith(b"\n"):
        return False
    lines = data.removeprefix(HEADER).split(b"\n")[:-1]
    fields = [b"", *map(_field, lines)]  # no field is empty
    ascend = all(one < other for one, other in pairwise(fields))
    return ascend and all(len(line) < MAX_LINE for line in lines)


def is_manifest(data: bytes) -> bool:
    """Return whether ``data`` is the manifest of a tree (MF-1 to MF-12)."""
    if not is_ordered(data):
        return False
    try:
        entries = [parse_line(line + b"\n") for line in data.split(b"\n")[1:-1]]
    except InvalidManifest:
        return False
    return _has_parents(entries) and _has_whole_groups(entries)


def _has_parents(entries: Iterable[Entry]) -> bool:
    """MF-12."""
    directories = {entry.path for entry in entries if entry.type == "dir"}
    return b"." in directories and all(
        (os.path.dirname(entry.path) or b".") in directories for entry in entries
    )


def _has_whole_groups(entries: Iterable[Entry]) -> bool:
    """MF-9, MF-10."""
    groups: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry.nlink > 1:
            groups.setdefault(entry.inode, []).append(entry)
    return all(
        inode == group_inode(names[0].path)  # in manifest order the first
        and all(replace(one, path=names[0].path, nlink=len(names)) == names[0] for one in names)
        and all(one.nlink == len(names) for one in names)
        for inode, names in groups.items()
    )
