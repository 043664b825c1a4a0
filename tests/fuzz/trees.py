"""Trees out of hypothesis: every type of entry, and everything that can be said of one.

In scope: what ext4, XFS and btrfs all keep. Out of scope: what is done with the trees;
lines of manifests that no filesystem could have (``tests.unit.entries``).
"""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from tests.builders import TIME, Node, Tree, directory, hardlink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.builders import Kind

SECOND: Final = 10**9
# From 1901 to 2446: 34 bits of seconds in an inode of ext4; the others keep more. The
# kernel keeps no fraction of the last second.
OLDEST, LATEST = -(2**31) * SECOND, (2**34 - 2**31 - 1) * SECOND
# A path of 4096 bytes is too long for the test's own eyes, which know no descriptors.
LONGEST_PATH: Final = 3_500
KINDS: Final[tuple[Kind, ...]] = (
    "file", "file", "file", "dir", "link", "fifo", "socket", "char", "block",
)  # fmt: skip
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
CAPABILITY: Final = "security.capability"

# --- names -----------------------------------------------------------------------------

_FEW: Final = ("a", "b", "a-b", "a.b", "a b")  # they sort between a directory and what is in it
_ODD: Final = (
    " ", "new\nline", "tab\t", "back\\slash", "\\012", "#mtree", "*", "?", "[x]", "=", "-rf", "...",
    ".hidden", "ä", "\udcff\udcfe", "\x01\x7f", "n" * 255, "\udcff" * 255, "#" * 255, "olpc.1",
)  # fmt: skip


def _is_name(name: bytes) -> bool:
    return name not in (b"", b".", b"..")


NAMES: Final = st.one_of(
    st.sampled_from(_FEW),
    st.sampled_from(_ODD),
    st.binary(min_size=1, max_size=255)
    .map(lambda name: name.translate(None, b"\0/"))
    .filter(_is_name)
    .map(os.fsdecode),
)


@st.composite
def path_pools(draw: st.DrawFn) -> list[str]:
    """Return paths that trees may have, each after those that it is below."""
    names = draw(st.lists(NAMES, min_size=3, max_size=6, unique=True))
    depth = draw(st.sampled_from((2, 2, 3, 12)))
    parts = st.lists(st.sampled_from(names), min_size=1, max_size=depth)
    paths = set(names)
    for path in draw(st.lists(parts, max_size=5)):
        for end in range(1, len(path) + 1):
            paths.add("/".join(path[:end]))
    return sorted(path for path in paths if len(os.fsencode(path)) <= LONGEST_PATH)


# --- nodes -----------------------------------------------------------------------------

MODES: Final = st.one_of(
    st.sampled_from((0o644, 0o755, 0, 0o4755, 0o2755, 0o1777, 0o7777)), st.integers(0, 0o7777)
)
IDS: Final = st.one_of(st.sampled_from((0, 1, 1000, 2**32 - 2)), st.integers(0, 2**32 - 2))
TIMES: Final = st.one_of(
    st.sampled_from((TIME, 0, -1, 1, -SECOND, 2**31 * SECOND - 1, 2**31 * SECOND, OLDEST, LATEST)),
    st.integers(OLDEST + SECOND, LATEST),
)
CONTENTS: Final = st.one_of(
    # Short, as what is found is shown: it is the hole that makes a file large.
    st.sampled_from((b"", b"", b"one", b"two", bytes(range(256)), bytes(100))),
    st.binary(max_size=40),
)
HOLES: Final = st.sampled_from((0, 0, 0, 1, 4096, 5_000, 1 << 20))
TARGETS: Final = st.one_of(
    st.sampled_from(("a", "..", "/nowhere/at all", "x" * 1000, "\udcff\n#")),
    st.binary(min_size=1, max_size=80).map(lambda one: os.fsdecode(one.replace(b"\0", b"/"))),
)
DEVICES: Final = st.one_of(
    st.sampled_from(((1, 3), (4095, 2**20 - 1), (0, 1))),
    st.tuples(st.integers(1, 4095), st.integers(0, 2**20 - 1)),
)
_VALUES: Final = st.one_of(st.binary(max_size=30), st.just(b"v" * 700))
_WORDS: Final = st.one_of(
    st.sampled_from(("a", "b", "c=d", "#", "\udcff \n")),
    st.binary(min_size=1, max_size=100).map(lambda one: os.fsdecode(one.replace(b"\0", b"."))),
)


@st.composite
def acls(draw: st.DrawFn, mode: int | None = None) -> bytes:
    """Return an ACL as the kernel keeps it; an access ACL says the same as ``mode``."""
    nobody = 0xFFFFFFFF
    if mode is None:
        mode = draw(st.integers(0, 0o777))
    users = sorted(draw(st.sets(st.integers(0, 70_000), min_size=1, max_size=3)))
    permissions = draw(st.integers(0, 7))
    entries = [
        (0x01, mode >> 6 & 7, nobody),
        *((0x02, permissions, user) for user in users),
        (0x04, permissions, nobody),
        (0x10, mode >> 3 & 7, nobody),
        (0x20, mode & 7, nobody),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)


