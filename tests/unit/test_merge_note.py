"""The note of a merge: what it says, and when it lets a tree be merged again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from rootman.boot.block import BootState
from rootman.merge.note import MergeNote, failed_merge, has_run, parse_note, second_merge
from rootman.names import TreeNumber
from rootman.state import Seal, Settings, StoreState, Tree

if TYPE_CHECKING:
    from collections.abc import Callable

ONE, TWO, THREE = map(TreeNumber, (1, 2, 3))
NOTE: Final = MergeNote(
    ONE, {"etc": "a"}, {"etc": ["b", "c"], "boot/x": ["d"]}, (b"boot/x\xff.rootman-new",), "full"
)


def tree(number: TreeNumber, note: MergeNote | None = None) -> Tree:
    seal = Seal(number.version, "0" * 64, 1, 0, 0)
    return Tree(number, f"olpc.{number}", seal, note=note)


STATE: Final = StoreState(Settings("olpc"), (tree(ONE), tree(TWO, NOTE)), TWO, ONE)


def test_a_note_is_read_as_it_was_written() -> None:
    """ST-23."""
    assert parse_note(NOTE.serialise()) == NOTE


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(format=2),
        lambda document: document.update(source="0"),
        lambda document: document.update(source=None),
        lambda document: document.update(local=[]),
        lambda document: document.update(result={"etc": 1}),
        lambda document: document.update(beside=[1]),
        lambda document: document.update(failure=None),
        lambda document: document.pop("failure"),
    ],
)
def test_a_damaged_note_is_none(change: Callable[[dict[str, object]], object]) -> None:
    """ST-23."""
    document = json.loads(NOTE.serialise())
    change(document)

    assert parse_note(json.dumps(document).encode()) is None


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_document_is_no_note(data: bytes) -> None:
    """ST-23."""
    assert parse_note(data) is None


@pytest.mark.parametrize(
    ("etc", "other", "fits"),
    [("b", "d", True), ("c", "d", True), ("d", "d", False), ("b", "b", False), ("b", None, False)],
)
def test_each_config_path_is_as_one_of_the_merges_left_it(
    etc: str,
    other: str | None,
    fits: bool,  # noqa: FBT001
) -> None:
    """MG-18."""
    found = {"etc": etc, **({"boot/x": other} if other is not None else {})}

    assert NOTE.fits(found) == fits


def test_on_the_way_either_is_right_and_it_is_merged_once_more() -> None:
    """MG-18."""
    after = MergeNote.of(ONE, {"etc": "x"}, {"etc": "y", "boot/x": "d"}, (b"boot/y",))

    found = NOTE.on_the_way_to(after)

    assert found.local == NOTE.local
    assert found.result == {"etc": ["b", "c", "y"], "boot/x": ["d"]}
    assert found.beside == (*NOTE.beside, b"boot/y")


def test_what_runs_is_merged_into_what_is_current() -> None:
    """MG-17."""
    due = second_merge(STATE, "olpc.1")

    assert due is not None
    assert (due.source.number, due.target.number, due.note) == (ONE, TWO, NOTE)


@pytest.mark.parametrize(
    ("state", "booted"),
    [
        (STATE, "olpc.2"),
        (STATE, ""),
        (replace(STATE, current=ONE, previous=TWO), "olpc.1"),
        (replace(STATE, current=None), "olpc.1"),
        (replace(STATE, boot=BootState(bad=("olpc.2",))), "olpc.1"),
        (replace(STATE, trees=(tree(ONE), tree(TWO))), "olpc.1"),
        (replace(STATE, trees=(tree(TWO, NOTE), tree(THREE))), "olpc.1"),
        (replace(STATE, trees=(replace(tree(ONE), seal=None), tree(TWO, NOTE))), "olpc.1"),
        (replace(STATE, trees=(tree(ONE), tree(TWO, replace(NOTE, source=TWO)))), "olpc.2"),
    ],
)
def test_nothing_else_is(state: StoreState, booted: str) -> None:
    """MG-17."""
    assert second_merge(state, booted) is None


def test_a_tree_that_has_run_needs_its_note_no_more() -> None:
    """MG-19."""
    assert has_run(STATE, "olpc.2") == TWO
    assert has_run(STATE, "olpc.1") is None
    assert has_run(replace(STATE, current=ONE), "olpc.1") is None


@pytest.mark.parametrize(
    ("state", "is_told"),
    [
        (STATE, True),
        (replace(STATE, current=ONE), False),
        (replace(STATE, trees=(tree(ONE), tree(TWO, replace(NOTE, failure="")))), False),
        (replace(STATE, trees=(tree(TWO, NOTE),)), False),
    ],
)
def test_a_failure_is_told_while_something_can_be_done(
    state: StoreState,
    is_told: bool,  # noqa: FBT001
) -> None:
    """MG-19."""
    told = failed_merge(state)

    assert (told is not None) == is_told
    assert told is None or told.endswith("is not in olpc.2: full (hint: rootman config-diff 1 2)")
