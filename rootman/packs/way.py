"""Where a pack leads, and what a repository has of both ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

from rootman.manifest import HEADER
from rootman.textstream import Hashed, decompress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Phase = Literal["look", "compare", "compress", "test"]
"""Of the making of a pack: files that are alike, files with their sources, its streams, and
what it makes."""


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