@st.composite
def xattrs(draw: st.DrawFn, kind: Kind, mode: int) -> dict[str, bytes]:
    """Return what an entry of this type can have; most have none."""
    if draw(st.sampled_from((True, True, False))):
        return {}
    spaces = ["user.", "trusted."] if kind in ("file", "dir") else ["trusted."]
    names = st.builds(str.__add__, st.sampled_from(spaces), _WORDS)
    found = draw(st.dictionaries(names, _VALUES, max_size=3))
    if kind != "link" and draw(st.booleans()):
        found[ACCESS] = draw(acls(mode))
    if kind == "dir" and draw(st.booleans()):
        found[DEFAULT] = draw(acls())
    if kind == "file" and draw(st.booleans()):
        found[CAPABILITY] = struct.pack("<5I", 0x02000001, draw(st.integers(0, 255)), 0, 0, 0)
    return found


@st.composite
def nodes(draw: st.DrawFn, kinds: Sequence[Kind] = KINDS) -> Node:
    """Return a node of any type."""
    kind = draw(st.sampled_from(kinds))
    mode = 0o777 if kind == "link" else draw(MODES)
    node = Node(kind, mode, draw(IDS), draw(IDS), draw(TIMES), xattrs=draw(xattrs(kind, mode)))
    if kind == "file":
        return replace(node, content=draw(CONTENTS), hole=draw(HOLES))
    if kind == "link":
        return replace(node, target=draw(TARGETS))
    return replace(node, device=draw(DEVICES)) if kind in ("char", "block") else node


@st.composite
def variants(draw: st.DrawFn, node: Node) -> Node:
    """Return ``node`` with one thing changed: that alone has to be noticed and made."""
    what = draw(st.sampled_from(("mode", "uid", "gid", "time", "xattrs", "content")))
    if what == "mode" and node.kind != "link":
        mode = draw(MODES)
        # An access ACL and the mode say the same, so the one does not change alone.
        same = {ACCESS: draw(acls(mode))} if ACCESS in node.xattrs else {}
        return replace(node, mode=mode, xattrs={**node.xattrs, **same})
    if what == "xattrs":
        return replace(node, xattrs=draw(xattrs(node.kind, node.mode)))
    if what in ("uid", "gid"):
        owner = draw(IDS)
        return replace(node, uid=owner) if what == "uid" else replace(node, gid=owner)
    if what == "content" and node.kind == "file":
        return replace(node, content=draw(CONTENTS))
    if what == "content" and node.kind == "link":
        return replace(node, target=draw(TARGETS))
    return replace(node, time=node.time + 1 if OLDEST < node.time < LATEST else TIME)


# --- trees -----------------------------------------------------------------------------

Bank = list[Node]


@st.composite
def banks(draw: st.DrawFn) -> Bank:
    """Return nodes for several versions of a tree: what is drawn twice is the same twice."""
    found = draw(st.lists(nodes(), min_size=2, max_size=6))
    found.append(draw(nodes(("dir",))))
    return found + [draw(variants(node)) for node in found]


# What becomes of a path: it stays, alone or with the other names of its inode, or not.
_CHANGES: Final = ("variant", "any", "link", "link", "apart", "nothing", "directory")
_FATES: Final = (("same",) * 3 + _CHANGES, ("same",) * 12 + _CHANGES)


@st.composite
def successors(draw: st.DrawFn, old: Tree, paths: Sequence[str], bank: Bank) -> Tree:
    """Return what may come after ``old``: at each path the same, another node, or nothing."""
    tree: Tree = {".": draw(st.sampled_from([one for one in bank if one.kind == "dir"]))}
    fates = draw(st.sampled_from(_FATES))
    heirs: dict[str, str] = {}  # of an old group's first name: the first that stays
    for path in paths:
        parent = os.path.dirname(path)
        if parent and (parent not in tree or tree[parent].kind != "dir"):
            continue
        fate = draw(st.sampled_from(fates))
        was = old.get(path)
        first = was.target if was is not None and was.kind == "hardlink" else path
        there = old.get(first)
        if fate == "same" and first in heirs:
            tree[path] = hardlink(heirs[first])
        elif fate in ("same", "apart", "variant") and there is not None:
            tree[path] = draw(variants(there)) if fate == "variant" else there
            if fate == "same" and there.kind != "dir":
                heirs[first] = path
        elif fate == "link" and (others := [*filter(lambda one: _is_first(tree[one]), tree)]):
            tree[path] = hardlink(draw(st.sampled_from(others)))
        elif fate == "directory":
            tree[path] = directory()
        elif fate != "nothing":
            tree[path] = draw(st.sampled_from(bank))
    return tree


def _is_first(node: Node) -> bool:
    return node.kind not in ("dir", "hardlink")


@st.composite
def versions(draw: st.DrawFn, count: int) -> list[Tree]:
    """Return ``count`` trees, each like the one before or not."""
    paths, bank = draw(path_pools()), draw(banks())
    found: list[Tree] = []
    for _ in range(count):
        found.append(draw(successors(found[-1] if found else {}, paths, bank)))
    return found


TREES: Final = versions(1).map(lambda found: found[0])
