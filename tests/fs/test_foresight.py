"""Reading ahead of the work: it changes nothing, and nothing depends on it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from rootman import foresight
from rootman.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

FIELDS = [b"./dir/%d" % number for number in range(40)]


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """See to it that who looked has ended with the context, and was waited for."""
    before = set(psutil.Process().children())
    yield
    assert set(psutil.Process().children()) <= before


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree that has half of the places, and a symlink that leads out of it."""
    (tmp_path / "tree/dir").mkdir(parents=True)
    for number in range(0, 40, 2):
        (tmp_path / f"tree/dir/{number}").write_text("x")
    (tmp_path / "tree/out").symlink_to(tmp_path)
    return tmp_path / "tree"


def test_places_that_are_not_there_or_lead_out_are_passed_over(tree: Path) -> None:
    fields = [*FIELDS, b"./gone/x", b"./out/tree", b"./dir/2/x"]
    before = {path: path.lstat() for path in tree.rglob("*")}

    fd = os.open(tree, os.O_RDONLY)
    try:
        looks = foresight.below(fd, fields)
        with foresight.looking(looks):
            pass
        assert [look() for look in looks] == [b"", b""]
    finally:
        os.close(fd)

    assert {path: path.lstat() for path in tree.rglob("*")} == before


def test_content_that_cannot_be_read_is_the_work_s_to_find() -> None:
    asked = []

    def read(name: str) -> BinaryIO:
        asked.append(name)
        raise InvalidInput(name) if int(name) % 2 else FileNotFoundError(name)

    looks = foresight.contents(read, [str(number) for number in range(40)])

    assert [look() for look in looks] == [b"", b""]
    assert sorted(map(int, asked)) == list(range(40))


def test_a_few_places_are_not_worth_a_fork() -> None:
    assert foresight.below(-1, FIELDS[:16]) == []
    assert len(foresight.below(-1, FIELDS[:17])) == 2


def test_whoever_looks_may_be_killed() -> None:
    def killed() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    with foresight.looking([killed, killed]):
        pass


def test_an_error_of_the_work_is_what_counts() -> None:
    with pytest.raises(InvalidInput, match="the work"), foresight.looking([lambda: b""] * 2):
        raise InvalidInput("the work")
