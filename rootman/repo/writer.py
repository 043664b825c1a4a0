"""The publisher's hold on a repository: made if need be, locked, and its writes.

Nothing gets a name that readers know before it is durable (S3): files are written
to ``tmp/``, made durable by one syncfs for many, and then renamed. The next syncfs
makes the new names durable; nothing that needs them is named before. Out of scope:
what is published, and in which order (``publish``, ``objects``).
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from rootman.directory import rewind
from rootman.errors import Busy, NoSpace, NotFound, Refused, SystemFailure
from rootman.lock import holder, take
from rootman.names import DEFAULT_OS
from rootman.release import serialise_repository
from rootman.repo import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootman.errors import RootmanError
    from rootman.fsops import Fs

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE_MODE: Final = 0o644  # a web server reads them
_FOLDER_MODE: Final = 0o755
# Until repository.json is there, what an interrupted first publish may have left.
_UNFINISHED: Final = frozenset({layout.LOCK, *layout.FOLDERS})


class Writer:
    """A repository held for publishing; ``open_writer`` makes one."""

    def __init__(self, fs: Fs, path: str, fd: int) -> None:
        self.fs = fs
        self.path = path
        self.fd = fd
        self._folders: dict[str, int] = {}

    def folder(self, name: str) -> int:
        """Return a descriptor, kept open, of the folder ``name`` of the repository."""
        if name not in self._folders:
            self._folders[name] = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self.fd)
        return self._folders[name]

    def exists(self, path: str) -> bool:
        """Whether the repository has ``path``."""
        try:
            os.stat(path, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        return True

    def content(self, path: str, limit: int) -> bytes | None:
        """Return the first ``limit`` bytes of the file ``path``, None where there is none."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        except FileNotFoundError:
            return None
        with open(fd, "rb") as file:
            return file.read(limit)

    def create(self, name: str) -> int:
        """Create a file in ``tmp/``; return a descriptor for writing."""
        return self.fs.create(name, dir_fd=self.folder(layout.TEMPORARY), mode=_FILE_MODE)

    def write(self, name: str, content: Iterable[bytes]) -> int:
        """Write a file in ``tmp/``; return its size in bytes."""
        size = 0
        fd = self.create(name)
        try:
            for data in content:
                self.fs.write(fd, data)
                size += len(data)
        finally:
            os.close(fd)
        return size

    def sync(self) -> None:
        """Make all that was written and renamed durable."""
        self.fs.syncfs(self.fd)

    def rename(self, name: str, folder: str, final: str) -> None:
        """Give the durable file ``name`` its final name; ``sync`` makes that durable."""
        self.fs.rename(
            name,
            final,
            source_fd=self.folder(layout.TEMPORARY),
            target_fd=self.folder(folder),
        )

    def replace(self, folder: str, name: str, data: bytes) -> None:
        """Have the small file ``name`` say ``data``: readers see the old one or the new one.

        What was written and renamed before is durable before the new one is seen, and
        the new one when this returns.
        """
        self.write(name, [data])
        self.sync()
        self.rename(name, folder, name)
        self.fs.fsync(self.folder(folder))

    def make_folder(self, name: str) -> None:
        """Make a folder if it is missing; ``sync`` makes it durable."""
        if not self.exists(name):
            self.fs.mkdir(name, _FOLDER_MODE, dir_fd=self.fd)

    def clear(self) -> None:
        """Remove what an interrupted publish left in ``tmp/``; no reader knows it."""
        tmp = self.folder(layout.TEMPORARY)
        rewind(tmp)
        for name in sorted(os.listdir(tmp)):
            self.fs.unlink(name, dir_fd=tmp)

    def close(self) -> None:
        """Close every descriptor."""
        for fd in self._folders.values():
            os.close(fd)
        self._folders.clear()


