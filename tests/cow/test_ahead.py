"""What is read before anybody asks for it: content with the opening, and what comes next."""

from __future__ import annotations

import errno
import os
import resource
import select
import stat
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import pytest

from cow import ahead
from cow.ahead import read_ahead, walk_ahead
from cow.answers import Requests
from cow.disk import Disk
from cow.operations import GuardOperations
from cow.seal import SealedInodes
from cow.tree import GuardedTree
from tests.cow.served import serving
from tests.fault.faulty import Forked
from tests.filesystems import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cow.breaking import Breaker
    from cow.nodes import Node

FILES: Final = 40
_PATIENCE: Final = 30  # seconds


def _directories(home: Path) -> tuple[Path, Path]:
    one, mnt = home / "one", home / "mnt"
    one.mkdir()
    mnt.mkdir()
    return one, mnt


# --- content with the opening -----------------------------------------------------------


def _counting_reads() -> Disk:
    """Have statvfs(3) tell how often the guard was asked to read, and for attributes."""
    read, getattr_, statfs = GuardOperations.read, GuardOperations.getattr, GuardOperations.statfs
    asked = {"read": 0, "getattr": 0}

    async def counting_read(self: GuardOperations, *arguments: object) -> bytes:
        asked["read"] += 1
        return cast("bytes", await read(self, *arguments))

    async def counting_getattr(self: GuardOperations, *arguments: object) -> object:
        asked["getattr"] += 1
        return await getattr_(self, *arguments)

    async def telling(self: GuardOperations, ctx: object) -> object:
        found = await statfs(self, ctx)
        found.f_files, found.f_ffree = asked["read"], asked["getattr"]
        return found

    GuardOperations.read = counting_read  # type: ignore[method-assign]
    GuardOperations.getattr = counting_getattr  # type: ignore[method-assign]
    GuardOperations.statfs = telling  # type: ignore[method-assign]
    return Disk()


def test_who_reads_small_files_asks_only_to_open_them(tmp_on_ext4: Path) -> None:
    """GD-20: the content is that of the file, and goes with the opening of it."""
    one, mnt = _directories(tmp_on_ext4)
    contents = {f"{number}": os.urandom(1 + 1000 * number) for number in range(FILES)}
    contents |= {"empty": b"", "largest": os.urandom(ahead.SMALL)}
    for name, content in contents.items():
        (one / name).write_bytes(content)

    with serving(one, mnt, _counting_reads) as end:
        assert {path.name: path.read_bytes() for path in mnt.iterdir()} == contents
        counts = os.statvfs(mnt)
        assert (counts.f_files, counts.f_ffree) == (0, 1)  # of the root
        assert end()


def test_a_given_content_is_no_longer_what_is_written_over(tmp_on_ext4: Path) -> None:
    """GD-8, GD-20: whoever opens before, after and meanwhile reads what was written last."""
    one, mnt = _directories(tmp_on_ext4)
    (one / "file").write_bytes(b"sealed" * 1000)
    other = tmp_on_ext4 / "other"
    os.link(one / "file", other)

    with serving(one, mnt) as end:
        with (mnt / "file").open("rb", buffering=0) as early:
            assert early.read() == b"sealed" * 1000
            with (mnt / "file").open("r+b", buffering=0) as writer:
                writer.write(b"broken")
                with (mnt / "file").open("rb", buffering=0) as late:
                    assert late.read() == b"broken" + b"sealed" * 999
                writer.truncate(3)
            assert os.pread(early.fileno(), 100, 0) == b"bro"
        (mnt / "file").unlink()
        (mnt / "file").write_bytes(b"another")
        assert (mnt / "file").read_bytes() == b"another"
        assert end()
    assert other.read_bytes() == b"sealed" * 1000


def _failing_once() -> Disk:
    """Have the first read of the guard fail."""
    pread = os.pread
    left = [OSError(errno.EIO, "I/O error")]

    def failing(fd: int, size: int, offset: int) -> bytes:
        if left:
            raise left.pop()
        return pread(fd, size, offset)

    os.pread = failing
    return Disk()


