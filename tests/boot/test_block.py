"""The boot block: one form for GRUB, a shell and Python."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman.boot.block import (
    BLOCK_SIZE,
    SECTOR,
    SIGNATURE,
    BootState,
    is_tree_name,
    parse_block,
    serialise_block,
)

if TYPE_CHECKING:
    from pathlib import Path

FULL = BootState("olpc.7", 2, ("olpc.3", "olpc.5.1"), "olpc.6", "olpc.1")
LONG = "o" * 63 + ".2147483647.2147483647"

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}\.[1-9][0-9]{0,3}(\.[1-9])?", fullmatch=True)
states = st.builds(
    lambda pending, tries, bad, once, rescue, limit: BootState(
        pending, tries if pending else 0, tuple(dict.fromkeys(bad)), once, rescue,
        limit if pending else 0,
    ),
    st.just("") | names,
    st.integers(0, 9),
    st.lists(names, max_size=8),
    st.just("") | names,
    st.just("") | names,
    st.integers(0, 999_999_999),
)  # fmt: skip


@given(states)
def test_what_was_written_is_read(boot: BootState) -> None:
    """BT-1 BT-3: and all of it is in the first sector."""
    data = serialise_block(boot)

    assert parse_block(data) == boot
    assert len(data) == BLOCK_SIZE
    assert set(data[SECTOR:]) == {ord("#")}


def test_the_block_is_as_grub_makes_it(tmp_path: Path) -> None:
    """BT-1: by GRUB's own program for these blocks, in both directions."""
    block = tmp_path / "grubenv"
    block.write_bytes(serialise_block(FULL))

    listed = subprocess.run(
        ("grub-editenv", block, "list"), check=True, capture_output=True, text=True
    ).stdout
    subprocess.run(
        ("grub-editenv", block, "set", "rootman_tries=1", "rootman_bad= olpc.3 olpc.7"), check=True
    )
    subprocess.run(("grub-editenv", block, "unset", "rootman_once"), check=True)

    assert listed.splitlines() == [
        "rootman_pending=olpc.7",
        "rootman_tries=2",
        "rootman_bad=olpc.3 olpc.5.1",
        "rootman_once=olpc.6",
        "rootman_rescue=olpc.1",
    ]
    assert parse_block(block.read_bytes()) == BootState(
        "olpc.7", 1, ("olpc.3", "olpc.7"), "", "olpc.1"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", BootState()),
        ("rootman_tries=2\n", BootState(tries=2)),
        ("rootman_pending=olpc.7\n", BootState("olpc.7")),
        ("rootman_pending=olpc.7\nrootman_tries=\n", BootState("olpc.7")),
        ("rootman_pending=olpc.7\nrootman_tries=x\n", BootState("olpc.7")),
        ("rootman_pending=olpc.7\nrootman_tries=12\n", BootState("olpc.7")),
        ("rootman_pending=olpc.7\nrootman_tries=1\nrootman_tries=3\n", BootState("olpc.7", 3)),
        ("rootman_pending=../etc\n", BootState()),
        ("rootman_pending=olpc.7\nrootman_limit=40\n", BootState("olpc.7", limit=40)),
        ("rootman_pending=olpc.7\nrootman_limit=x\n", BootState("olpc.7")),
        ("rootman_pending=olpc.7\nrootman_limit=\n", BootState("olpc.7")),
        ("rootman_pending=olpc.7\nrootman_limit=010\n", BootState("olpc.7")),  # octal to U-Boot
        ("rootman_pending=olpc.7\nrootman_limit=1000000000\n", BootState("olpc.7")),
        ("rootman_bad=  olpc.1   x olpc.1 olpc.2\n", BootState(bad=("olpc.1", "olpc.2"))),
        ("other=olpc.1\nrootman\n\n", BootState()),
        ("rootman_once=olpc.1", BootState()),  # cut off
        ("rootman_once=olpc.\udcff\n", BootState()),
    ],
)
def test_what_is_no_value_is_as_if_it_were_not_there(text: str, expected: BootState) -> None:
    """BT-2: unset is zero."""
    data = SIGNATURE + text.encode("utf-8", "surrogateescape")

    assert parse_block(data.ljust(BLOCK_SIZE, b"#")) == expected


@pytest.mark.parametrize("data", [b"", b"#" * BLOCK_SIZE, bytes(BLOCK_SIZE), SIGNATURE[:-1]])
def test_a_block_without_the_signature_is_damaged(data: bytes) -> None:
    """BT-2."""
    assert parse_block(data) is None


@given(states, states)
def test_a_torn_write_leaves_one_or_the_other(old: BootState, new: BootState) -> None:
    """BT-3: whichever of the two sectors arrived."""
    one, other = serialise_block(old), serialise_block(new)

    assert parse_block(other[:SECTOR] + one[SECTOR:]) == new
    assert parse_block(one[:SECTOR] + other[SECTOR:]) == old


def test_the_oldest_bad_ones_are_forgotten_where_they_do_not_fit() -> None:
    """BT-1: with room for the one that is pending, should it fail, too."""
    many = tuple(f"olpc.{number}" for number in range(100, 200))

    found = parse_block(serialise_block(BootState("olpc.200", 2, many)))

    assert found is not None
    assert found.bad == many[-len(found.bad) :]
    assert len(found.bad) > 40
    failed = parse_block(serialise_block(BootState(bad=(*found.bad, "olpc.200"))))
    assert failed is not None
    assert failed.bad == (*found.bad, "olpc.200")


def test_the_longest_names_fit() -> None:
    """BT-1."""
    assert is_tree_name(LONG)
    boot = BootState(LONG, 3, (), LONG, LONG, 999_999_999)

    assert parse_block(serialise_block(boot)) == boot
