"""The metadata files of a repository, as their publisher reads and writes them (spec/36-trust.md).

Out of scope: what is signed, and by whom (``signing``); a reader's doubts (``refresh``).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic

from rootman.directory import rewind
from rootman.errors import InvalidInput
from rootman.repo import layout
from rootman.repo.framework import (
    JSONSerializer,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    T,
    Targets,
    Timestamp,
    exceptions,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootman.repo.writer import Writer

STAGED: Final = "staged.root.json"
# The field of timestamp.json that says when it was signed, in seconds since 1970 (TU-9).
SIGNED_AT: Final = "x-rootman-signed-at"

_TIMESTAMP: Final = "timestamp.json"
_NAME: Final = re.compile(r"([1-9][0-9]{0,9})\.(root|targets|snapshot)\.json")


@dataclass(frozen=True, slots=True)
class Document(Generic[T]):
    """A file of metadata: its bytes, which hashes are of, and what they mean."""

    metadata: Metadata[T]
    data: bytes

    @staticmethod
    def of(metadata: Metadata[T]) -> Document[T]:
        """Return the document of ``metadata``, in lines for whoever looks at it."""
        return Document(metadata, metadata.to_bytes(JSONSerializer()))

    @property
    def signed(self) -> T:
        """What is signed: a root, targets, a snapshot or a timestamp."""
        return self.metadata.signed

    @property
    def name(self) -> str:
        """The name of its file; a timestamp has but one."""
        kind = self.signed.type
        return _TIMESTAMP if kind == Timestamp.type else _versioned(kind, self.signed.version)

    @property
    def entry(self) -> MetaFile:
        """How the metadata above it name it."""
        return MetaFile.from_data(self.signed.version, self.data, ["sha256"])

    def is_valid(self, root: Root) -> bool:
        """Whether it has the signatures that ``root`` asks for."""
        signed, data = self.metadata.signatures, self.metadata.signed_bytes
        return bool(root.get_verification_result(self.signed.type, data, signed))


AnyDocument = Document[Root] | Document[Targets] | Document[Snapshot] | Document[Timestamp]


@dataclass(frozen=True, slots=True)
class Published:
    """The newest metadata of each role in a repository, and the root that is being signed.

    ``announced`` are the targets that the snapshot leads readers to; newer ones may wait.
    ``highest`` has the highest version of which there is a file, by role; an interrupted
    signing leaves files that nothing names, and their versions are not used again.
    """

    root: Document[Root] | None = None
    staged: Document[Root] | None = None
    targets: Document[Targets] | None = None
    snapshot: Document[Snapshot] | None = None
    timestamp: Document[Timestamp] | None = None
    announced: Document[Targets] | None = None
    highest: Mapping[str, int] = field(default_factory=dict)


def read_published(folder: int, where: str) -> Published:
    """Return what is in the open folder ``metadata``, which is at ``where``.

    Raises:
        InvalidInput: a file is not the metadata that its name says.
        OSError: it cannot be read.
    """
    rewind(folder)
    names = os.listdir(folder)
    highest: dict[str, int] = {}
    for match in filter(None, map(_NAME.fullmatch, names)):
        highest[match[2]] = max(highest.get(match[2], 0), int(match[1]))

    def read(kind: type[T], name: str) -> Document[T] | None:
        return _read(kind, folder, name, where) if name in names else None

    root = read(Root, _versioned(Root.type, highest.get(Root.type, 0)))
    staged = read(Root, STAGED)
    if staged and root and staged.signed.version <= root.signed.version:
        staged = None  # published, and the signing interrupted after that
    timestamp = read(Timestamp, _TIMESTAMP)
    snapshot = announced = None
    if timestamp is not None:
        version = timestamp.signed.snapshot_meta.version
        snapshot = read(Snapshot, _versioned(Snapshot.type, version))
    if snapshot is not None:
        version = snapshot.signed.meta[f"{Targets.type}.json"].version
        announced = read(Targets, _versioned(Targets.type, version))
    targets = read(Targets, _versioned(Targets.type, highest.get(Targets.type, 0)))
    return Published(root, staged, targets, snapshot, timestamp, announced, highest)


def _versioned(kind: str, version: int) -> str:
    return f"{version}.{kind}.json"


def _read(kind: type[T], folder: int, name: str, where: str) -> Document[T]:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    with open(fd, "rb") as file:
        data = file.read()
    try:
        found: Metadata[T] = Metadata.from_bytes(data)
    except exceptions.RepositoryError as error:
        raise InvalidInput(f"{where}/{name}: not metadata: {error}") from error
    if not isinstance(found.signed, kind):
        raise InvalidInput(f"{where}/{name}: says that it is {found.signed.type}")
    return Document(found, data)


def put(writer: Writer, documents: Iterable[AnyDocument]) -> None:
    """Write ``documents`` into the repository; they are durable when this returns.

    Raises:
        OSError: the system refused; some may be there, each of them whole.
    """
    _put(writer, {document.name: document.data for document in documents})


def put_staged(writer: Writer, root: Document[Root]) -> None:
    """Keep a root that is being signed.

    Raises:
        OSError: the system refused; the one that was kept before is there.
    """
    _put(writer, {STAGED: root.data})


def drop_staged(writer: Writer) -> None:
    """Remove the root that was being signed, if there is one.

    Raises:
        OSError: the system refused.
    """
    with suppress(FileNotFoundError):
        writer.fs.unlink(STAGED, dir_fd=writer.folder(layout.METADATA))


def _put(writer: Writer, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        writer.write(name, [data])
    writer.sync()
    for name in files:
        writer.rename(name, layout.METADATA, name)
    writer.fs.fsync(writer.folder(layout.METADATA))
