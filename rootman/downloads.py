"""What is fetched before it is installed, and kept for it: release, manifest, objects.

They are in ``objects/`` of the store (spec/10-layout.md). ``Downloads`` is the repository
that they are, after ``rootman upgrade --download-only``.
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO, Final

from rootman.document import SIZE_LIMIT
from rootman.errors import InvalidInput, NoSpace, NotFound
from rootman.objects import verified_content
from rootman.partial import Partial
from rootman.release import parse_release, serialise_repository
from rootman.repo import layout
from rootman.repo.source import Alone, Missing
from rootman.store import open_below
from rootman.textstream import Bounded, compressed_limit, decompress_alongside

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootman.fsops import Fs
    from rootman.objects import Objects
    from rootman.release import Bundle
    from rootman.repo.repository import Repository
    from rootman.store import Store

_RELEASE: Final = "release.json"


def fetch_manifest(
    fs: Fs, objects: Objects, repository: Repository, bundle: Bundle, *, room: int
) -> BinaryIO:
    """Return the compressed manifest of ``bundle`` in ``objects``, fetched if need be.

    ``room`` is how many bytes the disk has.

    Raises:
        InvalidInput: it is missing or another everywhere.
        Unreachable: it cannot be had.
        NoSpace: there is no room for it.
        OSError: it cannot be written.
    """
    name = layout.compressed_file(bundle.manifest)
    if (kept := _kept_manifest(objects, name, bundle)) is not None:
        return kept
    refuse_without_room(bundle, room)
    limit, what = compressed_limit(bundle.manifest_size), f"manifest {bundle.manifest}"
    with closing(Partial(fs, objects, name, what=what, limit=limit)) as partial, partial.keeping():
        partial.obtain(
            lambda use, at: repository.obtain_manifest(bundle.manifest, use, at),
            lambda source: copy_manifest(source, bundle, lambda _: partial.keep()),
        )
    objects.finish(name)
    return objects.open(name)


def refuse_without_room(bundle: Bundle, room: int) -> None:
    """Refuse a manifest that is larger than the disk, before it is read.

    Raises:
        NoSpace: it is.
    """
    if bundle.manifest_size > room:
        raise NoSpace(
            f"the manifest has {bundle.manifest_size} bytes, and {room} are free",
            hint="rootman prune",
        )


def copy_manifest(source: BinaryIO, bundle: Bundle, write: Callable[[bytes], object]) -> None:
    """Give the compressed manifest ``source`` to ``write``, and see to it that it is that one.

    Raises:
        InvalidInput: it is another.
    """
    what = f"manifest {bundle.manifest}"
    tee = Bounded(source, compressed_limit(bundle.manifest_size), what, write)
    stream = decompress_alongside(tee, what)
    for _ in verified_content(stream, what, bundle.manifest, bundle.manifest_size):
        pass


def _kept_manifest(objects: Objects, name: str, bundle: Bundle) -> BinaryIO | None:
    """Return the manifest that an earlier process left, None where it is not whole."""
    try:
        file = objects.open(name)
    except FileNotFoundError:
        return None
    try:
        copy_manifest(file, bundle, lambda _: None)
    except InvalidInput:
        file.close()
        objects.remove(name)
        return None
    return file


def keep_release(fs: Fs, store: Store, objects: Objects, release: bytes) -> None:
    """Keep the document of the release whose content is in ``objects``, all of it durable.

    Raises:
        OSError: it cannot be written.
    """
    fd = objects.begin(_RELEASE)
    try:
        fs.write(fd, release)
    finally:
        os.close(fd)
    fs.syncfs(store.fd)
    objects.finish(_RELEASE)
    fs.fsync(store.objects)


class Downloads(Alone):
    """The source that ``--download-only`` left in the store: one release.

    Raises:
        NotFound: there is none.
        InvalidInput: it is damaged.
    """

    is_near = False  # what is used up here cannot be had again
    is_complete = True

    def __init__(self, store: Store) -> None:
        self._fd = store.objects
        self.location = f"{store.path}/.rootman/objects"
        try:
            self._document = self._read_release()
        except FileNotFoundError as error:
            raise NotFound(
                "no release was downloaded", hint="rootman upgrade REPO, or --download-only first"
            ) from error
        self._release = parse_release(self._document, self.name_of(_RELEASE))

    def _read_release(self) -> bytes:
        with open_below(_RELEASE, self._fd) as file:
            return file.read(SIZE_LIMIT + 1)

    def name_of(self, path: str) -> str:
        """Return the full name of the file ``path``."""
        return f"{self.location}/{path}"

    def versions(self) -> list[int]:
        """Return the one version."""
        return [self._release.version]

    def read(self, path: str, limit: int) -> bytes:
        """Return the release, or what names the operating system."""
        del limit
        if path == layout.release_path(self._release.version):
            return self._document
        if path == layout.REPOSITORY:
            return serialise_repository(self._release.name)
        raise Missing(f"{path} was not downloaded")

    def open(self, path: str, offset: int = 0) -> BinaryIO:
        """Refuse: what is asked for is not in its place in ``objects/``, or it is damaged."""
        del offset
        raise Missing(
            f"{path} was downloaded, and is lost or damaged", hint="download it again, or REPO"
        )

    def close(self) -> None:
        """There is nothing to close: the store is another's."""
