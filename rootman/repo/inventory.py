"""The manifests, objects and packs in a repository's folder, and which of them releases need."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from rootman.comparison import known_lines
from rootman.delta import hash_prefix
from rootman.repo import layout
from rootman.textstream import Hashed, decompress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.release import Release
    from rootman.repo.repository import Repository

_FILE: Final = re.compile(rb" size=([0-9]+) .* sha256digest=([0-9a-f]{64})")
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Content(NamedTuple):
    """The content of a file: its number of bytes and their SHA-256."""

    size: int
    sha256: str


def content_of(line: bytes) -> Content | None:
    """Return the content that has an object for the manifest ``line``, None where none has."""
    found = _FILE.search(line)
    if found is None or found[1] == b"0":
        return None
    return Content(int(found[1]), found[2].decode())


class Needed:
    """What releases need: ``manifests``, and objects by the first 64 bits of their hashes.

    Two objects that begin alike are taken for one, so that at worst one too many is needed.
    """

    def __init__(self) -> None:
        self.manifests: set[str] = set()
        self._objects: set[int] = set()

    def add(self, repository: Repository, release: Release) -> None:
        """Add what ``release`` needs.

        Raises:
            InvalidInput: a manifest is missing or damaged.
            SystemFailure: it cannot be read.
        """
        for bundle in release.bundles:
            digest = bundle.manifest
            if digest not in self.manifests:
                what = layout.manifest_path(digest)
                with repository.open_manifest(digest) as file:
                    lines = Hashed(decompress(file, what))
                    with lines.verifying(digest, what):
                        self._add_contents(known_lines(lines))
                self.manifests.add(digest)

    def _add_contents(self, lines: Iterator[bytes]) -> None:
        for content in filter(None, map(content_of, lines)):
            self._objects.add(hash_prefix(content.sha256))

    def has(self, stored: Stored) -> bool:
        """Whether a release needs ``stored``: also every pack that leads to one of them."""
        if stored.kind == layout.OBJECTS:
            return hash_prefix(stored.digest) in self._objects
        return stored.digest in self.manifests


class Stored(NamedTuple):
    """A file in the folder ``kind``; ``size`` is in bytes.

    ``digest`` is the SHA-256 of the content, of a pack that of the manifest it leads to.
    """

    kind: str
    folder: str
    name: str
    digest: str
    size: int

    @property
    def path(self) -> str:
        """Its path in the repository."""
        return f"{self.folder}/{self.name}"


def stored(repository_fd: int) -> Iterator[Stored]:
    """Yield the packs, objects and manifests in an open repository, in no order in a folder.

    Names that are none of ours are passed over. What has been yielded may be deleted.

    Raises:
        OSError: they cannot be read.
    """
    for new in _names(repository_fd, layout.PACKS):
        if layout.parse_pack_folder(new) is not None:
            for name, size in files_in(repository_fd, layout.pack_folder(new)):
                if layout.parse_pack_file(name) is not None:
                    yield Stored(layout.PACKS, layout.pack_folder(new), name, new, size)
    for short in _names(repository_fd, layout.OBJECTS):
        yield from _compressed(repository_fd, layout.OBJECTS, f"{layout.OBJECTS}/{short}")
    yield from _compressed(repository_fd, layout.MANIFESTS, layout.MANIFESTS)


def _compressed(repository_fd: int, kind: str, folder: str) -> Iterator[Stored]:
    for name, size in files_in(repository_fd, folder):
        digest = layout.parse_compressed_file(name)
        if digest is not None:
            yield Stored(kind, folder, name, digest, size)


def _names(repository_fd: int, folder: str) -> list[str]:
    """Return the names in ``folder``, none where it is not there."""
    try:
        fd = os.open(folder, _DIRECTORY, dir_fd=repository_fd)
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def files_in(repository_fd: int, folder: str) -> list[tuple[str, int]]:
    """Return the names of the regular files in ``folder`` and their sizes."""
    try:
        fd = os.open(folder, _DIRECTORY, dir_fd=repository_fd)
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        with os.scandir(fd) as found:
            return [
                (entry.name, entry.stat(follow_symlinks=False).st_size)
                for entry in found
                if entry.is_file(follow_symlinks=False)
            ]
    finally:
        os.close(fd)
