"""A pack on its way to a store: its manifest first, then its files, into ``objects/``.

What came of it is kept until the upgrade is done, so that an interrupted one goes on
where it was. Nothing of a pack is trusted (PK-2): the manifest has the hash that the
release says, a file the one that the manifest says, or they are not used.
"""

from __future__ import annotations

import io
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from rootman.comparison import known_lines
from rootman.delta import hash_prefix
from rootman.entries import open_quietly
from rootman.errors import InvalidInput
from rootman.packs.format import Role
from rootman.packs.gzipped import EXPANDED_LIMIT, expand
from rootman.packs.recipe import Memory
from rootman.packs.revision import revised
from rootman.packs.streams import Damaged, PackFile, Streams
from rootman.packs.workshop import Workshop
from rootman.partial import Partial
from rootman.repo import layout
from rootman.textstream import Hashed, OtherContent, compress
from rootman.treedirs import TreeDirs
from rootman.walk import split

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from typing import Self

    from rootman.fsops import Fs
    from rootman.objects import Objects
    from rootman.packs.recipe import Source

_READ_SIZE: Final = 1 << 16
_IN_MEMORY: Final = 8 << 20  # bytes of a source


def part_name(old: str, new: str) -> str:
    """Return under which name in ``objects/`` what came of a pack is kept."""
    return f"{new}-{layout.pack_file(old)}"


class Delivery:
    """The pack that leads from the manifest ``old``, "" for no tree, to ``new``.

    ``fetch`` opens it at the repository from an offset on; ``limit`` is how many bytes
    it may have. With ``keep`` they stay until the upgrade is done.

    Raises:
        Missing: the repository has no such pack.
        OSError: it cannot be kept.
    """

    def __init__(
        self,
        fs: Fs,
        objects: Objects,
        old: str,
        new: str,
        fetch: Callable[[int], BinaryIO],
        *,
        limit: int,
        keep: bool,
    ) -> None:
        self._objects = objects
        self._old = old
        self._new = new
        name = part_name(old, new)
        self._bytes = Partial(
            fs, objects, name, what="the pack", limit=limit, fetch=fetch, keep=keep
        )
        if not self.is_old:
            self._bytes.ask()  # there may be none
        self._streams: Streams | None = None

    @property
    def is_old(self) -> bool:
        """Whether some of it was kept by an earlier process, and may be torn."""
        return self._bytes.is_old

    def _open(self) -> Streams:
        """Return the streams of the pack, if it is the one it should be."""
        if self._streams is None:
            file = cast("BinaryIO", io.BufferedReader(self._bytes, _READ_SIZE))
            pack = PackFile(file, "the pack")
            if (pack.header.old, pack.header.new) != (self._old, self._new):
                raise Damaged("the pack is for other trees than it should be")
            self._streams = Streams(pack, pack.header, pack.what)
        return self._streams

    @property
    def fetched(self) -> int:
        """How many bytes of the pack came from the repository."""
        return self._bytes.fetched

    @property
    def to_come(self) -> int | None:
        """How many bytes of the pack are still to come, None where nobody says.

        Raises:
            RootmanError: it cannot be asked for.
        """
        return self._bytes.to_come

    def manifest(self, old: Iterator[bytes], size: int, write: Callable[[bytes], object]) -> None:
        """Give the new manifest, compressed, to ``write``; it is verified when this returns.

        ``old`` is the stream of the old one, ``size`` the bytes that the new one has.

        Raises:
            InvalidInput: the pack does not make it.
            OSError: it cannot be written, or the pack not be kept.
        """
        lines = revised(known_lines(old), self._open()[Role.MANIFEST], size)
        stream = Hashed(_gathered(lines))

        def write_and_keep(data: bytes) -> None:
            write(data)
            self._bytes.keep()

        with self._bytes.keeping():
            compress(stream, write_and_keep)
        stream.verify(self._new, "the manifest that the pack makes")

    def files(
        self,
        lines: Iterator[bytes],
        root_fd: int | None,
        on_progress: Callable[[int], None],
        only: Container[int] | None = None,
    ) -> None:
        """Have the files of the pack in ``objects/``, as far as it can be.

        ``lines`` are those of the new manifest, ``root_fd`` is the old tree, None for
        none. ``on_progress`` gets the bytes of content that there are so far. Files are passed
        over whose hash prefix is not in ``only``, where that is given.

        Raises:
            InvalidInput: the pack is damaged; what was made before that is there.
            OSError: an object cannot be written.
        """
        done = 0
        with self._bytes.keeping(), Tree(root_fd) as tree, self._workshop() as workshop:
            sources = _Sources(tree, self._objects)
            for entry, content in workshop.files(lines, self._open(), sources):
                self._bytes.keep()
                pieces = self._kept(content)
                is_wanted = only is None or hash_prefix(entry.sha256) in only
                if is_wanted and not self._objects.has(entry.sha256):
                    # Of an old file that was changed comes another: this one comes by itself.
                    with suppress(OtherContent):
                        self._objects.put(entry, pieces)
                for _ in pieces:  # what is passed over is kept as well
                    pass
                if is_wanted:
                    done += entry.size
                    on_progress(done)

    def _kept(self, content: Iterator[bytes]) -> Iterator[bytes]:
        """Pass ``content`` on; what came of the pack for it is not to wait in memory (PK-12)."""
        for piece in content:
            self._bytes.keep()
            yield piece

    @contextmanager
    def _workshop(self) -> Iterator[Workshop]:
        with Workshop() as workshop:
            try:
                yield workshop
            except InvalidInput:
                raise
            except BaseException:
                self._objects.origin.close()  # for the thread that may wait for it
                raise

    def discard(self) -> None:
        """Remove what was kept of the pack.

        Raises:
            OSError: it cannot be removed.
        """
        self._bytes.discard()

    def close(self) -> None:
        """Close it; what was kept stays for the next time."""
        self._bytes.close()


