"""The files of a pack, made by threads ahead of the one that writes them.

One reads the pack and the sources and does the operations; as many as there are
processors compress gzip files again. Most of what they do is done without Python's lock.
The changes of the disk are the caller's alone.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from threading import Condition
from typing import TYPE_CHECKING, Final

from rootman.ahead import ahead
from rootman.packs.recipe import compressed
from rootman.packs.unpacking import read_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import Self

    from rootman.manifest import Entry
    from rootman.packs.recipe import Source
    from rootman.packs.streams import Streams
    from rootman.packs.unpacking import Sources

_ROOM: Final = 4 << 20  # bytes of content that wait to be written
_ITEM: Final = 1 << 10  # that what waits takes besides its content
_NUMBER: Final = 40  # bytes in a tuple, and of the number itself


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some content of a file: its ``size`` counts while it waits, ``entry`` begins a file.

    The ``last`` of a file says so: whoever has it need not wait for what comes next.
    """

    content: bytes | Future[bytes]
    size: int
    entry: Entry | None = None
    last: bool = False


class _Desk:
    """Says to the thread that makes files when the caller is done with those that it got.

    Only that thread waits, and counts before it does; so what is done early is counted in time.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting = 0
        self._closed = False

    def given(self) -> None:
        """Count a file that is on its way to the caller, all of it."""
        with self._changed:
            self._waiting += 1

    def done(self) -> None:
        """Count a file that the caller is done with."""
        with self._changed:
            self._waiting -= 1
            self._changed.notify()

    def wait(self) -> None:
        """Wait until the caller is done with all files, or wants no more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._closed)

    def close(self) -> None:
        """Let nobody wait."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class _Awaited:
    """Sources of which those that the pack makes are waited for."""

    def __init__(self, sources: Sources, desk: _Desk) -> None:
        self.open = sources.open
        self.has_made = sources.has_made
        self._sources = sources
        self._desk = desk

    def open_made(self, digest: str, *, expanded: bool) -> AbstractContextManager[Source]:
        """Open what the pack made, when the caller has written it."""
        if not self.has_made(digest):
            self._desk.wait()
        return self._sources.open_made(digest, expanded=expanded)


class Workshop:
    """A context manager: no thread is left when it ends, so that others can fork."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._desk = _Desk()
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def files(
        self, lines: Iterator[bytes], streams: Streams, sources: Sources
    ) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        """Yield what ``unpack`` does.

        Raises:
            Damaged, OSError: as there.
        """
        made = self._pieces(lines, streams, _Awaited(sources, self._desk))
        pieces = self._stack.enter_context(ahead(made, lambda one: one.size + _ITEM, _ROOM))
        for first in pieces:
            rest = _Rest(first, pieces)
            if first.entry is not None:
                yield first.entry, iter(rest)
            for _ in rest:
                pass
            self._desk.done()

    def _pieces(
        self, lines: Iterator[bytes], streams: Streams, sources: Sources
    ) -> Iterator[_Piece]:
        """Yield the pieces of all files; runs in a thread."""
        for entry, recipe, pieces in read_files(lines, streams, sources):
            if recipe.zipped:
                content = b"".join(pieces)
                job = self._pool.submit(partial(compressed, recipe, content))
                size = 2 * len(content) + len(recipe.head) + _NUMBER * len(recipe.ends)
                yield _Piece(job, size, entry, last=True)
            else:
                yield from _plain_pieces(entry, pieces)
            self._desk.given()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._desk.close()
        self._stack.close()
        self._pool.shutdown(cancel_futures=True)


def _plain_pieces(entry: Entry, pieces: Iterator[bytes]) -> Iterator[_Piece]:
    """Yield the pieces of a file that has as many bytes as its ``entry`` says, one at least."""
    first = next(pieces, b"")
    left = entry.size - len(first)
    yield _Piece(first, len(first), entry, last=not left)
    for piece in pieces:
        left -= len(piece)
        yield _Piece(piece, len(piece), last=not left)


class _Rest:
    """What has not been taken of the content of one file."""

    def __init__(self, first: _Piece, pieces: Iterator[_Piece]) -> None:
        self._pieces = chain([first], pieces)
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        while not self._ended:
            piece = next(self._pieces)
            self._ended = piece.last
            yield piece.content if isinstance(piece.content, bytes) else piece.content.result()
