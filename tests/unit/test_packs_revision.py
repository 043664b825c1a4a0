"""A manifest made of another by the edits of a pack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman.comparison import known_lines
from rootman.manifest import HEADER, MAX_LINE
from rootman.packs.revision import revise, revised
from rootman.packs.streams import Damaged
from tests.packing import stream
from tests.unit.entries import cut, entries, line, manifest

if TYPE_CHECKING:
    from rootman.manifest import Entry

A, B, C = (line(name) for name in "abc")
OLD = HEADER + A + B + C
MANY = 10**6


def made(old: bytes, edits: bytes, size: int = MANY) -> bytes:
    return b"".join(revised(known_lines([old]), stream(edits), size))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[Entry], list[Entry]]:
    """Return two lists of entries, of which the second has something of the first."""
    found = draw(st.lists(entries(), max_size=12, unique_by=lambda one: one.path))
    more = draw(st.lists(entries(), max_size=6, unique_by=lambda one: one.path))
    kept = {one.path: one for one in found if draw(st.booleans())}
    kept |= {one.path: one for one in more}
    for one in found:
        if draw(st.integers(0, 3)) == 0:
            kept[one.path] = draw(entries(st.just(one.path)))
    return found, list(kept.values())


@given(pairs(), st.integers(1, 300))
def test_any_manifest_is_made_of_any(pair: tuple[list[Entry], list[Entry]], size: int) -> None:
    """PK-8: from one to the other, back, and from no tree, in exactly as many bytes as it has."""
    one, other = map(manifest, pair)
    for old, new in ((one, other), (other, one), (HEADER, other)):
        edits = b"".join(revise(cut(old, size), cut(new, size)))
        assert made(old, edits, len(new)) == new
        with pytest.raises(Damaged, match="a longer manifest than there is"):
            made(old, edits, len(new) - 1)


@pytest.mark.parametrize(
    ("new", "edits"),
    [
        (A + B + C, b".\n"),
        (A + C, b"=1\n-1\n.\n"),
        (B, b"-1\n=1\n-1\n.\n"),
        (A + B + line("bb") + C, b"=2\n+" + line("bb") + b".\n"),
        (A + B + C + line("d"), b"=3\n+" + line("d") + b".\n"),
        (A + B.replace(b"uid=0", b"uid=7") + C, b"=1\n~uid=7\n.\n"),
        (
            A + line("b", content="yy") + C,
            b"=1\n~" + b" ".join(line("b", content="yy").split()[5::2]) + b"\n.\n",
        ),
        (A + line("b", "dir") + C, b"=1\n-1\n+" + line("b", "dir") + b".\n"),
    ],
)
def test_what_the_edits_look_like(new: bytes, edits: bytes) -> None:
    """PK-8: what stays costs nothing, and of a line that changes only what does."""
    found = b"".join(revise([OLD], [HEADER + new]))

    assert found == edits
    assert made(OLD, found, len(HEADER + new)) == HEADER + new


def test_several_lines_are_kept_or_left_out_at_once() -> None:
    """PK-8."""
    assert made(OLD, b"-3\n.\n") == HEADER
    assert made(OLD, b"=1\n=2\n.\n") == OLD
    assert made(OLD, b"~\n-2\n.\n") == HEADER + A
    assert made(OLD, b"~uid=7 nothing=1\n-2\n.\n") == HEADER + A.replace(b"uid=0", b"uid=7")


@pytest.mark.parametrize(
    "edits",
    [
        b"",
        b"\n.\n",
        b"=4\n.\n",
        b"=3\n~uid=7\n.\n",
        b"-4\n.\n",
        b"=999999999999\n.\n",
        b"=1000000000000\n.\n",
        b"=0\n.\n",
        b"-0\n.\n",
        b"=-1\n.\n",
        b"=01\n.\n",
        b"= 1\n.\n",
        b"=1",
        b"=x\n.\n",
        b"=\n.\n",
        b"?1\n.\n",
        b"+a",
        b"=1\n",
        b"..\n",
    ],
)
def test_what_is_no_revision_is_refused(edits: bytes) -> None:
    """PK-8, EX-3."""
    with pytest.raises(Damaged, match=r"^pack: stream files: (damaged: |ends too early)"):
        made(OLD, edits)


def test_the_longest_line_there_may_be() -> None:
    """PK-8."""
    longest = b"./" + b"a" * (MAX_LINE - 8) + b" b=cd\n"
    assert len(longest) == MAX_LINE
    new = HEADER + longest

    assert made(HEADER, b"+" + longest + b".\n", len(new)) == new
    with pytest.raises(Damaged, match="a line is too long"):
        made(HEADER, b"+a" + longest + b".\n")
