"""Packs in memory: made of trees, read as a device does, and put together by hand.

Out of scope: packs in a repository (``tests/fs/test_packs.py``).
"""

from __future__ import annotations

import hashlib
import io
import lzma
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

import zstandard

from rootman.comparison import known_lines
from rootman.manifest import HEADER
from rootman.packs.batches import written
from rootman.packs.format import CHUNK, Coding, Header, Role, chunk, number
from rootman.packs.gzipped import expand
from rootman.packs.matching import wanted
from rootman.packs.packing import pack
from rootman.packs.recipe import Memory
from rootman.packs.revision import revised
from rootman.packs.streams import Damaged, PackFile, Stream, Streams
from rootman.packs.unpacking import unpack
from rootman.packs.way import Task
from rootman.repo.source import Missing
from rootman.textstream import Hashed
from tests.fuzz.model import content_of, entries_of, manifest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.builders import Tree

MEMORY: Final = "/dev/shm"  # noqa: S108 - for unnamed files
WINDOW: Final = 1 << 16


def chunks(data: bytes) -> Iterator[bytes]:
    """Cut the compressed bytes of a stream as they are in a pack."""
    return (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Shelf:
    """Manifests and contents by their SHA-256, as a repository has them."""

    manifests: dict[str, bytes] = field(default_factory=lambda: {"": HEADER})
    contents: dict[str, bytes] = field(default_factory=dict)

    def add(self, tree: Tree) -> str:
        """Publish a tree; return what its manifest is called."""
        manifest = manifest_of(tree)
        for node in tree.values():
            self.contents[digest_of(content_of(node))] = content_of(node)
        self.manifests[digest_of(manifest)] = manifest
        return digest_of(manifest)

    def open_manifest(self, digest: str) -> BinaryIO:
        return _compressed(self.manifests, digest)

    def open_object(self, digest: str) -> BinaryIO:
        return _compressed(self.contents, digest)

    def task(self, old: str, new: str) -> Task:
        return Task(self, old, new, MEMORY, frozenset())

    def pack(self, old: str, new: str) -> bytes:
        """Return the pack that leads from one manifest to another."""
        task = self.task(old, new)
        return b"".join(pack(task, wanted(task)))


def _compressed(known: Mapping[str, bytes], digest: str) -> BinaryIO:
    if digest not in known:
        raise Missing(f"{digest} is missing")
    return io.BytesIO(zstandard.ZstdCompressor().compress(known[digest]))


class Files:
    """The files of a tree as sources, by path, and those that were ``made``, by their SHA-256."""

    def __init__(self, contents: Mapping[bytes, bytes]) -> None:
        self._contents = contents
        self.opened: list[bytes] = []
        self.opened_made: list[str] = []
        self.made: dict[str, bytes] = {}

    @contextmanager
    def open(self, path: bytes, *, expanded: bool) -> Iterator[Memory]:
        self.opened.append(path)
        content = self._contents.get(path, b"")
        yield Memory((expand(content) or b"") if expanded else content)

    def has_made(self, digest: str) -> bool:
        return digest in self.made

    @contextmanager
    def open_made(self, digest: str, *, expanded: bool) -> Iterator[Memory]:
        self.opened_made.append(digest)
        content = self.made.get(digest, b"")
        yield Memory((expand(content) or b"") if expanded else content)


def files_of(tree: Tree) -> dict[bytes, bytes]:
    """Return the content of each file with content, by path."""
    firsts = {
        name: tree[node.target if node.kind == "hardlink" else name] for name, node in tree.items()
    }
    return {
        entry.path: content_of(firsts[name])
        for name, entry in entries_of(tree).items()
        if entry.type == "file" and entry.size
    }


@dataclass(frozen=True, slots=True)
class Read:
    """What came of a pack: the new manifest, and the right files in it by path.

    ``wrong`` are the paths of those that have not the hash that the manifest says.
    """

    manifest: bytes
    files: dict[bytes, bytes]
    wrong: list[bytes]
    opened: list[bytes]
    opened_made: list[str]


def read(data: bytes, old: bytes, new: bytes, files: Mapping[bytes, bytes]) -> Read:
    """Read a pack between two manifests as a device does, ``files`` being the old tree's.

    Raises:
        InvalidInput: it is damaged, or not for these.
    """
    file = PackFile(io.BytesIO(data), "pack")
    if (file.header.old, file.header.new) != (digest_of(old) if old else "", digest_of(new)):
        raise Damaged("pack: for other trees")
    streams = Streams(file, file.header, "pack")
    stream = Hashed(revised(known_lines([old or HEADER]), streams[Role.MANIFEST], len(new)))
    manifest = b"".join(stream)
    stream.verify(file.header.new, "the manifest that the pack makes")
    sources = Files(files)
    found = Read(manifest, {}, [], sources.opened, sources.opened_made)
    for entry, content in unpack(known_lines([manifest]), streams, sources):
        whole = b"".join(content)
        if digest_of(whole) == entry.sha256:
            found.files[entry.path] = sources.made[entry.sha256] = whole
        else:
            found.wrong.append(entry.path)
    return found


def read_tree(data: bytes, old: Tree, new: Tree) -> Read:
    """Read a pack between two trees; {} is no tree."""
    before = manifest_of(old) if old else b""
    return read(data, before, manifest_of(new), files_of(old))


class Feed:
    """Compressed bytes of one stream in chunks of ``size``."""

    def __init__(self, data: bytes, size: int = CHUNK) -> None:
        self._parts = iter([data[at : at + size] for at in range(0, len(data), size)])

    def take(self, role: Role) -> bytes:
        del role
        return next(self._parts, b"")


def stream(data: bytes, size: int = CHUNK) -> Stream:
    """Return a stream with these bytes in it, which comes in chunks of ``size``."""
    return Stream(Feed(lzma2(data), size), Role.FILES, Coding("lzma2", WINDOW), "pack")


# --- by hand -------------------------------------------------------------------------


def lzma2(data: bytes) -> bytes:
    """Return a raw LZMA2 stream."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": WINDOW}]
    return lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters)


def stored(data: bytes) -> bytes:
    """Return a raw LZMA2 stream in which the bytes are as they are."""
    parts = [data[at : at + 65_536] for at in range(0, len(data), 65_536)]
    return b"".join(b"\1" + (len(part) - 1).to_bytes(2, "big") + part for part in parts) + b"\0"


def header(old: str = "", new: str = "0" * 64, coding: Coding | None = None) -> Header:
    return Header(old, new, (coding or Coding("lzma2", WINDOW),) * len(Role))


def packed(parts: Iterable[tuple[Role, bytes]], head: Header | None = None) -> bytes:
    """Return a pack of compressed parts of streams, in this order."""
    body = b"".join(chunk(role, data) for role, part in parts for data in chunks(part))
    return (head or header()).serialise() + body


def crafted(streams: Mapping[Role, bytes], old: bytes, new: bytes) -> bytes:
    """Return a pack with these streams between two manifests."""
    parts = [(role, lzma2(streams[role])) for role in Role if streams.get(role)]
    return packed(parts, header(digest_of(old) if old else "", digest_of(new)))


def numbers(*values: int) -> bytes:
    return b"".join(map(number, values))


def batch(*operations: tuple[int, int, int, int]) -> dict[Role, bytes]:
    """Return how a batch stands in its streams: copies, additions, insertions, and moves as is."""
    return written(list(zip(*operations, strict=True)))


def chunks_of(data: bytes) -> Iterator[tuple[Role, bytes]]:
    """Yield the chunks of a pack as they lie there (PK-6)."""
    at = data.index(b"\n") + 1
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "little")
        yield Role(data[at]), data[at + 3 : at + 3 + size]
        at += 3 + size