def _gathered(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines in larger blocks: to hash and compress each alone takes as long again."""
    block, size = list[bytes](), 0
    for line in lines:
        block.append(line)
        size += len(line)
        if size >= _READ_SIZE:
            yield b"".join(block)
            block, size = [], 0
    yield b"".join(block)


class Tree:
    """The files of the tree ``root_fd`` as sources; there are none where it is None."""

    def __init__(self, root_fd: int | None) -> None:
        self._dirs = None if root_fd is None else TreeDirs(root_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._dirs is not None:
            self._dirs.forget()

    @contextmanager
    def open(self, path: bytes, *, expanded: bool) -> Iterator[Source]:
        """Open a file, or what is in it where it is a gzip file; else an empty one (PK-11)."""
        fd = self._file(path)
        try:
            yield _source(fd, expanded=expanded)
        finally:
            if fd >= 0:
                os.close(fd)

    def _file(self, path: bytes) -> int:
        """Return a descriptor of the regular file ``path``, -1 where it is none."""
        if self._dirs is None or not path:
            return -1
        parent, name = split(path)
        with suppress(OSError):  # whatever it is: the pack makes nothing of it
            dir_fd = self._dirs.fd(parent)
            # Looked at first: to open a device can do something, as to a watchdog.
            if stat.S_ISREG(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
                return open_quietly(name, dir_fd=dir_fd)
        return -1


class _Sources:
    """The files of a tree, and what the pack made, which is among the objects."""

    def __init__(self, tree: Tree, objects: Objects) -> None:
        self.open = tree.open
        self._objects = objects

    def has_made(self, digest: str) -> bool:
        """Whether the object is there, and whole."""
        return self._objects.is_sound(digest)

    @contextmanager
    def open_made(self, digest: str, *, expanded: bool) -> Iterator[Source]:
        """Open an object as ``open`` does; the pack may name one that was passed over."""
        if not self.has_made(digest):
            yield Memory()
            return
        with self._objects.open(digest) as file:
            yield _source(file.fileno(), expanded=expanded)


class _File:
    """The bytes of an open file, none where they cannot be read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0

    def seek(self, place: int) -> None:
        """Read from ``place`` on."""
        self._at = place

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer at the end."""
        data = b""
        if size:
            with suppress(OSError):
                data = os.pread(self._fd, size, self._at)
            self._at += len(data)
        return data


def _source(fd: int, *, expanded: bool) -> Source:
    """Return an open file, -1 for none, or what is in it; in memory where that is not much."""
    if fd < 0:
        return Memory()
    file, size = _File(fd), os.fstat(fd).st_size
    if expanded:
        return Memory(expand(file.read(min(size, EXPANDED_LIMIT))) or b"")
    return Memory(file.read(size)) if size <= _IN_MEMORY else file
