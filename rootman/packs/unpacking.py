"""The files of a pack, made one after the other in the order of the new manifest."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from rootman.errors import InvalidManifest
from rootman.manifest import MAX_LINE, field_path, parse_line, path_field
from rootman.packs.format import Role
from rootman.packs.gzipped import ENDS_LIMIT, EXPANDED_LIMIT, HEAD_LIMIT
from rootman.packs.recipe import Method, Recipe, compressed, made
from rootman.packs.streams import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from rootman.manifest import Entry
    from rootman.packs.recipe import Source
    from rootman.packs.streams import Streams

_DIGEST: Final = 32  # bytes of a SHA-256


class Sources(Protocol):
    """The old tree's files, and those that the pack made."""

    def open(self, path: bytes, *, expanded: bool) -> AbstractContextManager[Source]:
        """Open a file, or what is in it where it is a gzip file (``expanded``).

        Where there is no such file it is an empty one.
        """
        ...

    def has_made(self, digest: str) -> bool:
        """Whether the file with this SHA-256, which the pack made, is there whole."""
        ...

    def open_made(self, digest: str, *, expanded: bool) -> AbstractContextManager[Source]:
        """Open that file as ``open`` does."""
        ...


def unpack(
    lines: Iterator[bytes], streams: Streams, sources: Sources
) -> Iterator[tuple[Entry, Iterator[bytes]]]:
    """Yield the entry of each file of the pack and its content, which is still to be verified.

    ``lines`` are those of the new manifest without its header, verified. What the
    caller leaves of a content is passed over.

    Raises:
        Damaged: the pack is not what it must be.
        OSError: it cannot be read.
    """
    for entry, recipe, pieces in read_files(lines, streams, sources):
        if recipe.zipped:
            yield entry, iter([compressed(recipe, b"".join(pieces))])
        else:
            yield entry, pieces


def read_files(
    lines: Iterator[bytes], streams: Streams, sources: Sources
) -> Iterator[tuple[Entry, Recipe, Iterator[bytes]]]:
    """Do as ``unpack``, but that gzip files are still to be ``compressed`` by their recipe."""
    files = streams[Role.FILES]
    for _ in range(files.number()):
        entry = _entry(lines, files.number(), streams.what)
        recipe = _recipe(entry, streams)
        with _opened(recipe, sources) as source:
            content = made(recipe, source, streams)
            yield entry, recipe, content
            for _ in content:
                pass


def _opened(recipe: Recipe, sources: Sources) -> AbstractContextManager[Source]:
    expanded = bool(recipe.method & Method.EXPANDED)
    if recipe.method & Method.SIBLING:
        return sources.open_made(recipe.source.hex(), expanded=expanded)
    return sources.open(recipe.source, expanded=expanded)


def _entry(lines: Iterator[bytes], skipped: int, what: str) -> Entry:
    """Return the entry of the next line but ``skipped``."""
    for line in islice(lines, skipped, None):
        entry = parse_line(line)
        if entry.type == "file":
            return entry
        break
    raise Damaged(f"{what}: damaged: names a file that its manifest has not")


def _recipe(entry: Entry, streams: Streams) -> Recipe:
    files = streams[Role.FILES]
    method = files.number()
    if not Method.possible(method):
        raise Damaged(f"{streams.what}: damaged: an unknown method")
    source, head, size = b"", b"", entry.size
    ends: tuple[int, ...] = ()
    if method & Method.ZIPPED:
        head = _bytes(streams, HEAD_LIMIT)
        size = files.number()
        if size > EXPANDED_LIMIT:
            raise Damaged(f"{streams.what}: damaged: a gzip file of more than is allowed")
    if method & Method.GZIP:
        ends = _ends(streams, size)
    if method & Method.SIBLING:
        source = files.read(_DIGEST)
    elif method & Method.DELTA:
        source = _path(streams) or entry.path
    return Recipe(method, size, source, head, ends)


def _ends(streams: Streams, size: int) -> tuple[int, ...]:
    """Return the bytes in the blocks of a gzip file whose content has ``size``."""
    files = streams[Role.FILES]
    if (count := files.number()) <= ENDS_LIMIT:
        ends = tuple(files.number() for _ in range(count))
        if sum(ends) <= size:
            return ends
    raise Damaged(f"{streams.what}: damaged: a gzip file of more blocks than can be")


def _path(streams: Streams) -> bytes:
    """Return a path that leads nowhere out of a tree, b"" where there is none."""
    path = _bytes(streams, MAX_LINE)
    try:
        if path and field_path(path_field(path)) == path:
            return path
    except InvalidManifest:
        path = b"."
    if path:
        raise Damaged(f"{streams.what}: damaged: a source outside of the tree")
    return b""


def _bytes(streams: Streams, limit: int) -> bytes:
    files = streams[Role.FILES]
    size = files.number()
    if size > limit:
        raise Damaged(f"{streams.what}: damaged: too long a name")
    return files.read(size)
