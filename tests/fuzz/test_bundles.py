"""Random lists of random trees: whatever a device chooses of them is a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from rootman.bundles import BundleList, Parting
from rootman.composition import composed, merged, without
from rootman.errors import InvalidInput
from rootman.manifest import HARDLINK, HEADER, ROOT, line_path
from tests.fuzz.model import is_manifest, lines_of, manifest_of
from tests.fuzz.trees import TREES

if TYPE_CHECKING:
    from tests.builders import Tree

NAMES = ("a", "b", "c")


def named(lists: dict[str, BundleList], path: bytes) -> frozenset[str]:
    """Return the bundles whose list names the path, or what is above it."""
    return frozenset(
        name
        for name, one in lists.items()
        if any(path == it or path.startswith(it + b"/") for it in one.paths)
    )


@given(TREES, st.data(), st.integers(1, 3000))
def test_any_choice_of_any_lists_is_a_tree(tree: Tree, data: st.DataObject, size: int) -> None:
    """BU-2, BU-3, BU-5: and all together is what was scanned; taken apart it is base again."""
    manifest = manifest_of(tree)
    found = lines_of(manifest)
    paths = [path for path in map(line_path, found) if path != ROOT]
    if not paths:
        return
    some = st.lists(st.sampled_from(paths), min_size=1, max_size=4)
    lists = {name: BundleList(f"{name}.list", dict.fromkeys(data.draw(some), 1)) for name in NAMES}
    groups: dict[bytes, set[frozenset[str]]] = {}
    for line in found:
        if match := HARDLINK.search(line):
            groups.setdefault(match[1], set()).add(named(lists, line_path(line)))
    parts: dict[str, list[bytes]] = {name: [HEADER] for name in ("base", *NAMES)}
    try:
        for names, line in Parting(lists).part(iter([HEADER, *found])):
            assert names >= named(lists, line_path(line))
            for name in names or ("base",):
                parts[name].append(line)
    except InvalidInput:
        assert any(len(one) > 1 for one in groups.values())
        return
    assert all(len(one) == 1 for one in groups.values())

    chosen = [name for name in NAMES if data.draw(st.booleans())]
    base = b"".join(parts["base"])
    pieces = [base[at : at + size] for at in range(0, len(base), size)]
    whole = b"".join(composed(pieces, merged([parts[name] for name in chosen])))

    assert is_manifest(base)
    assert is_manifest(whole)
    assert b"".join(without([whole], merged([parts[name] for name in chosen]))) == base
    all_of_it = b"".join(composed(pieces, merged([parts[name] for name in NAMES])))
    assert all_of_it == manifest
