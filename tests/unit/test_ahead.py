"""The thread that keeps ahead."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from rootman.ahead import ahead

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("room", [0, 1, 100])
def test_all_comes_in_its_order(room: int) -> None:
    with ahead(iter(range(500)), lambda number: number % 7, room) as items:
        assert list(items) == list(range(500))


def test_no_more_waits_than_there_is_room_for() -> None:
    """PK-12: but for one that is larger by itself."""
    made: list[int] = []
    third = threading.Event()

    def numbers() -> Iterator[int]:
        for size in (4, 5, 3, 50, 2):
            made.append(size)
            if size == 3:
                third.set()
            yield size

    with ahead(numbers(), int, 10) as items:
        assert third.wait(10)
        assert made == [4, 5, 3]  # the third has no room, and no fourth is begun
        assert list(items) == [4, 5, 3, 50, 2]


def test_an_error_comes_after_what_was_made_before_it() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    found: list[int] = []
    with pytest.raises(ValueError, match="third"), ahead(numbers(), int, 100) as items:
        found.extend(items)
    assert found == [1, 2]


def test_who_leaves_early_ends_the_thread() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1_000_000):
            made.append(number)
            yield number

    with ahead(numbers(), lambda _: 1, 5) as items:
        assert next(items) == 0
    assert len(made) < 100
