"""Which files are alike by the words in them."""

from __future__ import annotations

import random

import pytest

from rootman.packs.likeness import Lookalikes, sketch
from rootman.packs.pairing import Content

RANDOM = random.Random(7)
WORDS = [RANDOM.randbytes(8).hex().encode() for _ in range(4000)]


def content(path: str, size: int = 1000) -> Content:
    return Content(path.encode(), size, path)


def lookalikes(**words: list[bytes]) -> Lookalikes:
    """Return files that have these words, by their paths."""
    found = Lookalikes()
    for path, one in words.items():
        found.add(content(path), sketch([b"\0".join(one)]))
    return found


@pytest.mark.parametrize(("same", "found"), [(1000, "a"), (600, "a"), (100, None), (0, None)])
def test_files_with_many_words_of_one_are_alike(same: int, found: str | None) -> None:
    """PK-3: wherever they are, and in whichever order their words are."""
    known = lookalikes(a=WORDS[:1000], b=WORDS[3000:])
    words = WORDS[1000 - same : 2000 - same]
    RANDOM.shuffle(words)

    nearest = known.nearest(content("new"), sketch([b"\1\2".join(words)]))

    assert (nearest.path.decode() if nearest else None) == found


def test_the_one_with_most_in_common_is_taken() -> None:
    known = lookalikes(a=WORDS[:1000], b=WORDS[100:1100], c=WORDS[300:1300])

    nearest = known.nearest(content("new"), sketch([b"\n".join(WORDS[110:1110])]))

    assert nearest == content("b")


@pytest.mark.parametrize("size", [249, 250, 4000, 4001])
def test_one_of_another_size_is_not_alike(size: int) -> None:
    known = lookalikes(a=WORDS[:1000])
    drawn = sketch([b"\n".join(WORDS[:1000])])

    nearest = known.nearest(content("new", size), drawn)

    assert (nearest is not None) == (250 <= size <= 4000)


def test_words_that_all_have_say_nothing() -> None:
    """So that one that hundreds of files share costs nothing."""
    known = lookalikes(**{f"f{number}": WORDS[:20] for number in range(65)})

    assert known.nearest(content("new"), sketch([b"\n".join(WORDS[:20])])) is None


def test_a_file_without_words_is_like_no_other() -> None:
    known = Lookalikes()
    known.add(content("a"), sketch([bytes(range(256)) * 9]))

    assert known.nearest(content("new"), sketch([bytes(9000)])) is None


def test_a_sketch_does_not_depend_on_pieces() -> None:
    """But for the words that are cut."""
    pieces = [b"\n".join(WORDS[at : at + 500]) for at in range(0, 4000, 500)]

    assert sketch(pieces) == sketch([b"\n".join(WORDS)])
    assert len(sketch(pieces)) == 64
