"""Names of trees and stages: one way to write each, and everything else is no name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman.errors import InvalidInput
from rootman.names import (
    MAX_VERSION,
    StageKind,
    StageName,
    TreeNumber,
    check_os_name,
    parse_stage_name,
    parse_tree_name,
    parse_tree_number,
    parse_version,
    tree_name,
)

VERSIONS = st.integers(1, MAX_VERSION)
NUMBERS = st.builds(TreeNumber, VERSIONS, st.integers(0, MAX_VERSION))
NOT_VERSIONS = [
    "", "0", "01", "+1", "-1", " 1", "1 ", "1\n", "1.0", "1_0", "0x1", "one", "\u0661", "\uff11",
    "2147483648", "99999999999",
]  # fmt: skip
NOT_NUMBERS = [
    "7.", "7.0", "7.00", "7.01", "7.1.", "7.1.1", "7..1", ".7", "7.-1", "7.+1", "7. 1", "7.1 ",
    "7.1\n", "0.1", "07.1", "-7.1", "7.x", "7,1", "7.\u0661", "7.2147483648", "2147483648.1",
    "7.1~", "7.1/",
]  # fmt: skip


@pytest.mark.parametrize("name", ["olpc", "a", "0", "my_os-2", "9-", "x" * 63])
def test_what_an_os_may_be_called(name: str) -> None:
    """ST-2."""
    assert check_os_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "current", "previous", "Olpc", "-x", "_x", "a.b", "a/b", "..", ".rootman", "a b", "a\n",
        "größe", "x" * 64,
    ],
)  # fmt: skip
def test_what_no_os_may_be_called(name: str) -> None:
    """ST-2."""
    with pytest.raises(InvalidInput, match="cannot name an OS") as caught:
        check_os_name(name)

    assert "\n" not in str(caught.value)
    assert caught.value.hint


@given(VERSIONS)
def test_a_version_is_written_in_one_way(version: int) -> None:
    """ST-2."""
    assert parse_version(str(version)) == version


@pytest.mark.parametrize("text", NOT_VERSIONS)
def test_other_ways_to_write_it_are_none(text: str) -> None:
    """ST-2."""
    assert parse_version(text) is None


@given(st.text(max_size=12))
def test_whatever_is_a_version_is_written_so(text: str) -> None:
    version = parse_version(text)

    assert version is None or str(version) == text


@given(VERSIONS)
def test_the_first_tree_of_a_version_is_named_by_it(version: int) -> None:
    """ST-2."""
    assert str(TreeNumber(version)) == str(version)
    assert tree_name("olpc", TreeNumber(version)) == tree_name("olpc", version)
    assert parse_tree_number(str(version)) == TreeNumber(version, 0)


@given(NUMBERS)
def test_a_number_is_written_in_one_way(number: TreeNumber) -> None:
    """ST-2."""
    assert parse_tree_number(str(number)) == number


@pytest.mark.parametrize("text", [*NOT_VERSIONS, *NOT_NUMBERS])
def test_other_ways_to_write_a_number_are_none(text: str) -> None:
    """ST-2: the first tree of version 7 is 7, and never 7.0."""
    assert parse_tree_number(text) is None
    assert parse_tree_name("olpc", f"olpc.{text}") is None
    assert parse_stage_name(f"building.{text}") is None


def test_trees_are_in_the_order_of_their_numbers() -> None:
    """ST-2: by version, then by revision, and never by how they are written."""
    written = ["1", "2", "7", "7.1", "7.2", "7.9", "7.10", "8", "10", "10.1", "11"]

    numbers = [parse_tree_number(one) for one in written]

    assert [str(one) for one in sorted(one for one in reversed(numbers) if one)] == written


@given(NUMBERS)
def test_a_tree_name_comes_back(number: TreeNumber) -> None:
    name = tree_name("olpc", number)

    assert parse_tree_name("olpc", name) == number
    assert parse_tree_name("olp", name) is None
    assert parse_tree_name("olpcs", name) is None


@pytest.mark.parametrize(
    "name",
    [
        "olpc", "olpc.", "olpc7", ".7", "7", "7.1", ".7.1", "olpc7.1", "olpc.7.", "olpc.7.0",
        "olpc.7.01", "olpc.7.1.1", "olpc.7.1.", "olpc..7", "olpc.7..1", "olpc.7/", "./olpc.7",
        "OLPC.7", "olpc.7~", "olpc.07", "olpc.07.1", "current", "", "\udcff.7", "olpc.\udcff",
    ],
)  # fmt: skip
def test_names_beside_the_trees_are_no_trees(name: str) -> None:
    """ST-2."""
    assert parse_tree_name("olpc", name) is None


@given(st.sampled_from(StageKind), NUMBERS)
def test_a_stage_name_comes_back(kind: StageKind, number: TreeNumber) -> None:
    name = StageName(kind, number)

    assert parse_stage_name(str(name)) == name


@pytest.mark.parametrize(
    "name",
    ["", "link", "state.json.new", "building", "building.", "building.7.part",
     "building.7.", "building.7.0", "building.7.01", "building.7.1.1", "Building.7",
     "spare.0", "StageKind.SPARE.7", "sparse.7", "7.spare", ".7"],
)  # fmt: skip
def test_other_names_in_staging_are_no_stages(name: str) -> None:
    """ST-11: they are litter."""
    assert parse_stage_name(name) is None


@given(st.text(max_size=20))
def test_no_text_is_more_than_refused(text: str) -> None:
    for parse in (parse_version, parse_tree_number, parse_stage_name):
        found = parse(text)
        assert found is None or str(found) == text
