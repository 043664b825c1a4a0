"""Content by hash: fetched from a repository, verified, kept until it is used.

``objects/`` holds verified content under the hexadecimal SHA-256 of its bytes. A
power cut may tear what lies there, so what an earlier process left is hashed
again before it is used.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, BinaryIO, Protocol

from rootman.delta import hash_prefix
from rootman.entries import (
    make_file,
    make_plain,
    open_quietly,
    read_content,
    set_metadata,
    write_content,
)
from rootman.errors import InvalidInput, NotFound
from rootman.textstream import Hashed, decompress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rootman.fsops import Fs
    from rootman.manifest import Entry


class Origin(Protocol):
    """Where objects come from: a repository, near or far."""

    def open_object(self, digest: str) -> BinaryIO:
        """Return the zstd-compressed content with this SHA-256."""
        ...


class NoOrigin:
    """No repository at hand: only local content may be used."""

    def open_object(self, digest: str) -> BinaryIO:
        """Refuse.

        Raises:
            NotFound: always.
        """
        raise NotFound(
            f"object {digest}: not in this store", hint="give a repository that has it: --from REPO"
        )


class Objects:
    """The verified content of a store and the repository that fills it up."""

    def __init__(self, fs: Fs, objects_fd: int, origin: Origin) -> None:
        self._fs = fs
        self._fd = objects_fd
        self._origin = origin
        # What is written here from now on is verified; only what was there is in doubt.
        self._doubtful = set(os.listdir(objects_fd))

    def ensure(self, entry: Entry) -> int:
        """Have the content of ``entry`` in ``objects/``; return the bytes that were fetched.

        Raises:
            InvalidInput: the repository's object is damaged or another.
            NotFound: the repository has no such object.
            OSError: it cannot be written.
        """
        digest = entry.sha256
        if digest in self._doubtful:
            self._doubtful.discard(digest)
            if self._is_whole(digest):
                return 0
        elif self._is_there(digest):
            return 0
        self._fetch(digest, entry.size)
        return entry.size

    def _is_there(self, digest: str) -> bool:
        try:
            os.stat(digest, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _is_whole(self, digest: str) -> bool:
        """Return whether the object is what its name says; remove it where it is not."""
        fd = open_quietly(digest.encode(), dir_fd=self._fd)
        try:
            hasher = hashlib.sha256()
            for chunk in read_content(fd):
                hasher.update(chunk)
        finally:
            os.close(fd)
        if hasher.hexdigest() == digest:
            return True
        self._fs.unlink(digest, dir_fd=self._fd)
        return False

    def _fetch(self, digest: str, size: int) -> None:
        """Write the object under its name at once: whoever finds it hashes it."""
        what = f"object {digest}"
        with self._origin.open_object(digest) as source:
            content = Hashed(_limited(decompress(source, what), size, what))
            fd = self._fs.create(digest, dir_fd=self._fd)
            try:
                write_content(self._fs, fd, iter(content))
                content.verify(digest, what)
                if content.size != size:
                    raise InvalidInput(
                        f"{what} has {content.size} bytes; its manifest says {size} bytes"
                    )
            except BaseException:
                self._fs.unlink(digest, dir_fd=self._fd)
                raise
            finally:
                os.close(fd)

    def give(self, entry: Entry, name: bytes, *, dir_fd: int, keep: bool) -> None:
        """Make the file ``name`` of the content of ``entry``; ``keep`` it for another path too.

        Raises:
            InvalidInput, NotFound, OSError: as for ``ensure``.
        """
        self.ensure(entry)
        if keep:
            source = open_quietly(entry.sha256.encode(), dir_fd=self._fd)
            try:
                make_file(self._fs, read_content(source), name, dir_fd=dir_fd)
            finally:
                os.close(source)
        else:
            self._fs.rename(entry.sha256, name, source_fd=self._fd, target_fd=dir_fd)
        set_metadata(self._fs, entry, name, dir_fd=dir_fd)


class ObjectContent:
    """Content for an upgrade: what stands at the path if it is right, else the objects."""

    def __init__(self, fs: Fs, objects: Objects, repeated: Collection[int]) -> None:
        self._fs = fs
        self._objects = objects
        self._repeated = repeated

    def place(
        self, entry: Entry, name: bytes, *, dir_fd: int, index: int, present: int | None
    ) -> bool:
        """Make the file ``name``; ``present`` is the file that stood there, open, if usable.

        Raises:
            InvalidInput, NotFound, OSError: the content cannot be had or written.
        """
        del index
        if entry.type == "link":
            make_plain(self._fs, entry, name, dir_fd=dir_fd)
        elif present is None or not copy_verified(self._fs, present, entry, name, dir_fd=dir_fd):
            keep = hash_prefix(entry.sha256) in self._repeated
            self._objects.give(entry, name, dir_fd=dir_fd, keep=keep)
        return True


def copy_verified(fs: Fs, source: int, entry: Entry, name: bytes, *, dir_fd: int) -> bool:
    """Copy the open file to ``name`` if its content is that of ``entry``; return whether it is.

    Raises:
        OSError: the system refused.
    """
    content = Hashed(read_content(source))
    make_file(fs, iter(content), name, dir_fd=dir_fd)
    try:
        content.verify(entry.sha256, "content")
    except InvalidInput:
        fs.unlink(name, dir_fd=dir_fd)
        return False
    set_metadata(fs, entry, name, dir_fd=dir_fd)
    return True


def _limited(stream: Iterator[bytes], size: int, what: str) -> Iterator[bytes]:
    """Pass ``stream`` on, refusing more than the ``size`` bytes that the manifest promised."""
    seen = 0
    for chunk in stream:
        seen += len(chunk)
        if seen > size:
            raise InvalidInput(f"{what}: longer than the {size} bytes its manifest says")
        yield chunk
