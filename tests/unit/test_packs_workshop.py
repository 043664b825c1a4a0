"""The threads that make the files of a pack ahead of who writes them."""

from __future__ import annotations

import errno
import io
import os
import random
import threading
from contextlib import contextmanager
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import pytest

from rootman.comparison import known_lines
from rootman.packs import workshop
from rootman.packs.delivery import Delivery
from rootman.packs.format import Role
from rootman.packs.recipe import Method, Recipe
from rootman.packs.revision import revised
from rootman.packs.streams import Damaged, PackFile, Streams
from rootman.packs.workshop import Workshop
from tests.builders import directory, file
from tests.fuzz.model import manifest_of
from tests.packing import Files, Shelf, digest_of, files_of
from tests.unit.test_packs_damaged import AFTER, BEFORE, a_pack
from tests.unit.test_packs_packing import FEW, MORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootman.manifest import Entry
    from tests.builders import Tree

# So many that they come in several chunks.
_NOISE = random.Random(9)
MANY: Tree = {
    ".": directory(),
    **{f"f{number:03}": file(_NOISE.randbytes(1000)) for number in range(300)},
}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """HT-8: others fork afterwards."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def streams_of(pack: bytes, old: Tree) -> Streams:
    """Return the streams of a pack, behind its manifest."""
    file_ = PackFile(io.BytesIO(pack), "pack")
    streams = Streams(file_, file_.header, "pack")
    lines = known_lines([manifest_of(old)] if old else [b"#mtree\n"])
    for _ in revised(lines, streams[Role.MANIFEST], 1 << 20):
        pass
    return streams


@pytest.mark.parametrize("pieces", [None, 0, 1])
def test_files_are_made_whatever_is_left_of_others(pieces: int | None) -> None:
    """PK-2, PK-9: gzip files too, which other threads compress."""
    streams = streams_of(a_pack(), BEFORE)
    found = dict[bytes, bytes]()
    with Workshop() as workshop:
        made = workshop.files(known_lines([manifest_of(AFTER)]), streams, Files(files_of(BEFORE)))
        for number, (entry, content) in enumerate(made):
            found[entry.path] = b"".join(islice(content, None if number % 2 else pieces))

    assert list(found) == [b"a", b"b.gz", b"lib-2", b"new"]
    for path in list(found)[1::2]:
        assert found[path] == files_of(AFTER)[path]


class _Written(Files):
    """What the caller has written, and whether it was asked for before it was."""

    def __init__(self) -> None:
        super().__init__(files_of(FEW))
        self.asked = threading.Event()

    def has_made(self, digest: str) -> bool:
        found = super().has_made(digest)
        self.asked.set()
        return found


def test_what_others_are_made_of_is_waited_for() -> None:
    """PK-9: it is there when whoever writes it is done."""
    shelf = Shelf()
    pack = shelf.pack(shelf.add(FEW), shelf.add(MORE))
    written, found = _Written(), dict[bytes, bytes]()

    with Workshop() as workshop:
        lines = known_lines([manifest_of(MORE)])
        for entry, content in workshop.files(lines, streams_of(pack, FEW), written):
            found[entry.path] = b"".join(content)
            assert written.asked.wait(30)
            written.made[entry.sha256] = found[entry.path]

    assert len(written.opened_made) == 1
    assert found.items() <= files_of(MORE).items()


def test_nobody_waits_for_a_caller_that_has_left() -> None:
    """HT-8."""
    shelf = Shelf()
    pack = shelf.pack(shelf.add(FEW), shelf.add(MORE))
    written = _Written()

    def leave() -> None:
        with Workshop() as workshop:
            lines = known_lines([manifest_of(MORE)])
            for _ in workshop.files(lines, streams_of(pack, FEW), written):
                assert written.asked.wait(30)
                raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        leave()


def test_damage_is_told_behind_what_was_made() -> None:
    """PK-2: what came before it is right."""
    shelf = Shelf()
    pack = shelf.pack("", shelf.add(MANY))
    lines = known_lines([manifest_of(MANY)[:-300]])
    found = dict[bytes, bytes]()

    def make() -> None:
        with Workshop() as workshop:
            for entry, content in workshop.files(lines, streams_of(pack, {}), Files({})):
                found[entry.path] = b"".join(content)

    with pytest.raises(Damaged):
        make()

    assert len(found) > 200
    assert found.items() <= files_of(MANY).items()


class _Slow(io.RawIOBase):
    """A pack of which the end does not come before somebody gives up."""

    def __init__(self, data: bytes, given_up: threading.Event) -> None:
        self._data = io.BytesIO(data)
        self._given_up = given_up

    def read(self, size: int = -1) -> bytes:
        data = self._data.read(min(size, 512))
        if not data and not self._given_up.wait(10):
            raise AssertionError("nobody has given up")
        return data


class _FullDisk:
    """Objects that cannot be written, and an origin that knows when it is closed."""

    def __init__(self) -> None:
        self.given_up = threading.Event()
        self.origin = self

    def close(self) -> None:
        self.given_up.set()

    def has(self, _digest: str) -> bool:
        return False

    def put(self, entry: Entry, content: Iterator[bytes]) -> None:
        del entry, content
        raise OSError(errno.ENOSPC, "No space left on device")


def test_who_fails_does_not_wait_for_a_server() -> None:
    """HT-3: that has more to say some time."""
    shelf = Shelf()
    new = shelf.add(MANY)
    pack = shelf.pack("", new)
    disk: Any = _FullDisk()
    slow: Any = _Slow(pack[: len(pack) // 2], disk.given_up)
    delivery = Delivery(disk, disk, "", new, lambda _: slow, limit=1 << 20, keep=False)
    delivery.manifest(iter([b"#mtree\n"]), len(manifest_of(MANY)), lambda _: None)
    assert digest_of(manifest_of(MANY)) == new

    with pytest.raises(OSError, match="No space left"):
        delivery.files(known_lines([manifest_of(MANY)]), None, lambda _: None)

    assert disk.given_up.is_set()
    delivery.close()


def test_what_is_nearly_empty_takes_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """PK-12: a million files of a byte, or gzip files of nothing, are not a few bytes that wait."""
    sizes = list[int]()

    @contextmanager
    def ahead(
        items: Iterator[Any], size: Callable[[Any], int], _room: int
    ) -> Iterator[Iterator[Any]]:
        found = list(items)
        sizes.extend(map(size, found))
        yield iter(found)

    monkeypatch.setattr(workshop, "ahead", ahead)
    recipe = Recipe(Method.GZIP, 0, head=bytes(4096), ends=(0,) * 4096)
    monkeypatch.setattr(workshop, "read_files", lambda *_: iter([(None, recipe, iter([b""]))]))
    monkeypatch.setattr(workshop, "compressed", lambda *_: b"")
    nothing: Any = None

    with Workshop() as found:
        assert len(list(found.files(nothing, nothing, Files({})))) == 0

    assert sizes[0] > 4096 + 8 * 4096


class _Disk:
    """A disk on which the bytes of a pack are kept, and objects that look how many there are."""

    def __init__(self, *, has: bool = False) -> None:
        self.kept = 0
        self.seen = list[int]()
        self._has = has

    def open_part(self, _name: str) -> None:
        return None

    def begin(self, _name: str) -> int:
        return os.open(os.devnull, os.O_WRONLY)

    def write(self, _fd: int, data: bytes) -> None:
        self.kept += len(data)

    def has(self, _digest: str) -> bool:
        return self._has

    def put(self, _entry: Entry, content: Iterator[bytes]) -> None:
        for _ in content:
            self.seen.append(self.kept)


def test_what_is_kept_of_a_pack_does_not_wait_in_memory() -> None:
    """PK-12, HT-9: also in the middle of a file that is larger than all that may wait."""
    shelf = Shelf()
    tree = {".": directory(), "big": file(random.Random(2).randbytes(12 << 20))}
    pack = shelf.pack("", shelf.add(tree))
    disk: Any = _Disk()
    new, source = digest_of(manifest_of(tree)), io.BytesIO(pack)
    delivery = Delivery(disk, disk, "", new, lambda _: source, limit=1 << 30, keep=True)
    delivery.manifest(iter([b"#mtree\n"]), len(manifest_of(tree)), lambda _: None)

    delivery.files(known_lines([manifest_of(tree)]), None, lambda _: None)
    delivery.close()

    assert disk.kept == len(pack)
    assert max(after - before for before, after in pairwise(disk.seen)) < 6 << 20
    assert disk.seen[-1] > 6 << 20


class _Watched(io.BytesIO):
    """A pack of which the most that was read and not kept is known."""

    def __init__(self, data: bytes, disk: _Disk) -> None:
        super().__init__(data)
        self._disk = disk
        self.waiting = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.waiting = max(self.waiting, self.tell() - self._disk.kept)
        return data


@pytest.mark.parametrize("only", [None, frozenset[int]()])
def test_nor_what_is_kept_of_a_file_that_is_passed_over(only: frozenset[int] | None) -> None:
    """PK-12, HT-9: one that is here, and one that is not wanted."""
    shelf = Shelf()
    tree = {".": directory(), "big": file(random.Random(2).randbytes(12 << 20))}
    pack = shelf.pack("", shelf.add(tree))
    real = _Disk(has=True)
    disk: Any = real
    new, source = digest_of(manifest_of(tree)), _Watched(pack, real)
    delivery = Delivery(disk, disk, "", new, lambda _: source, limit=1 << 30, keep=True)
    delivery.manifest(iter([b"#mtree\n"]), len(manifest_of(tree)), lambda _: None)

    delivery.files(known_lines([manifest_of(tree)]), None, lambda _: None, only)
    delivery.close()

    assert real.kept == len(pack)
    assert source.waiting < 6 << 20
