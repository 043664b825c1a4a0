"""Which bundles a tree is to have."""

from __future__ import annotations

import pytest

from rootman.choice import Choice, choose, with_added, with_removed
from rootman.errors import NotFound, Refused
from rootman.release import Bundle, Release

HASH = "0" * 63


def release(**includes: str) -> Release:
    """Return a release with these bundles, each with the names that it includes."""
    others = tuple(
        Bundle(name, f"{HASH}{number}", 9, 1, 1, tuple(sorted(words.split())))
        for number, (name, words) in enumerate(includes.items(), 1)
    )
    return Release(
        "olpc", 7, "2026-11-20T17:00:00Z", (*others, Bundle("base", HASH + "0", 9, 1, 1))
    )


SEVEN = release(desktop="editor fonts", editor="spell", fonts="", spell="", games="")


def names(choice: Choice) -> tuple[str, str]:
    """Return what was chosen, and all parts."""
    return " ".join(choice.bundles), " ".join(one.name for one in choice.parts)


@pytest.mark.parametrize(
    ("chosen", "parts"),
    [
        ("", "base"),
        ("games", "base games"),
        ("editor", "base editor spell"),
        ("desktop games", "base desktop editor fonts games spell"),
        ("spell editor", "base editor spell"),
    ],
)
def test_what_is_chosen_brings_what_it_includes(chosen: str, parts: str) -> None:
    """BU-7."""
    assert names(choose(SEVEN, chosen.split())) == (" ".join(sorted(chosen.split())), parts)


def test_a_bundle_that_is_gone_is_refused() -> None:
    """BU-7."""
    with pytest.raises(Refused, match=r"olpc\.7 has no bundle office, which was chosen here") as it:
        choose(SEVEN, ["games", "office"])

    assert it.value.hint == "rootman bundle remove office"


@pytest.mark.parametrize(
    ("chosen", "added", "after"),
    [
        ("", "games", "games"),
        ("games", "editor", "editor games"),
        ("games", "games", "games"),
        ("editor", "spell", "editor spell"),
    ],
)
def test_adding(chosen: str, added: str, after: str) -> None:
    """BU-8."""
    assert names(with_added(SEVEN, chosen.split(), added.split()))[0] == after


@pytest.mark.parametrize(
    ("chosen", "removed", "after"),
    [
        ("games", "games", ("", "base")),
        ("editor games", "editor", ("games", "base games")),
        ("editor spell", "editor", ("spell", "base spell")),
        ("editor spell", "editor spell", ("", "base")),
        ("editor", "spell editor", ("", "base")),
        ("desktop", "desktop", ("", "base")),
        ("games", "fonts", ("games", "base games")),
    ],
)
def test_removing(chosen: str, removed: str, after: tuple[str, str]) -> None:
    """BU-9: also what is not there; what came with it goes with it."""
    assert names(with_removed(SEVEN, chosen.split(), removed.split())) == after


@pytest.mark.parametrize(
    ("chosen", "removed", "said"),
    [
        ("editor", "spell", "bundle spell comes with editor"),
        ("desktop editor spell", "spell", "bundle spell comes with desktop, editor"),
        ("desktop editor", "editor", "bundle editor comes with desktop"),
        ("editor", "base", "base is what every tree has"),
    ],
)
def test_what_another_includes_stays(chosen: str, removed: str, said: str) -> None:
    """BU-9: and the other is named."""
    with pytest.raises(Refused, match=said):
        with_removed(SEVEN, chosen.split(), removed.split())


def test_what_is_none_is_not_found() -> None:
    for change in (with_added, with_removed):
        with pytest.raises(NotFound, match=r"olpc\.7 has no bundle office") as caught:
            change(SEVEN, [], ["office"])
        assert caught.value.hint == "there are: desktop, editor, fonts, games, spell"
    with pytest.raises(Refused, match="every tree has"):
        with_added(SEVEN, [], ["base"])
