"""Making a pack: what turns one manifest's tree into another's, by what is in a repository."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from rootman.comparison import known_lines
from rootman.errors import SystemFailure
from rootman.packs.differences import Candidate, best, is_x86
from rootman.packs.format import Header, Role, chunk, number
from rootman.packs.gzipped import expand
from rootman.packs.matching import digests, lookalikes
from rootman.packs.recipe import Memory, Method, Recipe
from rootman.packs.revision import revise, revised
from rootman.packs.spool import Compressed, Spool
from rootman.packs.streams import Streams
from rootman.packs.unpacking import unpack
from rootman.parallel import ordered_map, workers_for
from rootman.textstream import Hashed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.packs.differences import Made
    from rootman.packs.matching import Alike, Wanted
    from rootman.packs.pairing import Content
    from rootman.packs.way import Task, Way

_AHEAD: Final = 4
_LARGE: Final = 16 << 20  # bytes of a file that a process does not hand to another


def pack(task: Task, files: list[Wanted]) -> Iterator[bytes]:
    """Yield the bytes of the pack of ``files``, each of which has been made once for a test.

    Raises:
        InvalidInput: the repository is damaged.
        SystemFailure: what was made is not what it should be.
        OSError: the repository cannot be read, or ``folder`` written.
    """
    spool = Spool(task.folder)
    try:
        for line in revise(task.manifest(task.old), task.manifest(task.new)):
            spool.append(Role.MANIFEST, line)
        _spool_files(task, spool, files)
        report = partial(task.on_progress, "compress")
        compressed = Compressed(spool, task.folder, report, fast=not task.old)
    finally:
        spool.close()
    try:
        header = Header(task.old, task.new, compressed.codings)
        yield header.serialise()
        streams = Streams(compressed, header, "the pack just made")
        for done, _ in enumerate(unpacked(task, streams)):  # which tests it
            task.on_progress("test", done, len(files))
            yield from _chunks(compressed)
        yield from _chunks(compressed)  # where there are no files, the one that says so
    finally:
        compressed.close()


def _chunks(compressed: Compressed) -> Iterator[bytes]:
    """Yield what was needed since the last time."""
    return (chunk(role, data) for role, data in compressed.sent())


def _spool_files(task: Task, spool: Spool, files: list[Wanted]) -> None:
    spool.append(Role.FILES, number(len(files)))
    if task.old:
        # Before the forks: none can import what a thread of ours was importing just then.
        import bsdiff4.core  # noqa: F401
    alike = lookalikes(task, files)
    jobs = ((one, alike.get(one.content.sha256)) for one in files)
    workers = workers_for(len(files))
    done, last = 0, -1

    def report() -> None:
        task.on_progress("compare", done, len(files))

    found = ordered_map(
        partial(_make, task), jobs, workers, keep=task.keep, ahead=_AHEAD, on_wait=report
    )
    for one, made in zip(files, found, strict=True):
        spool.append(Role.FILES, number(one.index - last - 1))
        if made is None:
            _spool_literal(task, spool, one.content)
        else:
            spool.append(Role.FILES, _record(made.recipe))
            for role, data in made.streams.items():
                spool.append(role, data)
        last = one.index
        done += 1
        report()


def _make(task: Task, job: tuple[Wanted, Alike | None]) -> Made | None:
    """Find the best way to one file; in a process of its own.

    A large one without a source, as which there is one way only, is left to the caller.
    """
    wanted, alike = job
    new, source = wanted.content, wanted.source
    if source is None and alike is None and new.size > _LARGE:
        return None
    candidates = list[Candidate]()
    if source is not None:
        path = b"" if source.path == new.path else source.path
        candidates.append(Candidate(path, task.object(source.sha256)))
    if alike is not None and alike.content != source:
        content = task.object(alike.content.sha256)
        if alike.is_new:
            candidates.append(Candidate(bytes.fromhex(alike.content.sha256), content, is_new=True))
        else:
            candidates.append(Candidate(alike.content.path, content))
    return best(task.object(new.sha256), candidates)


def _spool_literal(task: Task, spool: Spool, content: Content) -> None:
    """Put a file as it is into the streams, piece by piece."""
    role: Role | None = None
    for piece in task.pieces(content.sha256):
        if role is None:
            is_program = is_x86(piece)
            role = Role.CODE if is_program else Role.LITERAL
            method = Method.PROGRAM if is_program else Method.PLAIN
            spool.append(Role.FILES, _record(Recipe(method, content.size)))
        spool.append(role, piece)


def _record(recipe: Recipe) -> bytes:
    """Return how a recipe stands in ``FILES``."""
    record = number(recipe.method)
    if recipe.zipped:
        record += number(len(recipe.head)) + recipe.head + number(recipe.size)
    if recipe.method & Method.GZIP:
        record += b"".join(map(number, (len(recipe.ends), *recipe.ends)))
    if recipe.method & Method.SIBLING:
        record += recipe.source
    elif recipe.method & Method.DELTA:
        record += number(len(recipe.source)) + recipe.source
    return record


def unpacked(way: Way, streams: Streams) -> Iterator[str]:
    """Make all that the pack of ``streams`` makes; yield the SHA-256 of each when it was right.

    First comes the manifest, then the files.

    Raises:
        InvalidInput: the repository is damaged, or the pack.
        SystemFailure: the pack makes another file than it should.
    """
    size = sum(map(len, way.manifest(way.new)))
    old = known_lines(way.manifest(way.old))
    manifest = Hashed(revised(old, streams[Role.MANIFEST], size))
    manifest.verify(way.new, streams.what)
    yield way.new
    lines = known_lines(way.manifest(way.new))
    objects = _Objects(way)
    for entry, content in unpack(lines, streams, objects):
        hasher = hashlib.sha256()
        for piece in content:
            hasher.update(piece)
        if hasher.hexdigest() != entry.sha256:
            path = entry.path.decode("ascii", "backslashreplace")
            raise SystemFailure(f"{streams.what} does not make {path} again")
        objects.made.add(entry.sha256)
        yield entry.sha256


class _Objects:
    """The files of both trees, from the repository."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._digests = digests(known_lines(way.manifest(way.old)))
        self.made = set[str]()

    @contextmanager
    def open(self, path: bytes, *, expanded: bool) -> Iterator[Memory]:
        """Open a file, or what is in it where it is a gzip file."""
        digest = self._digests.get(path)
        yield self._memory(digest, expanded=expanded)

    def has_made(self, digest: str) -> bool:
        """Whether the pack made the file before, whatever else the repository has."""
        return digest in self.made

    @contextmanager
    def open_made(self, digest: str, *, expanded: bool) -> Iterator[Memory]:
        """Open a file of the new tree as ``open`` does."""
        yield self._memory(digest if self.has_made(digest) else None, expanded=expanded)

    def _memory(self, digest: str | None, *, expanded: bool) -> Memory:
        content = self._way.object(digest) if digest else b""
        return Memory((expand(content) or b"") if expanded else content)
