"""Reading a repository: its releases, manifests and objects.

``Repository`` is what an upgrade needs of one, wherever it is: files come from its
source, and what says which releases there are, from its catalogue. What comes out of
them is not trusted: a release is checked here, whoever reads a manifest or an object
compares its SHA-256. Out of scope: writing (``publish``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, Final

from rootman.document import SIZE_LIMIT
from rootman.errors import InvalidInput, NotFound, Refused
from rootman.release import parse_release, parse_repository
from rootman.repo import layout
from rootman.repo.address import is_remote, parse_address
from rootman.repo.folder import FolderSource, find_folder, no_repository
from rootman.repo.mirrors import Mirrors, obtain
from rootman.repo.source import Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from rootman.release import Release
    from rootman.repo.source import Catalogue, Source

SUFFIX: Final = ".rootman"
"""Of a file with a release (``offline``)."""


class Repository:
    """Where releases come from; a context manager that closes its source.

    ``name`` is the operating system's. ``named_version`` is the release that the user
    named, None for the newest. Without a ``catalogue`` the source is taken at its word.
    """

    def __init__(
        self, source: Source, named_version: int | None = None, catalogue: Catalogue | None = None
    ) -> None:
        self.source = source
        self.named_version = named_version
        self._catalogue: Catalogue = catalogue or source
        try:
            data = self._catalogue.read(layout.REPOSITORY, SIZE_LIMIT)
            self.name = parse_repository(data, source.name_of(layout.REPOSITORY))
        except Missing as error:
            source.close()
            raise no_repository(source.location) from error
        except BaseException:
            source.close()
            raise

    @staticmethod
    def open(
        location: str,
        mirrors: Sequence[str] = (),
        *,
        insecure: bool = False,
        vet: Callable[[Source], Catalogue | None] | None = None,
    ) -> Repository:
        """Return the repository at ``location``.

        That is its folder, its URL, or that of a release in it. The URLs ``mirrors`` have
        the same files. ``vet`` gets its source and returns what says which releases there
        are, None where the source is taken at its word. Without it all are.

        Raises:
            NotFound: there is nothing at ``location``.
            Refused: ``vet`` refuses it; or without that it is on a web server, and
                ``insecure`` was not asked for.
            InvalidInput: what is there is no repository, or one of an unknown format.
            SystemFailure, Unreachable: it cannot be read.
        """
        source, version = locate(location, mirrors)
        try:
            if vet is not None:
                return Repository(source, version, vet(source))
            if not insecure:
                refuse_remote(source)
            return Repository(source, version)
        except BaseException:
            source.close()
            raise

    @property
    def location(self) -> str:
        """What the user named."""
        return self.source.location

    @property
    def is_near(self) -> bool:
        """Whether files can be read and searched at the speed of the disk."""
        return self.source.is_near

    @property
    def is_complete(self) -> bool:
        """Whether every manifest and object is there by itself, and not in packs alone."""
        return self.source.is_complete

    def versions(self) -> list[int]:
        """Return the versions published here, in ascending order.

        Raises:
            InvalidInput, SystemFailure, Unreachable: they cannot be listed.
        """
        return self._catalogue.versions()

    def read_release(self, version: int) -> Release:
        """Return the release ``version``.

        Raises:
            NotFound: there is no such release.
            InvalidInput: it is not what it must be.
            SystemFailure, Unreachable: it cannot be read.
        """
        path = layout.release_path(version)
        origin = self.source.name_of(path)
        try:
            data = self._catalogue.read(path, SIZE_LIMIT)
        except Missing as error:
            raise NotFound(f"{self.location}: there is no release {version}") from error
        release = parse_release(data, origin)
        if release.version != version:
            raise InvalidInput(f"{origin}: version: says {release.version}")
        if release.name != self.name:
            raise InvalidInput(
                f"{origin}: name: says {release.name}, but this is a repository of {self.name}"
            )
        return release

    def newest_version(self) -> int:
        """Return the highest version published here.

        Raises:
            NotFound: there is none yet.
            InvalidInput, SystemFailure, Unreachable: they cannot be listed.
        """
        if versions := self.versions():
            return versions[-1]
        raise NotFound(
            f"{self.location}: the repository has no release yet",
            hint=f"rootman publish TREE {self.location} --version 1",
        )

    def chosen_release(self) -> Release:
        """Return the release that the user named, else the newest.

        Raises:
            NotFound: there is no such release.
            InvalidInput: it is not what it must be.
            SystemFailure, Unreachable: it cannot be read.
        """
        version = self.named_version
        return self.read_release(self.newest_version() if version is None else version)

    def open_manifest(self, digest: str) -> BinaryIO:
        """Return the zstd-compressed manifest ``digest``, open for reading.

        Raises:
            InvalidInput: it is missing here.
            SystemFailure, Unreachable: it cannot be read.
        """
        return self.source.open(layout.manifest_path(digest))

    def obtain_manifest(
        self, digest: str, use: Callable[[BinaryIO], None], at: Callable[[], int] = lambda: 0
    ) -> None:
        """Give the zstd-compressed manifest ``digest`` to ``use``; another copy if it is refused.

        Each is given from the byte ``at`` on.

        Raises:
            InvalidInput: it is missing everywhere, or what ``use`` says of it.
            SystemFailure, Unreachable: it cannot be read.
        """
        obtain(self.source, layout.manifest_path(digest), use, at)

    def obtain_object(
        self, digest: str, use: Callable[[BinaryIO], None], at: Callable[[], int] = lambda: 0
    ) -> None:
        """Give the zstd-compressed object ``digest`` to ``use``; another copy if it is refused.

        Each is given from the byte ``at`` on.

        Raises:
            InvalidInput: it is missing everywhere, or what ``use`` says of it.
            SystemFailure, Unreachable: it cannot be read.
        """
        obtain(self.source, layout.object_path(digest), use, at)

    def open_pack(self, old: str, new: str, offset: int) -> BinaryIO:
        """Return the pack that leads from the manifest ``old`` ("" for no tree) to ``new``.

        It is open for reading from the byte ``offset`` on.

        Raises:
            Missing: there is none.
            InvalidInput, SystemFailure, Unreachable: it cannot be read.
        """
        return self.source.open(layout.pack_path(old, new), offset)

    def close(self) -> None:
        """Close the source; safe to call twice."""
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def refuse_remote(source: Source) -> None:
    """Refuse what is on a web server, where there is no trust in what comes from there.

    Raises:
        Refused: it is.
    """
    if not source.is_near:
        raise Refused(
            f"{source.location}: there is no trust by which to know what comes from there",
            hint="rootman trust root.json; --insecure takes whatever comes",
        )


def locate(location: str, mirrors: Sequence[str] = ()) -> tuple[Source, int | None]:
    """Return the source at ``location``, with its ``mirrors``, and the version that was named.

    Raises:
        NotFound, InvalidInput, SystemFailure: there is none.
    """
    if not is_remote(location):
        if mirrors:
            raise InvalidInput(f"{location}: only a repository on a web server has mirrors")
        if os.path.isfile(location) and location.endswith(SUFFIX):
            from rootman.repo.offline import OfflineSource

            return OfflineSource(location), None
        path, version = find_folder(location)
        return FolderSource(path, location), version
    from rootman.repo.http import HttpSource

    address = parse_address(location)
    source = HttpSource(address)
    if not mirrors:
        return source, address.version
    others = [HttpSource(parse_address(one)) for one in mirrors]
    return Mirrors(source, others), address.version
