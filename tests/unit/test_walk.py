"""The walk gives exactly the order of a manifest: that of the raw bytes of the path field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from rootman.manifest import path_field
from rootman.walk import join, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

Tree = dict[bytes, "Tree"]

# Bytes around / and around the encoding; few, so that names often share a beginning.
BYTES = st.sampled_from([b"a", b"b", b"-", b".", b"0", b"/"[:0], b" ", b"\\", b"\n", b"\xff", b"!"])
NAMES = (
    st.lists(BYTES, min_size=1, max_size=3)
    .map(b"".join)
    .filter(lambda name: name not in (b"", b".", b".."))
)
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.just({}), lambda inner: st.dictionaries(NAMES, inner, max_size=6), max_leaves=25
)


def listing(tree: Tree, path: bytes) -> Iterator[tuple[bytes, bool]]:
    """List a directory of ``tree``, in which an entry with entries is a directory."""
    for part in [] if path == b"." else path.split(b"/"):
        tree = tree[part]
    return ((name, bool(inner)) for name, inner in tree.items())


def paths(tree: Tree, parent: bytes = b"") -> Iterator[bytes]:
    for name, inner in tree.items():
        yield join(parent, name)
        yield from paths(inner, join(parent, name))


@given(TREES)
@example({b"a": {b"x": {}}, b"a-b": {}, b"a.b": {}, b"a0": {}, b"a b": {}})
def test_walk_is_in_manifest_order(tree: Tree) -> None:
    walked = [join(parent, name) for parent, name, _ in walk(lambda path: listing(tree, path))]

    assert [path_field(path) for path in walked] == sorted(
        path_field(path) for path in [b".", *paths(tree)]
    )


def test_walk_says_what_is_a_directory() -> None:
    tree: Tree = {b"d": {b"e": {b"f": {}}, b"g": {}}}

    assert list(walk(lambda path: listing(tree, path))) == [
        (b"", b".", True),
        (b"", b"d", True),
        (b"d", b"e", True),
        (b"d/e", b"f", False),
        (b"d", b"g", False),
    ]


def test_a_deep_tree_is_no_recursion() -> None:
    tree: Tree = {}
    for _ in range(3000):
        tree = {b"d": tree}

    assert sum(1 for _ in walk(lambda path: listing(tree, path))) == 3001
