"""One file under random reads, writes, cuts and mappings is what a string of bytes would be.

The file is sealed at first, so one of the operations breaks it, while descriptors and
mappings from before go on being used.
"""

from __future__ import annotations

import mmap
import os
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from tests.cow.guarding import guarding, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_OPERATIONS: Final = 4000
_LARGEST: Final = 300_000
_MOST: Final = 70_000


class File:
    """A file in the mount, all that is open of it, and what its content must be."""

    def __init__(self, path: Path, content: bytes, random: Random) -> None:
        self._path = path
        self._random = random
        self._expected = bytearray(content)
        self._readers = [os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)]
        self._early = mmap.mmap(self._readers[0], len(content), prot=mmap.PROT_READ)
        self._writers: list[int] = []
        self._whole: mmap.mmap | None = None
        self.done: list[str] = []
        self.operations: tuple[Callable[[], str], ...] = (
            self._read, self._read, self._read_map, self._read_early, self._write, self._write,
            self._write_map, self._append, self._cut, self._reopen, self._copy, self._replace_name,
            self._sync, self._direct,
        )  # fmt: skip

    def _part(self) -> tuple[int, int]:
        at = self._random.randrange(_LARGEST)
        return at, self._random.choice((1, 7, 4096, 5000, self._random.randrange(1, _MOST)))

    def _writer(self) -> int:
        if not self._writers:
            self._writers = [os.open(self._path, os.O_RDWR), os.open(self._path, os.O_RDWR)]
        return self._random.choice(self._writers)

    def _put(self, at: int, data: bytes) -> None:
        size = len(self._expected)
        if at > size:
            self._expected.extend(bytes(at - size))
        self._expected[at : at + len(data)] = data

    def _same(self, found: bytes, at: int, size: int) -> None:
        wanted = self._expected[at : at + size]
        if found != wanted:
            pairs = zip(found, wanted, strict=False)
            first = next(
                (i for i, (a, b) in enumerate(pairs) if a != b), min(len(found), len(wanted))
            )
            raise AssertionError(f"from byte {at + first}, of {len(found)}: {self.done[-40:]}")

    def _read(self) -> str:
        at, size = self._part()
        fd = self._random.choice([*self._readers, *self._writers])
        self._same(os.pread(fd, size, at), at, size)
        return f"read {at} {size}"

    def _read_early(self) -> str:
        """Look into the mapping from before the break, as far as there is a file behind it."""
        size = min(len(self._early), len(self._expected))
        if size:
            at = self._random.randrange(size)
            self._same(self._early[at:size], at, size - at)
        return "read the first mapping"

    def _mapped(self) -> mmap.mmap:
        if self._whole is None or len(self._whole) != len(self._expected):
            self._unmap()
            self._whole = mmap.mmap(self._writer(), len(self._expected))
        return self._whole

    def _unmap(self) -> None:
        if self._whole is not None:
            self._whole.close()
            self._whole = None

    def _read_map(self) -> str:
        if not self._expected:
            return "nothing to map"
        at, size = self._part()
        self._same(self._mapped()[at : at + size], at, size)
        return f"read map {at} {size}"

    def _write_map(self) -> str:
        if not self._expected:
            return "nothing to map"
        at = self._random.randrange(len(self._expected))
        data = self._random.randbytes(min(self._part()[1], len(self._expected) - at))
        self._mapped()[at : at + len(data)] = data
        self._put(at, data)
        return f"write map {at} {len(data)}"

    def _write(self) -> str:
        at, size = self._part()
        data = self._random.randbytes(size)
        assert os.pwrite(self._writer(), data, at) == size
        self._put(at, data)
        return f"write {at} {size}"

    def _append(self) -> str:
        if len(self._expected) > _LARGEST:
            return "large enough"
        data = self._random.randbytes(self._part()[1])
        with open(self._path, "ab", buffering=0) as file:
            assert file.write(data) == len(data)
        self._expected.extend(data)
        return f"append {len(data)}"

    def _cut(self) -> str:
        size = self._random.choice((0, self._part()[0], len(self._expected) // 2))
        how = self._random.randrange(3)
        if how == 0:
            os.truncate(self._path, size)
        elif how == 1:
            os.ftruncate(self._writer(), size)
        else:
            size = 0
            os.close(os.open(self._path, os.O_WRONLY | os.O_TRUNC))
        self._unmap()  # what is beyond the end of a file may not be touched
        del self._expected[size:]
        self._put(size, b"")
        return f"cut {size} {how}"

    def _reopen(self) -> str:
        self._unmap()
        which = self._random.choice((self._readers, self._writers))
        if which:
            os.close(which.pop(0))
            flags = os.O_RDONLY if which is self._readers else os.O_RDWR
            which.append(os.open(self._path, flags))
        return "reopen"

    def _copy(self) -> str:
        """Copy within the file, in the kernel, from one end to the other."""
        size = min(self._part()[1], len(self._expected) // 2)
        end = len(self._expected)
        if size:
            done = os.copy_file_range(self._readers[0], self._writer(), size, 0, end - size)
            assert done == size
            self._put(end - size, bytes(self._expected[:size]))
        return f"copy {size}"

    def _replace_name(self) -> str:
        """Have the file under another name, and under its own again."""
        other = self._path.with_name("elsewhere")
        os.link(self._path, other)
        if self._random.random() < 0.5:
            os.unlink(self._path)
            os.rename(other, self._path)
        else:
            os.unlink(other)
        return "names"

    def _sync(self) -> str:
        if self._whole is not None:
            self._whole.flush()
        os.fsync(self._random.choice(self._readers))
        return "sync"

    def _direct(self) -> str:
        """Write two pages past the cache."""
        at = self._part()[0] & ~4095
        with mmap.mmap(-1, 8192) as memory:
            memory[:] = data = self._random.randbytes(8192)
            fd = os.open(self._path, os.O_WRONLY | os.O_DIRECT)
            assert os.pwrite(fd, memory, at) == len(data)
            os.close(fd)
        self._put(at, data)
        return f"direct {at}"

    def check(self) -> None:
        """See the whole file by all ways, and let go of it."""
        assert os.stat(self._path).st_size == len(self._expected), self.done[-40:]
        for fd in (*self._readers, *self._writers):
            self._same(os.pread(fd, _LARGEST * 3, 0), 0, _LARGEST * 3)
        self._unmap()
        self._early.close()
        for fd in (*self._readers, *self._writers):
            os.close(fd)

    def content(self) -> bytes:
        return bytes(self._expected)


@pytest.mark.parametrize("seed", range(2))
def test_as_bytes_in_memory(seed: int, tmp_on_ext4: Path) -> None:
    random = Random(seed)
    content = random.randbytes(123_456)
    one, other = tmp_on_ext4 / "one", tmp_on_ext4 / "other"
    one.mkdir()
    other.mkdir()
    (other / "file").write_bytes(content)
    os.link(other / "file", one / "file")
    before = snapshot(other)

    with guarding(one, tmp_on_ext4 / "mnt") as guard:
        file = File(guard.mnt / "file", content, random)
        for _ in range(_OPERATIONS):
            file.done.append(random.choice(file.operations)())
            assert os.stat(guard.mnt / "file").st_size == len(file.content()), file.done[-40:]
        file.check()

    assert (one / "file").read_bytes() == file.content()
    assert snapshot(other) == before
