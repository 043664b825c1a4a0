"""Comparing a tree with what it was sealed with.

*Modified* is what changed in the tree's own inodes: somebody added, removed or
replaced a path, or changed a directory. *Damaged* is a sealed inode that is not
what its manifest says: the change shows in every tree that shares it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rootman.comparison import compare
from rootman.fsops import opened
from rootman.manifest import Entry, field_path, parse_line
from rootman.scanner import scan_tree
from rootman.seal import SealRecord, is_shared
from rootman.store import MANIFEST_FILE
from rootman.survey import Check
from rootman.textstream import Hashed

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Iterator

    from rootman.comparison import Change
    from rootman.state import Tree
    from rootman.store import Store

Verdict = Literal["pristine", "modified", "damaged"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that is not as sealed.

    ``kind`` is ``added``, ``removed`` or ``changed``; ``what`` names the keywords
    that differ in the last case. ``sealed`` and ``found`` are manifest lines.
    """

    path: bytes
    kind: Literal["added", "removed", "changed"]
    what: tuple[str, ...]
    damaged: bool
    sealed: bytes | None = None
    found: bytes | None = None
    index: int = 0


def verdict(differences: Iterable[Difference]) -> Verdict:
    """Return the state of a tree with these ``differences``."""
    found = list(differences)
    if any(one.damaged for one in found):
        return "damaged"
    return "modified" if found else "pristine"


def verify_tree(
    store: Store, tree: Tree, *, on_progress: Callable[[int], None] | None = None
) -> list[Difference]:
    """Return what differs in ``tree``, every byte and bit of metadata read.

    Raises:
        InvalidInput: the seal record is damaged, or something is mounted in the tree.
        Busy: the tree changes while it is read.
        OSError: it cannot be read.
    """
    with open_tree(store, tree) as (root, record):
        inodes = record.inodes()
        with record.manifest() as sealed:
            manifest = Hashed(sealed)
            found = scan_tree(root, on_progress=on_progress)
            name, digest = f"{record.origin}/{MANIFEST_FILE}", record.summary().manifest
            # One that is cut off is shorter and no less a manifest: what it lacks would
            # be called added, and repair would remove it.
            with manifest.verifying(digest, name):
                return [_judge(change, root, inodes) for change in compare(manifest, found)]


def verify_quickly(store: Store, tree: Tree, *, forks: int) -> list[Difference]:
    """Return what differs in ``tree`` as far as lstat(2) tells.

    Raises:
        InvalidInput: the seal record is damaged.
        OSError: the tree cannot be read.
    """
    with open_tree(store, tree) as (root, record):
        differences = []
        for drift in Check(root, record, record.digests(), forks=forks).drift():
            line = drift.line
            damaged = bool(line and is_shared(line) and drift.sealed_inode)
            kind: Literal["added", "removed", "changed"] = "changed"
            if line is None:
                kind = "added"
            elif drift.what == ("missing",):
                kind = "removed"
            what = drift.what if kind == "changed" else ()
            path = field_path(drift.field)
            differences.append(Difference(path, kind, what, damaged, line, None, drift.index))
        return differences


@contextmanager
def open_tree(store: Store, tree: Tree) -> Iterator[tuple[int, SealRecord]]:
    """Open the root and the seal record of a complete tree.

    Raises:
        OSError: one of them is not there.
    """
    with (
        opened(tree.name, dir_fd=store.fd) as root,
        opened(str(tree.number), dir_fd=store.trees) as record,
    ):
        yield root, SealRecord(record, f"seal record of {tree.name}")


def _judge(change: Change, root: int, inodes: array[int]) -> Difference:
    path = field_path(change.field)
    if change.old is None:
        return Difference(path, "added", (), damaged=False, found=change.new)
    if change.new is None:
        return Difference(
            path, "removed", (), damaged=False, sealed=change.old, index=change.old_index
        )
    damaged = is_shared(change.old) and _inode(root, path) == inodes[change.old_index]
    what = differing_keywords(change.old, change.new)
    return Difference(path, "changed", what, damaged, change.old, change.new, change.old_index)


def _inode(root: int, path: bytes) -> int:
    return os.stat(path, dir_fd=root, follow_symlinks=False).st_ino


def differing_keywords(old: bytes, new: bytes) -> tuple[str, ...]:
    """Return what differs between two manifest lines: ``content``, ``mode``, ``xattr.NAME`` ..."""
    before, after = _facts(parse_line(old)), _facts(parse_line(new))
    return tuple(
        name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)
    )


def _facts(entry: Entry) -> dict[str, object]:
    facts: dict[str, object] = {
        "type": entry.type,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "time": entry.time_ns,
        "content": (entry.size, entry.sha256),
        "target": entry.link,
        "device": entry.device,
        "hardlinks": (entry.nlink, entry.inode),
    }
    facts.update((f"xattr.{os.fsdecode(name)}", value) for name, value in entry.xattrs)
    return facts