def test_what_cannot_be_given_is_read(tmp_on_ext4: Path) -> None:
    """GD-20: to open a file does not fail because reading ahead does."""
    one, mnt = _directories(tmp_on_ext4)
    (one / "file").write_bytes(b"content")

    with serving(one, mnt, _failing_once) as end:
        assert (mnt / "file").read_bytes() == b"content"
        assert end()


def _stopped_by(mkdir_waits: int, mkdir_began: int) -> Disk:
    """Have the guard stop in mkdir(2) until something can be read."""
    original = Requests.attributes

    def attributes(self: Requests, node: Node, status: os.stat_result) -> object:
        if node.name == b"stop":
            os.write(mkdir_began, b"x")
            os.read(mkdir_waits, 1)
        return original(self, node, status)

    Requests.attributes = attributes  # type: ignore[method-assign]
    return Disk()


@contextmanager
def _connection(mnt: Path, home: Path) -> Iterator[Path]:
    """Yield the directory that fusectl has of a mount, which is aborted if anything fails."""
    at = home / "connections"
    at.mkdir()
    run("mount", "-t", "fusectl", "none", str(at))
    connection = at / f"{os.minor(mnt.stat().st_dev)}"
    try:
        yield connection
    except BaseException:
        (connection / "abort").write_text("1")
        raise
    finally:
        run("umount", str(at))


def test_what_a_reader_waits_for_is_not_given(tmp_on_ext4: Path) -> None:
    """GD-20: the kernel holds a page that it has asked for; to give it would wait for ever."""
    one, mnt = _directories(tmp_on_ext4)
    (one / "file").write_bytes(b"sealed" * 1000)
    waits, began = os.pipe(), os.pipe()

    with (
        serving(one, mnt, partial(_stopped_by, waits[0], began[1])) as end,
        _connection(mnt, tmp_on_ext4) as connection,
    ):
        (mnt / "file").stat()
        with (mnt / "file").open("r+b", buffering=0) as first:
            stopper = Forked((mnt / "stop").mkdir)
            os.read(began[0], 1)
            opener = Forked((mnt / "file").read_bytes)
            _wait_for(connection, 2)
            reader = Forked(lambda: os.pread(first.fileno(), 6, 0))
            _wait_for(connection, 3)
            os.write(waits[1], b"x")
            assert select.select([reader], [], [], _PATIENCE)[0], "the guard answers nobody"
            assert reader.surely() == b"sealed"
            assert opener.surely() == b"sealed" * 1000
            stopper.result()
        assert end()


def _wait_for(connection: Path, requests: int) -> None:
    while int((connection / "waiting").read_text()) < requests:
        pass


# --- what comes next --------------------------------------------------------------------


