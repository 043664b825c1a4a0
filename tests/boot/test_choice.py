"""The choice: its promises in every state, and its three forms against each other."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from rootman.boot.block import BootState
from rootman.boot.choice import Choice, Links, choose, settle
from tests.boot.grub import Image
from tests.boot.shells import SHELLS, chosen_by_shell
from tests.boot.states import ODD, cases, cases_without_links, choose_of_version, of_version

if TYPE_CHECKING:
    from pathlib import Path

    from tests.boot.states import Case

pytestmark = pytest.mark.loaders

EVERY: Final = cases("olpc.1", "olpc.2", "olpc.10")
# What the three forms are compared in: two trees with all there is to say about them, three
# where it is their age that decides, and what counts for nothing.
COMPARED: Final = [
    *cases("olpc.1", "olpc.10"),
    *cases_without_links("olpc.1", "olpc.2", "olpc.10"),
    *ODD,
]
# The same where the firmware counts: further than it may, or not.
COUNTED: Final = [
    (layout, replace(boot, limit=3)) for layout, boot in cases("olpc.1", "olpc.10") if boot.pending
]
COUNTS: Final = (1, 3, 4, 0, 10)  # no divisor of what there is of anything else
# Several trees of one version: GRUB chooses the version, the initramfs the tree.
REVISIONS: Final = [
    (layout, boot)
    for layout, boot in cases("olpc.2", "olpc.2.1", "olpc.3", tries=(0, 2))
    if {"olpc.2", "olpc.2.1"} <= layout.trees and not boot.rescue + boot.once
]
TRIES: Final = 2


def chosen(case: Case) -> Choice:
    layout, boot = case
    return choose(boot, layout.links, layout.trees)


def counts(boot: BootState, choice: Choice) -> bool:
    """Return whether an attempt is to be counted: one of the pending tree, by its turn."""
    by_its_turn = choice.reason not in ("once", "last resort")
    return by_its_turn and choice.tree != "" and choice.tree == settle(boot).pending


def is_fit(boot: BootState, trees: frozenset[str]) -> bool:
    return bool(trees - set(settle(boot).bad))


def test_there_is_always_a_candidate() -> None:
    """BT-4: where there is any tree, one boots."""
    for layout, boot in EVERY:
        assert bool(chosen((layout, boot)).tree) == bool(layout.trees)


def test_a_bad_tree_boots_only_where_there_is_no_other_or_it_was_asked_for() -> None:
    """BT-5."""
    for layout, boot in EVERY:
        found = chosen((layout, boot))
        if found.tree in settle(boot).bad and found.reason != "once":
            assert found.reason == "last resort"
            assert not is_fit(boot, layout.trees)


def test_only_a_pending_tree_that_boots_is_counted() -> None:
    """BT-6: and what is known about other trees stays."""
    for layout, boot in EVERY:
        found, before = chosen((layout, boot)), settle(boot)
        assert found.after.tries == before.tries - counts(boot, found)
        assert found.after.pending == before.pending
        assert found.after.bad == before.bad


def test_once_is_for_one_boot() -> None:
    """BT-5: and is gone before it is booted."""
    for case in EVERY:
        assert not chosen(case).after.once


def test_a_machine_comes_to_a_tree_that_works_in_a_bounded_number_of_boots() -> None:
    """BT-4: no more than the attempts of the pending tree, one by choice, one of the tree itself.

    Of the trees that are not pending, nothing but rootman or its owner says that they
    are good; so those that do not work are among the bad ones here.
    """
    for layout, boot in EVERY:
        candidates = layout.trees - set(settle(boot).bad) - {boot.pending}
        if not candidates:
            continue
        state, boots = boot, 0
        while True:
            found = choose(state, layout.links, layout.trees)
            boots += 1
            state = found.after
            if found.tree in candidates and found.reason != "once":
                break
        assert boots <= boot.tries + 1 + bool(boot.once)
        for _ in range(3):  # and stays there
            again = choose(state, layout.links, layout.trees)
            assert again.tree in candidates
            state = again.after


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_chooses_the_same(memory: Path, shell: str) -> None:
    """BT-1 BT-2 BT-4 BT-5 BT-6 BT-7."""
    found = chosen_by_shell(shell, memory, COMPARED)

    for case, choice in zip(COMPARED, found, strict=True):
        assert choice == chosen(case), case


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_knows_what_the_firmware_counted(memory: Path, shell: str) -> None:
    """BT-32: further than it may, and the pending tree is bad; of another tree, and it is over."""
    found = chosen_by_shell(shell, memory, COUNTED, counts=COUNTS)

    for (layout, boot), count, choice in zip(COUNTED, itertools.cycle(COUNTS), found, strict=False):
        assert choice == choose(boot, layout.links, layout.trees, count), (layout, boot, count)
    assert {choice.after.limit for choice in found} == {0, 3}


def test_a_tree_is_not_tried_for_ever_where_only_the_firmware_counts() -> None:
    """BT-32 BT-4: what is chosen is not kept, and of the pending tree nothing comes up."""
    for layout, boot in COUNTED:
        at = [choose(boot, layout.links, layout.trees, count) for count in range(1, 8)]
        assert all(one.tree == at[0].tree for one in at[:3])  # tried as often as it may
        assert len({one.tree for one in at[3:]}) <= 1
        if at[3].is_good and at[3].reason != "once":
            assert at[3].tree != boot.pending


def test_what_another_boot_counted_is_not_of_the_pending_tree() -> None:
    """BT-32: a tree that was not tried is not bad."""
    links, trees = Links("olpc.1", "olpc.2"), {"olpc.1", "olpc.2"}
    back = choose(BootState("olpc.2", 3, limit=3), links, trees, 1)
    assert back == Choice("olpc.1", "current", BootState("olpc.2", 3))

    again = choose(back.after, Links("olpc.2", "olpc.1"), trees, 9)

    assert again == Choice("olpc.2", "current", BootState("olpc.2", 2))


def test_grub_chooses_the_same(memory: Path) -> None:
    """BT-1 BT-2 BT-4 BT-5 BT-6 BT-7: with one tree of each version, GRUB names the tree."""
    for case, grub in zip(COMPARED, Image(memory, COMPARED).choose(), strict=True):
        choice = Choice(grub.tree, grub.reason or None, grub.after)  # type: ignore[arg-type]
        assert choice == chosen(case), case
        assert not grub.version


def test_of_several_trees_of_a_version_the_initramfs_chooses(memory: Path) -> None:
    """BT-9: what GRUB leaves open is decided by the links, and counted once."""
    (memory / "grub").mkdir()
    by_grub = Image(memory / "grub", REVISIONS).choose()
    assert any(one.version for one in by_grub)
    second = [
        (layout, grub.after)
        for (layout, _), grub in zip(REVISIONS, by_grub, strict=True)
        if grub.version == "olpc.2"
    ]
    by_shell = {}
    for shell in SHELLS:
        (memory / shell).mkdir()
        by_shell[shell] = chosen_by_shell(shell, memory / shell, second, "olpc.2")
    assert by_shell["dash"] == by_shell["busybox"]
    taken = iter(by_shell["dash"])

    for (layout, boot), grub in zip(REVISIONS, by_grub, strict=True):
        choice = Choice(grub.tree, grub.reason or None, grub.after)  # type: ignore[arg-type]
        if grub.version:
            choice = next(taken)
            expected = choose_of_version(grub.after, layout.links, layout.trees, grub.version)
            assert choice == expected
        bad = settle(boot).bad
        assert choice.tree in layout.trees
        assert choice.tree not in bad or not is_fit(boot, layout.trees)
        assert choice.after.bad == bad
        assert choice.after.tries == settle(boot).tries - counts(boot, choice)


def test_a_version_is_no_prefix() -> None:
    trees = frozenset({"olpc.7", "olpc.7.1", "olpc.70", "olpc.17"})

    assert of_version(trees, "olpc.7") == {"olpc.7", "olpc.7.1"}


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        (Links("olpc.7.1", "olpc.6"), "olpc.7.1"),
        (Links("olpc.6", "olpc.7"), "olpc.7"),
        (Links("olpc.6", ""), "olpc.7.2"),
    ],
)
def test_a_version_is_taken_by_its_links_then_by_its_age(links: Links, expected: str) -> None:
    """BT-9."""
    trees = frozenset({"olpc.6", "olpc.7", "olpc.7.1", "olpc.7.2"})

    assert choose_of_version(BootState(), links, trees, "olpc.7").tree == expected
