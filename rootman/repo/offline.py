"""A release in one file: what a repository has of it, for a stick or a web page.

The file is a tar archive (POSIX.1-2001, uncompressed) of files of the repository under
their own paths: the signed metadata, the release, and packs, in the order of use. It
is read where it lies, without being unpacked. What comes out of it is trusted no more
than what comes from any other repository.
"""

from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from rootman.errors import InvalidInput, NotFound, SystemFailure
from rootman.repo import layout
from rootman.repo.source import Alone, Missing, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_MEMBERS: Final = 10_000  # more than the metadata of a lifetime


class OfflineSource(Alone):
    """The files of the repository that are in the file ``location``."""

    is_near = True
    is_complete = False

    def __init__(self, location: str) -> None:
        self.location = location
        try:
            self._file = open(location, "rb")  # noqa: SIM115  close()
        except FileNotFoundError as error:
            raise NotFound(f"{location}: no such file") from error
        except OSError as error:
            raise SystemFailure(f"{location}: {error.strerror}") from error
        try:
            self._members = dict(self._read_members())
        except (tarfile.TarError, EOFError, ValueError) as error:
            self.close()
            raise InvalidInput(f"{location}: not a file of rootman export: {error}") from error
        except BaseException:
            self.close()
            raise

    def _read_members(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield where each file begins, and its size."""
        with tarfile.open(fileobj=self._file, mode="r:") as archive:
            for count, member in enumerate(archive):
                if count > _MEMBERS:
                    raise InvalidInput(f"{self.location}: too many files for a release")
                if member.isreg() and not member.issparse():
                    yield member.name, (member.offset_data, member.size)

    def name_of(self, path: str) -> str:
        """Return the full name of the file ``path``."""
        return f"{self.location}: {path}"

    def versions(self) -> list[int]:
        """Return the versions of the releases in it, in ascending order."""
        found = (
            layout.parse_release_file(name.removeprefix(f"{layout.RELEASES}/"))
            for name in self._members
            if name.startswith(f"{layout.RELEASES}/")
        )
        return sorted(version for version in found if version is not None)

    def origins(self, new: str) -> list[str]:
        """Return the manifests that packs lead from to the manifest ``new``, "" for no tree."""
        folder = f"{layout.pack_folder(new)}/"
        names = (name.removeprefix(folder) for name in self._members if name.startswith(folder))
        return [old for old in map(layout.parse_pack_file, names) if old is not None]

    def read(self, path: str, limit: int) -> bytes:
        """Return the whole of the small file ``path``."""
        with self.open(path) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InvalidInput(f"{self.name_of(path)}: larger than {limit} bytes")
        return data

    def open(self, path: str, offset: int = 0) -> BinaryIO:
        """Return the file ``path`` open for reading, from the byte ``offset`` on."""
        found = self._members.get(path)
        if found is None:
            raise Missing(f"{self.location}: {path} is missing")
        start, size = found
        return cast("BinaryIO", _Part(self._file.fileno(), start, size, offset))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Part(Reading):
    """A file of the archive; the descriptor is the archive's and may have several readers."""

    def __init__(self, fd: int, start: int, size: int, offset: int) -> None:
        self._fd = fd
        self._at = start + offset
        self._end = start + size

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  as the base class
        data = os.pread(self._fd, max(min(len(buffer), self._end - self._at), 0), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
