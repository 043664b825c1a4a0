"""Making a pack: what turns one manifest's tree into another's, by what is in a repository."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Protocol

from rootman.comparison import known_lines
from rootman.errors import SystemFailure
from rootman.manifest import HEADER, parse_line
from rootman.packs.differences import best, is_x86
from rootman.packs.format import Header, Role, chunk, number
from rootman.packs.gzipped import expand
from rootman.packs.pairing import Content, OldFiles
from rootman.packs.recipe import Memory, Method, Recipe
from rootman.packs.revision import revise, revised
from rootman.packs.spool import Compressed, Spool
from rootman.packs.streams import Streams
from rootman.packs.unpacking import unpack
from rootman.parallel import ordered_map
from rootman.textstream import Hashed, decompress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rootman.packs.differences import Made
    from rootman.packs.format import Codec

_AHEAD: Final = 4
_LARGE: Final = 16 << 20  # bytes of a file that a process does not hand to another


Phase = Literal["compare", "compress", "test"]
"""Of the making of a pack: files with their sources, its streams, and what it makes."""


class Contents(Protocol):
    """The manifests and objects of a repository, in this machine's own folder.

    Methods raise ``InvalidInput`` where there is no such file.
    """

    def open_manifest(self, digest: str) -> BinaryIO:
        """Return the zstd-compressed manifest ``digest``, open for reading."""
        ...

    def open_object(self, digest: str) -> BinaryIO:
        """Return the zstd-compressed object ``digest``, open for reading."""
        ...


@dataclass(frozen=True, slots=True)
class Way:
    """The manifests that a pack leads from ("" for no tree) and to, and their content."""

    contents: Contents
    old: str
    new: str

    def manifest(self, digest: str) -> Iterator[bytes]:
        """Yield a manifest as a stream of bytes, and refuse it at its end if it is another."""
        if not digest:
            yield HEADER  # of no tree at all
            return
        yield from _verified(self.contents.open_manifest(digest), f"manifest {digest}", digest)

    def pieces(self, digest: str) -> Iterator[bytes]:
        """Yield the content of a file, and refuse it at its end if it is another.

        Raises:
            InvalidInput: the object is missing or damaged.
        """
        return _verified(self.contents.open_object(digest), f"object {digest}", digest)

    def object(self, digest: str) -> bytes:
        """Return the content of a file; raises as ``pieces``."""
        return b"".join(self.pieces(digest))


def _verified(file: BinaryIO, what: str, digest: str) -> Iterator[bytes]:
    """Yield what is in a compressed file; at its end it is closed, and refused if it is another."""
    with file:
        stream = Hashed(decompress(file, what))
        yield from stream
        stream.verify(digest, what)


@dataclass(frozen=True, slots=True)
class Task(Way):
    """A pack to be made.

    ``folder`` is for what is in between, ``keep`` the descriptors that ``contents`` needs.
    ``on_progress`` gets what is being done, and how much of how much, a few times a second.
    """

    folder: str
    keep: frozenset[int]
    on_progress: Callable[[Phase, int, int], None] = lambda _phase, _done, _total: None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of the new tree whose content the old one has not, and what it may be made of."""

    index: int
    content: Content
    source: Content | None


def wanted(task: Task) -> list[Wanted]:
    """Return the files that the pack has to make, in their order.

    Raises:
        InvalidInput: the repository is damaged.
    """
    old = contents(known_lines(task.manifest(task.old)))
    known = {content.sha256 for content in old.values()}
    sources = OldFiles(old.values())
    found = list[Wanted]()
    for index, content in _files(known_lines(task.manifest(task.new))):
        if content.sha256 not in known:
            known.add(content.sha256)
            found.append(Wanted(index, content, sources.source(content)))
    return found


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
        codec: Codec = "lzma2" if task.old else "zstd"
        compressed = Compressed(spool, task.folder, codec, partial(task.on_progress, "compress"))
    finally:
        spool.close()
    try:
        header = Header(task.old, task.new, compressed.codings)
        yield header.serialise()
        digests = {one.source.path: one.source.sha256 for one in files if one.source}
        streams = Streams(compressed, header, "the pack just made")
        for done, _ in enumerate(unpacked(task, streams, digests)):  # which tests it
            task.on_progress("test", done, len(files))
            yield from _chunks(compressed)
        yield from _chunks(compressed)  # where there are no files, the one that says so
    finally:
        compressed.close()


def _chunks(compressed: Compressed) -> Iterator[bytes]:
    """Yield what was needed since the last time."""
    return (chunk(role, data) for role, data in compressed.sent())


def contents(lines: Iterable[bytes]) -> dict[bytes, Content]:
    """Return the files with content, by path."""
    return {content.path: content for _, content in _files(lines)}


def _files(lines: Iterable[bytes]) -> Iterator[tuple[int, Content]]:
    """Yield the files with content and the number of the line of each."""
    for index, line in enumerate(lines):
        if b" type=file " in line:  # spaces are encoded in names
            entry = parse_line(line)
            if entry.size:
                yield index, Content(entry.path, entry.size, entry.sha256)


def _spool_files(task: Task, spool: Spool, files: list[Wanted]) -> None:
    spool.append(Role.FILES, number(len(files)))
    if any(one.source for one in files):
        # Before the forks: none can import what a thread of ours was importing just then.
        import bsdiff4.core  # noqa: F401
    work = partial(_make, task)
    workers = max(min(len(os.sched_getaffinity(0)), len(files)), 1)
    done, last = 0, -1

    def report() -> None:
        task.on_progress("compare", done, len(files))

    found = ordered_map(work, iter(files), workers, keep=task.keep, ahead=_AHEAD, on_wait=report)
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


def _make(task: Task, wanted: Wanted) -> Made | None:
    """Find the best way to one file; in a process of its own.

    A large one without a source, as which there is one way only, is left to the caller.
    """
    new, source = wanted.content, wanted.source
    if source is None and new.size > _LARGE:
        return None
    if source is None:
        return best(new.path, task.object(new.sha256), b"", None)
    old = task.object(source.sha256)
    return best(new.path, task.object(new.sha256), source.path, old)


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
    if recipe.method & Method.DELTA:
        record += number(len(recipe.source)) + recipe.source
    return record


def unpacked(way: Way, streams: Streams, digests: Mapping[bytes, str]) -> Iterator[str]:
    """Make all that the pack of ``streams`` makes; yield the SHA-256 of each when it was right.

    First comes the manifest, then the files. ``digests`` are of the old tree's files, by path.

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
    for entry, content in unpack(lines, streams, _Objects(way, digests)):
        hasher = hashlib.sha256()
        for piece in content:
            hasher.update(piece)
        if hasher.hexdigest() != entry.sha256:
            path = entry.path.decode("ascii", "backslashreplace")
            raise SystemFailure(f"{streams.what} does not make {path} again")
        yield entry.sha256


class _Objects:
    """The old tree's files, from the repository."""

    def __init__(self, way: Way, digests: Mapping[bytes, str]) -> None:
        self._way = way
        self._digests = digests

    @contextmanager
    def open(self, path: bytes, *, expanded: bool) -> Iterator[Memory]:
        """Open a file, or what is in it where it is a gzip file."""
        content = b""
        with suppress(KeyError):
            content = self._way.object(self._digests[path])
        yield Memory((expand(content) or b"") if expanded else content)