@contextmanager
def open_writer(fs: Fs, path: str, name: str | None) -> Iterator[Writer]:
    """Hold the repository at ``path``, made for the OS ``name`` if there is none yet.

    ``name`` None means the repository's own, and the default for a new one. In the
    context an ``OSError`` becomes a ``NoSpace`` or ``SystemFailure``, and what was
    left in ``tmp/`` is removed.

    Raises:
        Refused: the folder holds something else.
        Busy: another publish is at work there.
        NoSpace: the disk is full.
        SystemFailure: the system refused.
    """
    with _failures(path):
        fd = _open_folder(fs, path)
    writer = Writer(fs, path, fd)
    try:
        with _failures(path), _locked(writer):
            try:
                _prepare(writer, name)
                yield writer
            except BaseException:
                # A full disk is left no fuller. What fails here the next publish does.
                with suppress(OSError):
                    writer.clear()
                raise
    finally:
        writer.close()
        os.close(fd)


def _open_folder(fs: Fs, path: str) -> int:
    """Open the repository's folder, made if it is missing."""
    parent, name = os.path.split(os.path.abspath(path))
    try:
        parent_fd = os.open(parent, _DIRECTORY)
    except FileNotFoundError:
        raise NotFound(f"{parent}: no such directory", hint="make it first") from None
    try:
        if not os.path.lexists(path):
            fs.mkdir(name, _FOLDER_MODE, dir_fd=parent_fd)
        fd = os.open(path, _DIRECTORY)
    except NotADirectoryError:
        raise Refused(f"{path}: not a directory") from None
    finally:
        os.close(parent_fd)
    return fd


@contextmanager
def _locked(writer: Writer) -> Iterator[None]:
    """Hold the lock; its file is the first in a new repository and says whose folder it is."""
    names = set(os.listdir(writer.fd))
    if (
        layout.REPOSITORY not in names
        and names
        and not (layout.LOCK in names and names <= _UNFINISHED)
    ):
        raise Refused(
            f"{writer.path}: not empty and not a repository", hint="name an empty or new folder"
        )
    if layout.LOCK not in names:
        with suppress(FileExistsError):
            os.close(writer.fs.create(layout.LOCK, dir_fd=writer.fd, mode=_FILE_MODE))
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(layout.LOCK, flags, dir_fd=writer.fd)
    try:
        try:
            take(fd, fcntl.LOCK_EX, partial(lock_owner, fd))
        except BlockingIOError as error:
            who = holder(lock_owner(fd))
            raise Busy(
                f"{writer.path}: {who} is at work here", hint="wait for it to end"
            ) from error
        yield
    finally:
        os.close(fd)


def lock_owner(fd: int) -> bytes:
    """Return the pid of who holds the lock, as the kernel says; nothing is written for it."""
    inode = b":%d" % os.fstat(fd).st_ino
    with suppress(OSError), open("/proc/locks", "rb") as locks:
        for words in map(bytes.split, locks):
            # 1: FLOCK ADVISORY WRITE pid major:minor:inode 0 EOF
            if words[1] == b"FLOCK" and words[5].endswith(inode):
                return words[4]
    return b""


def _prepare(writer: Writer, name: str | None) -> None:
    """Bring the folder to the state in which a release can be added."""
    for folder in layout.FOLDERS:
        writer.make_folder(folder)
    writer.clear()
    if not writer.exists(layout.REPOSITORY):
        writer.write(layout.REPOSITORY, [serialise_repository(name or DEFAULT_OS)])
        writer.sync()
        writer.rename(layout.REPOSITORY, ".", layout.REPOSITORY)


@contextmanager
def _failures(path: str) -> Iterator[None]:
    """Turn an ``OSError`` into the error that names the repository."""
    try:
        yield
    except OSError as error:
        raise _failure(error, path) from error


def _failure(error: OSError, path: str) -> RootmanError:
    where = f"{path}/{os.fsdecode(error.filename)}" if error.filename else path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"{path}: {error.strerror}", hint="make room and try again")
    if error.errno == errno.EROFS:
        return SystemFailure(f"{path}: {error.strerror}", hint="publish to a writable disk")
    return SystemFailure(f"{where}: {error.strerror}")
