"""Content by hash: fetched from a repository, verified, kept until it is used.

``objects/`` holds verified content under the hexadecimal SHA-256 of its bytes. A
power cut may tear what lies there, so what an earlier process left is hashed
again before it is used.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

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
from rootman.store import open_below
from rootman.textstream import Bounded, Hashed, OtherContent, compressed_limit, decompress

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from rootman.fsops import Fs
    from rootman.manifest import Entry


# Behind the name of what is on its way, and not verified yet.
PART: Final = ".part"
KEPT: Final = ".zst.part"
"""Behind the hash of what comes, compressed, and is kept meanwhile."""
MADE: Final = "made"
"""What a manifest is called while it is made here, and not fetched."""
_DIGITS: Final = 64  # of a hash; other names are longer
_HASH: Final = re.compile(r"[0-9a-f]{64}(\.zst)?(\.part)?\Z")


class Origin(Protocol):
    """Where objects come from: a repository, near or far."""

    @property
    def is_near(self) -> bool:
        """Whether an object can be had at the speed of the disk."""
        ...

    def obtain_object(
        self, digest: str, use: Callable[[BinaryIO], None], at: Callable[[], int] = lambda: 0
    ) -> None:
        """Give the zstd-compressed content with this SHA-256 to ``use``, from the byte ``at`` on.

        It may be given again, from another place, where ``use`` raises ``InvalidInput``.
        Several threads may ask at once.
        """
        ...

    def close(self) -> None:
        """Have whoever waits for an object fail; safe to call twice."""


class NoOrigin:
    """No repository at hand: only local content may be used."""

    is_near = True

    def obtain_object(
        self, digest: str, use: Callable[[BinaryIO], None], at: Callable[[], int] = lambda: 0
    ) -> None:
        """Refuse.

        Raises:
            NotFound: always.
        """
        del use, at
        raise NotFound(
            f"object {digest}: not in this store", hint="give a repository that has it: --from REPO"
        )

    def close(self) -> None:
        """There is nothing to close."""


class Objects:
    """The verified content of a store and the repository that fills it up."""

    def __init__(self, fs: Fs, objects_fd: int, origin: Origin) -> None:
        self._fs = fs
        self._fd = objects_fd
        self.origin = origin
        # What is written here from now on is verified; only what was there is in doubt.
        self._doubtful = set(os.listdir(objects_fd))

    def ensure(self, entry: Entry) -> int:
        """Have the content of ``entry`` in ``objects/``; return the bytes that were fetched.

        Raises:
            InvalidInput: the repository's object is damaged or another.
            NotFound: the repository has no such object.
            OSError: it cannot be written.
        """
        if self.has(entry.sha256):
            return 0
        self._fetch(entry.sha256, entry.size)
        return entry.size

    def has(self, digest: str) -> bool:
        """Whether the verified content is here; what an earlier process left is hashed now.

        Raises:
            OSError: it cannot be read, or removed where it is damaged.
        """
        if digest in self._doubtful:
            is_whole = self._is_whole(digest)
            self._doubtful.discard(digest)  # not before: others may ask meanwhile (is_sound)
            return is_whole
        return self._is_there(digest)

    def is_sound(self, digest: str) -> bool:
        """Whether the content is here and was verified by this process; nothing is hashed.

        For other threads than the one that writes.
        """
        return digest not in self._doubtful and self._is_there(digest)

    def lacking(self, prefixes: Iterable[int]) -> set[int]:
        """Return the hash prefixes of which no content is here, verified by this process.

        Raises:
            OSError: the directory cannot be read.
        """
        came = set(os.listdir(self._fd)) - self._doubtful
        return set(prefixes).difference(hash_prefix(name) for name in came if len(name) == _DIGITS)

    def left(self, prefixes: Collection[int]) -> Counter[str]:
        """Return how many bytes of what is wanted, by hash prefixes, an earlier process left.

        They are told apart by what follows the hash in their names: nothing, or what says that
        they are not whole.

        Raises:
            OSError: the directory cannot be read.
        """
        found = Counter[str]()
        names = [name for name in self._doubtful if _HASH.match(name)]
        wanted = set(prefixes) if names else set[int]()
        for name in names:
            if hash_prefix(name) in wanted:
                status = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
                found[name[_DIGITS:]] += status.st_size
        return found

    def kept(self, name: str) -> int:
        """Return how many bytes are here of what was begun under ``name`` by whomever.

        Raises:
            OSError: the directory cannot be read.
        """
        try:
            return os.stat(name + PART, dir_fd=self._fd, follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0

    def open(self, name: str) -> BinaryIO:
        """Return the file ``name``, open for reading.

        Raises:
            OSError: among others where it is not there.
        """
        return open_below(name, self._fd)

    def remove(self, name: str) -> None:
        """Remove the file ``name``.

        Raises:
            OSError: it cannot be removed.
        """
        self._fs.unlink(name, dir_fd=self._fd)

    def begin(self, name: str) -> int:
        """Return a new file, for writing, that is to be ``finish``-ed or ``drop``-ped.

        Raises:
            OSError: it cannot be made.
        """
        try:
            return self._fs.create(name + PART, dir_fd=self._fd)
        except FileExistsError:
            self.drop(name)  # of an earlier process
            return self._fs.create(name + PART, dir_fd=self._fd)

    def open_part(self, name: str) -> int | None:
        """Return the file that was begun under ``name`` by whomever, for reading and writing.

        Raises:
            OSError: it cannot be opened.
        """
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(name + PART, flags, dir_fd=self._fd)
        except FileNotFoundError:
            return None

    def drop(self, name: str) -> None:
        """Remove the file that was begun under ``name``, if it is there.

        Raises:
            OSError: it cannot be removed.
        """
        if self._is_there(name + PART):
            self._fs.unlink(name + PART, dir_fd=self._fd)

    def finish(self, name: str, final: str | None = None) -> None:
        """Let the file that was begun, and is verified, be known as ``name``, or as ``final``.

        Raises:
            OSError: it cannot be renamed.
        """
        self._fs.rename(name + PART, final or name, source_fd=self._fd, target_fd=self._fd)

    @contextmanager
    def arriving(self, name: str, final: Callable[[], str] | None = None) -> Iterator[int]:
        """Give a new file for writing, which is ``name`` when all went well and else removed.

        Where what it is to be called follows from its content, ``final`` says it then.

        Raises:
            OSError: it cannot be made, or renamed.
        """
        fd = self.begin(name)
        try:
            yield fd
        except BaseException:
            with suppress(OSError):  # what failed first is told; the next begin removes it
                self.drop(name)
            raise
        finally:
            os.close(fd)
        self.finish(name, final() if final else None)

    def put(self, entry: Entry, content: Iterator[bytes]) -> None:
        """Have ``content``, of wherever it comes, as that of ``entry``.

        Raises:
            InvalidInput: it is another.
            OSError: it cannot be written.
        """
        digest = entry.sha256
        with self.arriving(digest) as fd:
            write_content(
                self._fs, fd, verified_content(content, f"object {digest}", digest, entry.size)
            )

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

        def write(source: BinaryIO) -> None:
            fd = self._fs.create(digest, dir_fd=self._fd)
            try:
                write_content(self._fs, fd, object_content(source, digest, size))
            except BaseException:
                self._fs.unlink(digest, dir_fd=self._fd)
                raise
            finally:
                os.close(fd)

        self.origin.obtain_object(digest, write)

    def give(self, entry: Entry, name: bytes, *, dir_fd: int, keep: bool) -> None:
        """Make the file ``name`` of the content of ``entry``; ``keep`` it for another path too.

        Raises:
            InvalidInput, NotFound, OSError: as for ``ensure``.
        """
        self.ensure(entry)
        digest = entry.sha256
        # An inode that a tree has is that tree's alone.
        if keep or os.stat(digest, dir_fd=self._fd, follow_symlinks=False).st_nlink > 1:
            source = open_quietly(digest.encode(), dir_fd=self._fd)
            try:
                make_file(self._fs, read_content(source), name, dir_fd=dir_fd)
            finally:
                os.close(source)
        elif self.origin.is_near:
            self._fs.rename(digest, name, source_fd=self._fd, target_fd=dir_fd)
        else:  # fetched once, whatever becomes of the tree that is being built (HT-9)
            self._fs.link(digest, name, source_fd=self._fd, target_fd=dir_fd)
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


def copy_entry(
    fs: Fs, entry: Entry, name: bytes, source_fd: int, source_name: bytes, *, dir_fd: int
) -> bool:
    """Make ``entry``, which is no directory, as ``name``; a file of what another has.

    Return whether that other, ``source_name`` in the directory ``source_fd``, has its content.

    Raises:
        OSError: the system refused.
    """
    if entry.type != "file":
        make_plain(fs, entry, name, dir_fd=dir_fd)
        return True
    source = open_quietly(source_name, dir_fd=source_fd)
    try:
        return copy_verified(fs, source, entry, name, dir_fd=dir_fd)
    finally:
        os.close(source)


def copy_verified(fs: Fs, source: int, entry: Entry, name: bytes, *, dir_fd: int) -> bool:
    """Copy the open file to ``name`` if its content is that of ``entry``; return whether it is.

    Raises:
        OSError: the system refused.
    """
    is_it = copy_content(fs, source, entry.sha256, name, dir_fd=dir_fd)
    if is_it:
        set_metadata(fs, entry, name, dir_fd=dir_fd)
    return is_it


def copy_content(fs: Fs, source: int, digest: str, name: bytes, *, dir_fd: int) -> bool:
    """Copy the open file to ``name`` if it has this SHA-256, its metadata still to be set.

    Return whether it has.

    Raises:
        OSError: the system refused.
    """
    content = Hashed(read_content(source))
    make_file(fs, iter(content), name, dir_fd=dir_fd)
    try:
        content.verify(digest, "content")
    except InvalidInput:
        fs.unlink(name, dir_fd=dir_fd)
        return False
    return True


def verified_content(stream: Iterator[bytes], what: str, digest: str, size: int) -> Iterator[bytes]:
    """Pass on the content of ``what``; a wrong one fails, at the latest at its end.

    Raises:
        OtherContent: it has another hash, or not the ``size`` bytes its manifest promised.
    """
    content = Hashed(_limited(stream, size, what))
    yield from content
    content.verify(digest, what)
    if content.size != size:
        raise OtherContent(f"{what} has {content.size} bytes; its manifest says {size} bytes")


def object_content(source: BinaryIO, digest: str, size: int) -> Iterator[bytes]:
    """Yield the content of an object as a repository has it, bounded and verified (HT-6).

    Raises:
        InvalidInput: it is damaged, or another, at the latest at its end.
    """
    what = f"object {digest}"
    bounded = Bounded(source, compressed_limit(size), what)
    return verified_content(decompress(bounded, what), what, digest, size)


def _limited(stream: Iterator[bytes], size: int, what: str) -> Iterator[bytes]:
    """Pass ``stream`` on, refusing more than the ``size`` bytes that the manifest promised."""
    seen = 0
    for chunk in stream:
        seen += len(chunk)
        if seen > size:
            raise OtherContent(f"{what}: longer than the {size} bytes its manifest says")
        yield chunk
