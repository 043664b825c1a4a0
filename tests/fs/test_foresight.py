"""Reading ahead of the work: it changes nothing, and nothing depends on it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from rootman import foresight
from rootman.errors import InvalidInput
from tests.filesystems import run

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


def _cached(path: Path) -> int:
    """Return how many bytes of a file the kernel has in memory."""
    return int(run("fincore", "--bytes", "--noheadings", "--output", "RES", str(path)))


def _write_uncached(path: Path, size: int) -> None:
    """Make a file whose content is on the disk alone."""
    path.write_bytes(b"x" * size)
    with path.open("rb") as file:
        os.fsync(file)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert not _cached(path)


def _look_inside(tree: Path) -> None:
    """Have the files of a tree read that are at ``FIELDS``."""
    fd = os.open(tree, os.O_RDONLY)
    try:
        with foresight.looking(foresight.sources(fd, FIELDS)):
            pass
    finally:
        os.close(fd)


def test_files_are_read_that_others_are_made_of(tmp_on_ext4: Path) -> None:
    """Nothing else is opened: not what is no file, nor what a symlink leads to."""
    tree, outside = tmp_on_ext4 / "tree", tmp_on_ext4 / "outside"
    (tree / "dir").mkdir(parents=True)
    files = [tree / f"dir/{number}" for number in range(0, 40, 2)]
    for path in (*files, outside):
        _write_uncached(path, 8192)
    os.mkfifo(tree / "dir/1")
    (tree / "dir/3").symlink_to(outside)

    _look_inside(tree)

    assert [_cached(path) for path in files] == [8192] * len(files)
    assert not _cached(outside)


def test_no_more_is_read_than_has_room(tmp_on_ext4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foresight, "_SOURCES", 8192)
    (tmp_on_ext4 / "dir").mkdir()
    files = [tmp_on_ext4 / f"dir/{number}" for number in range(40)]
    for path in files:
        _write_uncached(path, 4096)

    _look_inside(tmp_on_ext4)

    assert sum(map(_cached, files)) == 2 * 8192


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
