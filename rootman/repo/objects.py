"""Storing the content of a tree's files as objects.

Forked processes read, hash and compress; this one writes, so that the changes of
the disk come in one order, whatever the machine. Out of scope: which files there
are (the manifest says it) and what else a release needs (``publish``).
"""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from rootman.entries import open_quietly
from rootman.manifest import parse_line
from rootman.parallel import ordered_map
from rootman.reading import changed, tree_failure
from rootman.repo import layout
from rootman.treedirs import TreeDirs
from rootman.walk import split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rootman.repo.writer import Writer

LEVEL: Final = 9
# A larger file is compressed in pieces, each a frame of its own, so that all workers
# share it. (zstd's threads would not do: a fork that meets them hangs.)
_SMALL: Final = 4 << 20
_PIECE: Final = 8 << 20
_PIECES_AHEAD: Final = 2
_JOB_FILES: Final = 64
_JOB_BYTES: Final = 1 << 20
_AHEAD: Final = 4
# What one syncfs makes durable, and what a kill can cost.
_BATCH_FILES: Final = 2_000
_BATCH_BYTES: Final = 256 << 20

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


class Wanted(NamedTuple):
    """A file whose content the repository does not have yet."""

    path: bytes
    size: int
    sha256: str


@dataclass(slots=True)
class Tally:
    """What storing the objects came to; bytes are of content except ``bytes_stored``."""

    objects_new: int = 0
    bytes_new: int = 0
    bytes_stored: int = 0
    """Compressed size of the new objects."""