class _Client:
    """Goes through a tree as the kernel would, without a mount."""

    def __init__(self, directory: Path) -> None:
        self.root = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        self.tree = GuardedTree(self.root, SealedInodes(), pool=4)
        self._requests = Requests(self.tree, cast("Breaker", None))

    def list(self, node: Node) -> dict[str, Node]:
        """Be told what is in a directory."""
        entries = self.tree.entries(node)
        for place, (name, _) in enumerate(entries):
            found, status = self.tree.look(node, name)
            self._requests.attributes(found, status)
            found.lookups += 1
            found.place = place
            entries[place] = (name, found)
        return {os.fsdecode(name): found for name, found in entries if found is not None}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the disk was asked for, by name."""
    names: list[str] = []
    advise = os.posix_fadvise

    def advising(fd: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        names.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        advise(fd, offset, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", advising)
    return names


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_files_are_read_before_they_are_opened(tmp_on_ext4: Path, asked: list[str]) -> None:
    """GD-20: in the order of the listing, each once, and no descriptor is kept."""
    for number in range(FILES):
        (tmp_on_ext4 / f"{number}").write_bytes(b"content")
    client = _Client(tmp_on_ext4)
    found = client.list(client.tree.nodes.root)
    client.tree.dir_fd(client.tree.nodes.root)
    before = _descriptors()

    order = list(found)
    for place, name in enumerate(order):
        found[name].given = True
        read_ahead(client.tree, found[name])
        assert asked[: place + 1] == order[1 : place + 2]

    assert asked == order[1:]
    assert _descriptors() == before


def test_only_small_files_are_read(tmp_on_ext4: Path, asked: list[str]) -> None:
    """GD-20: a fifo that is opened has a reader, and a device does what it does."""
    for name, size in (("0", 1), ("small", ahead.SMALL), ("large", ahead.SMALL + 1), ("empty", 0)):
        (tmp_on_ext4 / name).touch()
        os.truncate(tmp_on_ext4 / name, size)
    (tmp_on_ext4 / "link").symlink_to("small")
    (tmp_on_ext4 / "directory").mkdir()
    os.mkfifo(tmp_on_ext4 / "fifo")
    os.mknod(tmp_on_ext4 / "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    client = _Client(tmp_on_ext4)
    found = client.list(client.tree.nodes.root)
    first = next(iter(found))

    for name in ("fifo", "device"):  # as nothing says of itself, but should it ever
        found[name].facts.st_size = 1
    read_ahead(client.tree, found[first])

    assert sorted(asked) == sorted({"0", "small"} - {first})


def test_a_file_out_of_turn_says_nothing(tmp_on_ext4: Path, asked: list[str]) -> None:
    """GD-20: one that a program opens by name is not followed by its neighbours."""
    for number in range(3 * FILES):
        (tmp_on_ext4 / f"{number}").write_bytes(b"content")
    client = _Client(tmp_on_ext4)
    found = list(client.list(client.tree.nodes.root).values())

    read_ahead(client.tree, found[2 * FILES])
    assert asked == []

    read_ahead(client.tree, found[2 * FILES + 1])
    assert len(asked) > 0


@pytest.mark.parametrize("trouble", ["gone", "descriptors"])
def test_trouble_is_passed_over(tmp_on_ext4: Path, asked: list[str], trouble: str) -> None:
    """GD-20: names that are gone, and no descriptor to be had."""
    for name in ("a", "b", "c"):
        directory = tmp_on_ext4 / name
        directory.mkdir()
        (directory / "file").write_bytes(b"content")
        (tmp_on_ext4 / f"{name}.file").write_bytes(b"content")
    client = _Client(tmp_on_ext4)
    found = client.list(client.tree.nodes.root)
    first = next(iter(found.values()))
    chores = list(walk_ahead(client.tree, first))
    assert len(chores) >= 2
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    if trouble == "gone":
        for name in found:
            os.rename(tmp_on_ext4 / name, tmp_on_ext4 / f"{name}.gone")
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        read_ahead(client.tree, first)
        for chore in chores:
            assert list(chore) == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert asked == []


def test_directories_are_looked_through_in_turn(
    tmp_on_ext4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GD-20: each once, a little at a time, and what was forgotten meanwhile not at all."""
    for number in range(3):
        (tmp_on_ext4 / f"{number}").mkdir()
        for file in range(FILES):
            (tmp_on_ext4 / f"{number}/{file}").touch()
    client = _Client(tmp_on_ext4)
    first, second, third = client.list(client.tree.nodes.root).values()
    looked: list[bytes] = []
    status = os.stat

    def looking(name: bytes, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
        looked.append(name)
        return status(name, dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    chores = list(walk_ahead(client.tree, first))
    assert len(chores) == 2
    assert list(walk_ahead(client.tree, first)) == []
    monkeypatch.setattr(os, "stat", looking)
    assert [len(looked) for _ in chores[0]] == list(range(0, FILES, 4))
    assert looked == [name for name, _ in second.listing or ()]
    assert len(looked) == FILES

    second.listing, third.facts.st_size = None, ahead.SMALL + 1
    assert len(list(walk_ahead(client.tree, first))) == 0
    client.tree.nodes.root.directories_to = 0
    assert len(list(walk_ahead(client.tree, first))) == 1

    next(chores[1])
    client.tree.nodes.forget(third.number, 1)
    assert list(chores[1]) == []
    assert len(looked) == FILES
