"""Waiting for requests, and what is done meanwhile."""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING

from cow import waiting
from cow.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


def _chore(done: list[str], *steps: str) -> Iterator[None]:
    for step in steps:
        done.append(step)
        yield


def test_chores_are_done_until_there_is_a_request() -> None:
    """GD-10: a request waits for one step at most, and no step is lost."""
    reading, writing = os.pipe()
    done: list[str] = []
    waits = Waiting()

    def asking() -> Iterator[None]:
        yield
        os.write(writing, b"request")
        yield
        done.append("after")

    waits.add_chore(_chore(done, "a", "b"))
    waits.add_chore(asking())
    assert waits.wait(reading) == (True, False)
    assert done == ["a", "b"]

    os.read(reading, 100)
    waits.wake()
    assert waits.wait(reading) == (False, True)
    assert done == ["a", "b"]

    waits.add_chore(_asking(writing))
    assert waits.wait(reading) == (True, False)
    assert done == ["a", "b", "after"]


def _asking(writing: int) -> Iterator[None]:
    os.write(writing, b"request")
    yield


def test_a_chore_with_a_bug_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    """GD-10: its traceback goes to the log, and the others are done."""
    reading, writing = os.pipe()
    waits = Waiting()

    def wrong() -> Iterator[None]:
        yield
        raise ValueError("a bug")

    waits.add_chore(wrong())
    waits.add_chore(_asking(writing))

    assert waits.wait(reading) == (True, False)
    assert "a bug in the guard" in caplog.text
    caplog.clear()


def test_the_number_of_chores_is_bounded() -> None:
    """GD-16: the newest are kept."""
    reading, writing = os.pipe()
    done: list[str] = []
    waits = Waiting()
    for number in range(1000):
        waits.add_chore(_chore(done, f"{number}"))
    waits.add_chore(_asking(writing))

    assert waits.wait(reading) == (True, False)
    assert done[-1] == "999"
    assert len(done) < 100


def test_what_was_of_no_use_is_tried_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look closely for requests takes the processor from who would make them."""
    reading, writing = os.pipe()
    ticks = count()

    def clock() -> int:
        if next(ticks) % 2:  # just too late
            os.write(writing, b"request")
        return 0

    monkeypatch.setattr(waiting, "_CLOSELY_NS", 0)
    monkeypatch.setattr(waiting, "monotonic_ns", clock)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    waits = Waiting()
    passed_over = []
    for _ in range(7):
        assert waits.wait(reading) == (True, False)
        passed_over.append(waits.passed_over)
        while waits.passed_over:
            assert waits.wait(reading) == (True, False)
        os.read(reading, 100)

    assert passed_over == [0, 2, 6, 14, 30, 62, 62]
    os.write(writing, b"request")
    assert waits.wait(reading) == (True, False)
    assert waits.passed_over == 0


def test_on_one_processor_nobody_is_kept_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the client cannot run while somebody looks whether it has asked."""
    reading, writing = os.pipe()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.delattr(waiting, "monotonic_ns")
    os.write(writing, b"request")
    waits = Waiting()

    for _ in range(100):
        assert waits.wait(reading) == (True, False)
    assert waits.passed_over > 0
