"""Whole manifests of random trees: what is written is read, and any two are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman import edits
from rootman.comparison import compare, known_lines, lines
from rootman.manifest import HEADER, format_line, line_path, parse_line
from tests.fuzz.model import entries_of, is_manifest, lines_of, manifest_of
from tests.fuzz.parsers import Judged, judge
from tests.fuzz.trees import TREES, versions
from tests.unit.entries import cut

if TYPE_CHECKING:
    from tests.builders import Tree

SIZES = st.integers(1, 5_000)


@given(TREES, SIZES)
def test_a_manifest_comes_back(tree: Tree, size: int) -> None:
    """MF-1 to MF-12: line by line, wherever the stream is cut."""
    manifest = manifest_of(tree)
    wanted = entries_of(tree)

    found = list(lines(cut(manifest, size)))

    assert b"".join([HEADER, *found]) == manifest
    assert list(known_lines(cut(manifest, size))) == found
    entries = [parse_line(line) for line in found]
    assert b"".join(map(format_line, entries)) == b"".join(found)
    assert sorted(map(format_line, wanted.values())) == sorted(found)
    assert is_manifest(manifest)


@given(versions(2), SIZES, SIZES)
def test_a_comparison_is_the_difference_of_sets(trees: list[Tree], one: int, other: int) -> None:
    """MF-2: of the lines, which is all that an upgrade goes by."""
    old, new = map(manifest_of, trees)

    changes = list(compare(cut(old, one), cut(new, other)))

    before, after = set(lines_of(old)), set(lines_of(new))
    assert {change.old for change in changes} - {None} == before - after
    assert {change.new for change in changes} - {None} == after - before
    fields = [change.field for change in changes]
    assert fields == sorted({line_path(line) for line in before ^ after})


@given(versions(3), SIZES)
def test_edits_make_one_manifest_of_another(trees: list[Tree], size: int) -> None:
    """ST-19: there, on to a third, and back."""
    one, two, three = map(manifest_of, trees)
    first, second = list(compare([one], [two])), list(compare([two], [three]))

    both = list(edits.compose(first, second))

    assert b"".join(edits.edited(cut(one, size), edits.parse(edits.serialise(first)))) == two
    assert both == list(compare([one], [three]))
    assert b"".join(edits.edited(cut(three, size), edits.inverted(both))) == one


@given(versions(2))
def test_the_way_from_any_tree_to_any_other_is_sound(trees: list[Tree]) -> None:
    """MF-13: a manifest is as good by the way of another as from nothing."""
    old, new = map(manifest_of, trees)

    assert judge(None, new) is Judged.SOUND
    assert judge(old, new) is Judged.SOUND


@given(versions(2), st.data())
def test_what_is_no_manifest_is_refused_from_any_tree(
    trees: list[Tree], data: st.DataObject
) -> None:
    """MF-12, MF-13: lines of one tree and of another are a manifest only if the whole is one."""
    old, new = map(manifest_of, trees)
    pool = sorted({*lines_of(old), *lines_of(new)})
    kept = data.draw(st.lists(st.sampled_from(pool), unique_by=line_path))
    mixed = HEADER + b"".join(sorted(kept))  # a space sorts before what a path may have

    expected = Judged.SOUND if is_manifest(mixed) else Judged.REFUSED

    assert judge(None, mixed) is expected
    assert judge(old, mixed) is expected


@pytest.mark.parametrize("wrong", [b"", b"#mtree", HEADER, HEADER + b"\n"])
def test_what_is_no_tree_is_no_manifest(wrong: bytes) -> None:
    """MF-1, MF-12."""
    assert not is_manifest(wrong)
    assert judge(None, wrong) is Judged.REFUSED
