"""Reading a repository: its releases, manifests and objects.

``Repository`` is what an upgrade needs of one, wherever it is; ``LocalRepository``
is one in a folder. What comes out of it is not trusted: a release is checked here,
whoever reads a manifest or an object compares its SHA-256. Out of scope: writing
(``publish``).
"""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, BinaryIO, Final

from rootman.errors import InvalidInput, NotFound, SystemFailure
from rootman.release import SIZE_LIMIT, parse_release, parse_repository
from rootman.repo import layout

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rootman.release import Release

# Not blocked by a fifo that somebody put there.
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Repository(ABC):
    """Where releases come from; a context manager that closes it.

    ``location`` is what the user named. ``name`` is the operating system's.
    ``named_version`` is the release that ``location`` is, None where it is the
    repository itself.
    """

    location: str
    name: str
    named_version: int | None = None

    @staticmethod
    def open(location: str) -> Repository:
        """Return the repository at ``location``: its folder, or a release file in it.

        Raises:
            NotFound: there is nothing at ``location``.
            InvalidInput: what is there is no repository, or one of an unknown format.
            SystemFailure: it cannot be read.
        """
        return LocalRepository(location)

    @abstractmethod
    def versions(self) -> list[int]:
        """Return the versions published here, in ascending order.

        Raises:
            SystemFailure: they cannot be listed.
        """

    @abstractmethod
    def read_release(self, version: int) -> Release:
        """Return the release ``version``.

        Raises:
            NotFound: there is no such release.
            InvalidInput: it is not what it must be.
            SystemFailure: it cannot be read.
        """

    @abstractmethod
    def open_manifest(self, digest: str) -> BinaryIO:
        """Return the zstd-compressed manifest ``digest``, open for reading.

        Raises:
            InvalidInput: it is missing here.
            SystemFailure: it cannot be read.
        """

    @abstractmethod
    def open_object(self, digest: str) -> BinaryIO:
        """Return the zstd-compressed object ``digest``, open for reading.

        Raises:
            InvalidInput: it is missing here.
            SystemFailure: it cannot be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what reading needed; safe to call twice."""

    def newest_version(self) -> int:
        """Return the highest version published here.

        Raises:
            NotFound: there is none yet.
            SystemFailure: they cannot be listed.
        """
        if versions := self.versions():
            return versions[-1]
        raise NotFound(
            f"{self.location}: the repository has no release yet",
            hint=f"rootman publish TREE {self.location} --version 1",
        )

    def chosen_release(self) -> Release:
        """Return the release that ``location`` names, else the newest.

        Raises:
            NotFound: there is no such release.
            InvalidInput: it is not what it must be.
            SystemFailure: it cannot be read.
        """
        version = self.named_version
        return self.read_release(self.newest_version() if version is None else version)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class LocalRepository(Repository):
    """A repository in a folder of this machine."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._fd = -1
        self.path, self.named_version = _locate(location)
        try:
            self._fd = os.open(self.path, _DIRECTORY)
            origin = f"{self.path}/{layout.REPOSITORY}"
            self.name = parse_repository(self._read_small(layout.REPOSITORY), origin)
        except FileNotFoundError as error:
            self.close()
            raise _no_repository(location) from error
        except OSError as error:
            self.close()
            raise SystemFailure(f"{self.path}: {error.strerror}") from error
        except BaseException:
            self.close()
            raise

    def versions(self) -> list[int]:
        """Return the versions published here, in ascending order."""
        try:
            fd = os.open(layout.RELEASES, _DIRECTORY, dir_fd=self._fd)
            try:
                names = os.listdir(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise SystemFailure(f"{self.path}/{layout.RELEASES}: {error.strerror}") from error
        found = (layout.parse_release_file(name) for name in names)
        return sorted(version for version in found if version is not None)

    def read_release(self, version: int) -> Release:
        """Return the release ``version``."""
        name = layout.release_path(version)
        origin = f"{self.path}/{name}"
        try:
            data = self._read_small(name)
        except FileNotFoundError as error:
            raise NotFound(f"{self.location}: there is no release {version}") from error
        except OSError as error:
            raise SystemFailure(f"{origin}: {error.strerror}") from error
        release = parse_release(data, origin)
        if release.version != version:
            raise InvalidInput(f"{origin}: version: says {release.version}")
        if release.name != self.name:
            raise InvalidInput(
                f"{origin}: name: says {release.name}, but this is a repository of {self.name}"
            )
        return release

    def open_manifest(self, digest: str) -> BinaryIO:
        """Return the zstd-compressed manifest ``digest``, open for reading."""
        return self._open(layout.manifest_path(digest))

    def open_object(self, digest: str) -> BinaryIO:
        """Return the zstd-compressed object ``digest``, open for reading."""
        return self._open(layout.object_path(digest))

    def close(self) -> None:
        """Close the folder."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, name: str) -> BinaryIO:
        try:
            return open(self._open_fd(name), "rb", buffering=0)
        except FileNotFoundError as error:
            raise InvalidInput(f"{self.path}: {name} is missing") from error
        except OSError as error:
            raise SystemFailure(f"{self.path}/{name}: {error.strerror}") from error

    def _read_small(self, name: str) -> bytes:
        with open(self._open_fd(name), "rb") as file:
            return file.read(SIZE_LIMIT + 1)

    def _open_fd(self, name: str) -> int:
        fd = os.open(name, _READ, dir_fd=self._fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise InvalidInput(f"{self.path}: {name} is not a file")
        return fd


def _locate(location: str) -> tuple[str, int | None]:
    """Return the repository's folder, and the version if ``location`` is a release file."""
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
        raise _no_repository(location)
    return os.path.dirname(folder), version


def _no_repository(location: str) -> InvalidInput:
    return InvalidInput(
        f"{location}: neither a repository nor a release in one",
        hint="name the folder with repository.json in it, or REPO/releases/N.json",
    )
