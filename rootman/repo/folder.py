"""A repository in a folder of this machine."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO, Final

from rootman.errors import InvalidInput, NotFound, SystemFailure
from rootman.repo import layout
from rootman.repo.source import Alone, Missing
from rootman.repo.versions import read_versions

# Not blocked by a fifo that somebody put there.
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class FolderSource(Alone):
    """The files of the repository in the folder ``path``; the user said ``location``."""

    def __init__(self, path: str, location: str) -> None:
        self.path = path
        self.location = location
        try:
            self._fd = os.open(path, _DIRECTORY)
        except FileNotFoundError as error:
            raise no_repository(location) from error
        except OSError as error:
            raise SystemFailure(f"{path}: {error.strerror}") from error

    @property
    def is_near(self) -> bool:
        """A folder is."""
        return True

    @property
    def is_complete(self) -> bool:
        """Every manifest and object is there by itself."""
        return True

    def name_of(self, path: str) -> str:
        """Return the full name of the file ``path``."""
        return f"{self.path}/{path}"

    def versions(self) -> list[int]:
        """Return the versions that are published in the folder, in ascending order."""
        try:
            return list(read_versions(self._fd).published)
        except OSError as error:
            raise SystemFailure(f"{self.path}/{error.filename}: {error.strerror}") from error

    def read(self, path: str, limit: int) -> bytes:
        """Return the whole of the small file ``path``."""
        with self.open(path) as file:
            try:
                data = file.read(limit + 1)
            except OSError as error:
                raise SystemFailure(f"{self.path}/{path}: {error.strerror}") from error
        if len(data) > limit:
            raise InvalidInput(f"{self.path}/{path}: larger than {limit} bytes")
        return data

    def open(self, path: str, offset: int = 0) -> BinaryIO:
        """Return the file ``path`` open for reading, from the byte ``offset`` on."""
        try:
            fd = os.open(path, _READ, dir_fd=self._fd)
        except FileNotFoundError as error:
            raise Missing(f"{self.path}: {path} is missing") from error
        except OSError as error:
            raise SystemFailure(f"{self.path}/{path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise InvalidInput(f"{self.path}: {path} is not a file")
        os.lseek(fd, offset, os.SEEK_SET)
        return open(fd, "rb", buffering=0)

    def close(self) -> None:
        """Close the folder."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def find_folder(location: str) -> tuple[str, int | None]:
    """Return the repository's folder, and the version if ``location`` is a release file.

    Raises:
        NotFound: there is nothing at ``location``.
        InvalidInput: it is a file, and no release in a repository.
        SystemFailure: it cannot be looked at.
    """
    path = os.path.abspath(location)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise NotFound(f"{location}: no such file or directory") from error
        raise SystemFailure(f"{location}: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        return path, None
    folder, name = os.path.split(path)
    version = layout.parse_release_file(name)
    if version is None or os.path.basename(folder) != layout.RELEASES:
        raise no_repository(location)
    return os.path.dirname(folder), version


def no_repository(location: str) -> InvalidInput:
    """Return the error that ``location`` is nothing to upgrade from."""
    return InvalidInput(
        f"{location}: neither a repository nor a release in one",
        hint="name the folder with repository.json in it, or REPO/releases/N.json",
    )