def store_objects(
    writer: Writer,
    tree_fd: int,
    lines: Iterable[bytes],
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Tally:
    """Store what the entry ``lines`` of the tree's manifests name and the repository lacks.

    When this returns, every object has its name; the next ``sync`` makes the last of
    the names durable. ``on_progress`` gets the number of objects stored so far.

    Raises:
        Busy: a file is not any more what the manifest says.
        InvalidManifest: a line is none.
        SystemFailure: the tree cannot be read.
        OSError: the repository cannot be written.
    """
    tally = Tally()
    batch = _Batch(writer)
    large: list[Wanted] = []
    for job, contents in _work(
        _compress_files, tree_fd, _jobs(_wanted(batch, lines), large), _AHEAD
    ):
        for wanted, content in zip(job, contents, strict=True):
            batch.add(wanted, [content])
        _report(batch, tally, on_progress)
    pieces = ((wanted, start) for wanted in large for start in range(0, wanted.size, _PIECE))
    frames = _work(_compress_piece, tree_fd, pieces, _PIECES_AHEAD)
    for wanted in large:
        count = len(range(0, wanted.size, _PIECE))
        batch.add(wanted, _verified(wanted, itertools.islice(frames, count)))
        _report(batch, tally, on_progress)
    batch.commit()
    return tally


def _work(
    work: Callable[[TreeDirs, _Job], _Result], tree_fd: int, jobs: Iterator[_Job], ahead: int
) -> Iterator[_Result]:
    """Yield ``work(directories, job)`` for every job, done by all processors."""

    def do(job: _Job) -> _Result:
        with TreeDirs(tree_fd) as dirs:
            return work(dirs, job)

    workers = len(os.sched_getaffinity(0))
    return ordered_map(do, jobs, workers, keep=frozenset({tree_fd}), ahead=ahead)


def _report(batch: _Batch, tally: Tally, on_progress: Callable[[int], None] | None) -> None:
    tally.objects_new, tally.bytes_new, tally.bytes_stored = batch.count, batch.read, batch.stored
    if on_progress is not None:
        on_progress(batch.count)


class _Batch:
    """Objects on their way: written to ``tmp/``, then made durable and renamed together."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._begun: set[str] = set()  # hashes somebody compresses, or that wait here
        self._names: list[str] = []
        self._bytes = 0
        self._folders = set(os.listdir(writer.folder(layout.OBJECTS)))
        self.count = self.read = self.stored = 0

    def begin(self, digest: str) -> bool:
        """Whether the object is still to be made; from now on it is not."""
        if digest in self._begun or self._writer.exists(layout.object_path(digest)):
            return False
        self._begun.add(digest)
        return True

    def add(self, wanted: Wanted, content: Iterable[bytes]) -> None:
        """Write an object's compressed content."""
        size = self._writer.write(layout.compressed_file(wanted.sha256), content)
        self._names.append(wanted.sha256)
        self._bytes += size
        self.count += 1
        self.read += wanted.size
        self.stored += size
        if len(self._names) >= _BATCH_FILES or self._bytes >= _BATCH_BYTES:
            self.commit()

    def commit(self) -> None:
        """Make what was written durable, then give it its names."""
        if not self._names:
            return
        writer = self._writer
        writer.sync()
        for folder in {layout.object_folder(digest) for digest in self._names} - self._folders:
            writer.make_folder(f"{layout.OBJECTS}/{folder}")
            self._folders.add(folder)
        for digest in self._names:
            folder = f"{layout.OBJECTS}/{layout.object_folder(digest)}"
            writer.rename(layout.compressed_file(digest), folder, layout.compressed_file(digest))
        self._begun.difference_update(self._names)
        self._names.clear()
        self._bytes = 0


def _wanted(batch: _Batch, lines: Iterable[bytes]) -> Iterator[Wanted]:
    """Yield the files whose objects are to be made."""
    for line in lines:
        if b" type=file " not in line:  # spaces are encoded in names
            continue
        entry = parse_line(line)
        # An empty file has nothing to fetch, so it has no object.
        if entry.size and batch.begin(entry.sha256):
            yield Wanted(entry.path, entry.size, entry.sha256)


def _jobs(files: Iterator[Wanted], large: list[Wanted]) -> Iterator[list[Wanted]]:
    """Group small files into jobs, and put the others aside."""
    job: list[Wanted] = []
    size = 0
    for wanted in files:
        if wanted.size > _SMALL:
            large.append(wanted)
            continue
        job.append(wanted)
        size += wanted.size
        if len(job) >= _JOB_FILES or size >= _JOB_BYTES:
            yield job
            job, size = [], 0
    if job:
        yield job


def _compress_files(dirs: TreeDirs, job: list[Wanted]) -> tuple[list[Wanted], list[bytes]]:
    """Compress small files, each compared with its hash."""
    import zstandard

    compress = zstandard.ZstdCompressor(level=LEVEL).compress
    contents = []
    for wanted in job:
        data = _read(dirs, wanted, 0, wanted.size + 1)
        if hashlib.sha256(data).hexdigest() != wanted.sha256:
            raise changed(wanted.path)
        contents.append(compress(data))
    return job, contents


def _compress_piece(dirs: TreeDirs, piece: tuple[Wanted, int]) -> bytes:
    """Compress a piece of a large file; ``_verified`` compares the whole with its hash."""
    import zstandard

    wanted, start = piece
    return zstandard.ZstdCompressor(level=LEVEL).compress(_read(dirs, wanted, start, _PIECE))


def _verified(wanted: Wanted, frames: Iterable[bytes]) -> Iterator[bytes]:
    """Pass on the frames of a large file, and refuse it at the end if it was another."""
    import zstandard

    digest = hashlib.sha256()
    decompress = zstandard.ZstdDecompressor().decompress
    for frame in frames:
        digest.update(decompress(frame))
        yield frame
    if digest.hexdigest() != wanted.sha256:
        raise changed(wanted.path)


def _read(dirs: TreeDirs, wanted: Wanted, start: int, most: int) -> bytes:
    """Return at most ``most`` bytes of a file from ``start`` on.

    Raises:
        Busy: the file is not any more what the manifest says.
        SystemFailure: it cannot be read.
    """
    parent, name = split(wanted.path)
    try:
        fd = open_quietly(name, dir_fd=dirs.fd(parent))
        try:
            return os.pread(fd, most, start)
        finally:
            os.close(fd)
    except OSError as error:
        raise tree_failure(error, wanted.path) from error
