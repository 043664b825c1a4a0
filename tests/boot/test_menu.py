"""The menu of a loader with a filesystem of its own: what it says in every state, and when."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from rootman.boot.block import BootState
from rootman.boot.choice import choose, settle
from rootman.boot.menu import Entry, parse_entry, read_back, wanted_entries, wanted_order
from tests.boot.states import ODD, cases
from tests.boot.systemd_boot import boot_entry, choose_entry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.boot.states import Case

# No command leaves a tree that is pending and bad.
ALL = [
    (layout, boot)
    for layout, boot in (*cases("olpc.2", "olpc.7", "olpc.7.1"), *ODD)
    if boot.pending not in boot.bad
]


def menu(case: Case) -> list[str]:
    layout, boot = case
    return [one.name for one in wanted_entries(boot, layout.links, layout.trees)]


def entries(names: Iterable[str]) -> list[Entry]:
    return [entry for name in names if (entry := parse_entry(name)) is not None]


def test_the_first_entry_is_what_the_boot_state_chooses() -> None:
    """BT-22 BT-5: and what systemd-boot makes of it is what the state becomes (BT-6 BT-7 BT-23)."""
    for layout, boot in ALL:
        choice = choose(boot, layout.links, layout.trees)
        if not choice.tree:
            assert menu((layout, boot)) == []
            continue
        tree, after = boot_entry(menu((layout, boot)))
        assert tree == choice.tree
        known = read_back(boot, entries(after), tree, layout.trees)
        # The last attempt is over when another tree boots: here the loader says so, there we.
        assert settle(known) == settle(choice.after), (layout, boot)


def test_what_is_read_back_is_there_again() -> None:
    """BT-23: a second reading changes nothing, nor does the menu that comes of it."""
    for layout, boot in ALL:
        if not layout.trees:
            continue
        tree, after = boot_entry(menu((layout, boot)))
        known = read_back(boot, entries(after), tree, layout.trees)
        again = menu((layout, known))
        assert read_back(known, entries(again), tree, layout.trees) == known


def test_between_two_menus_one_of_both_chooses() -> None:
    """BT-21: at each step from one state of a store to any other, new entries first."""
    stores = [case for case in cases("olpc.2", "olpc.7", tries=(2,)) if case[0].trees]
    menus = sorted({tuple(menu(case)) for case in stores})
    for old, new in itertools.product(menus, menus):
        allowed = {choose_entry(old)[1], choose_entry(new)[1]}
        there = list(old)
        for name in [one for one in new if one not in old]:
            there.append(name)
            assert choose_entry(there)[1] in allowed
        for name in reversed([one for one in old if one not in new]):
            there.remove(name)
            assert choose_entry(there)[1] in allowed
        assert sorted(there) == sorted(new)


@pytest.mark.parametrize(
    ("names", "boot", "booted", "expected"),
    [
        (["rootman-olpc.7-1+2-1.conf"], BootState("olpc.7", 3), "olpc.7", BootState("olpc.7", 2)),
        (["rootman-olpc.7-1+0-3.conf"], BootState("olpc.7", 1), "olpc.7", BootState("olpc.7", 0)),
        # It is over, as another tree runs.
        (
            ["rootman-olpc.7-1+0-3.conf"],
            BootState("olpc.7", 1), "olpc.2", BootState(bad=("olpc.7",)),
        ),
        (["rootman-olpc.7-1+0-3.conf"], BootState("olpc.7", 1), "", BootState("olpc.7", 0)),
        # A counter never goes up.
        (["rootman-olpc.7-1+3.conf"], BootState("olpc.7", 1), "olpc.7", BootState("olpc.7", 1)),
        # Something else has found it good (systemd-bless-boot).
        (["rootman-olpc.7-1.conf"], BootState("olpc.7", 1), "olpc.7", BootState()),
        # The entry was lost, or not written yet.
        ([], BootState("olpc.7", 3), "olpc.2", BootState("olpc.7", 3)),
        # Cut off while its place was changed, it is there twice.
        (
            ["rootman-olpc.7-1+1-2.conf", "rootman-olpc.7-2+3.conf"],
            BootState("olpc.7", 3), "olpc.7", BootState("olpc.7", 1),
        ),
        (["rootman-olpc.7-0+0-1.conf"], BootState(once="olpc.7"), "olpc.7", BootState()),
        (["rootman-olpc.7-0+1.conf"], BootState(once="olpc.7"), "", BootState(once="olpc.7")),
        # Once, and on trial as well.
        (
            ["rootman-olpc.7-0+0-1.conf", "rootman-olpc.7-1+3.conf"],
            BootState("olpc.7", 3, once="olpc.7"), "olpc.7", BootState("olpc.7", 3),
        ),
    ],
)  # fmt: skip
def test_attempts_are_read_back(
    names: list[str], boot: BootState, booted: str, expected: BootState
) -> None:
    """BT-23."""
    assert read_back(boot, entries(names), booted, {"olpc.2", "olpc.7"}) == expected


@pytest.mark.parametrize(
    "name",
    [
        "debian.conf", "rootman-olpc.7-1.txt", "rootman-olpc.7-9.conf", "rootman-olpc.7-1+x.conf",
        "rootman-olpc.7-1+3-.conf", "rootman.new",
    ],
)  # fmt: skip
def test_what_is_no_entry_of_ours(name: str) -> None:
    """BT-21: it is left alone."""
    assert parse_entry(name) is None


def test_extlinux_boots_what_the_boot_state_chooses() -> None:
    """BT-24 BT-5: but for what is to be booted once, which it cannot."""
    for layout, boot in ALL:
        if boot.once:
            continue
        order = wanted_order(boot, layout.links, layout.trees)
        assert set(order) == layout.trees
        assert (order[0] if order else "") == choose(boot, layout.links, layout.trees).tree
