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
from typing import TYPE_CHECKING, Final

from rootman.ahead import ahead
from rootman.packs.recipe import compressed
from rootman.packs.unpacking import read_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from rootman.manifest import Entry
    from rootman.packs.streams import Streams
    from rootman.packs.unpacking import Sources

_ROOM: Final = 4 << 20  # bytes of content that wait to be written


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some content of a file: its ``size`` counts while it waits, ``entry`` begins a file."""

    content: bytes | Future[bytes]
    size: int
    entry: Entry | None = None


class Workshop:
    """A context manager: no thread is left when it ends, so that others can fork."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def files(
        self, lines: Iterator[bytes], streams: Streams, sources: Sources
    ) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        """Yield what ``unpack`` does.

        Raises:
            Damaged, OSError: as there.
        """
        made = self._pieces(lines, streams, sources)
        pieces = self._stack.enter_context(ahead(made, lambda one: one.size, _ROOM))
        first = next(pieces, None)
        while first is not None:
            rest = _Rest(first, pieces)
            if first.entry is not None:
                yield first.entry, iter(rest)
            first = rest.passed()

    def _pieces(
        self, lines: Iterator[bytes], streams: Streams, sources: Sources
    ) -> Iterator[_Piece]:
        """Yield the pieces of all files; runs in a thread."""
        for entry, recipe, pieces in read_files(lines, streams, sources):
            if recipe.zipped:
                content = b"".join(pieces)
                job = self._pool.submit(partial(compressed, recipe, content))
                yield _Piece(job, 2 * len(content), entry)
            else:
                first = next(pieces, b"")
                yield _Piece(first, len(first), entry)
                yield from (_Piece(piece, len(piece)) for piece in pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._pool.shutdown(cancel_futures=True)


class _Rest:
    """The content of one file, which may be left anywhere."""

    def __init__(self, first: _Piece, pieces: Iterator[_Piece]) -> None:
        self._pieces = chain([first], pieces)
        self._following: _Piece | None = None
        self._first = first

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if piece.entry is not None and piece is not self._first:
                self._following = piece
                return
            yield piece.content if isinstance(piece.content, bytes) else piece.content.result()

    def passed(self) -> _Piece | None:
        """Pass over what was left; return the first piece of the next file."""
        for _ in self if self._following is None else ():
            pass
        return self._following
