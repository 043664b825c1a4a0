"""The seal record: what a tree was sealed with.

Beside the manifest it has the *inodes*, one unsigned 64-bit number per manifest
line (0 where the inode is not shared between trees: directories, empty files,
fifos, sockets, devices), and the *digests*, one per directory, which let
``survey`` find what changed in a tree without parsing its manifest. A clone has
the same record as its source, because it shares every inode that is recorded,
but for the *stamps*: the directories are its own, and a stamp says when one changed.

The files are specified in spec/10-layout.md (ST-*).
"""

from __future__ import annotations

import os
import sys
from array import array
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman import composition, edits
from rootman.errors import InvalidInput, InvalidManifest
from rootman.manifest import TYPE_AT
from rootman.names import BASE
from rootman.state import parse_seal
from rootman.store import (
    DIGESTS_FILE,
    EDITS_FILE,
    INODES_FILE,
    MANIFEST_FILE,
    SEAL_FILE,
    STAMPS_FILE,
    open_below,
    part_file,
)
from rootman.textstream import Hashed, decompress, decompress_alongside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rootman.comparison import Change
    from rootman.state import Seal

DIGEST_SIZE: Final = 16
INODE_TYPE: Final = "Q"
STAMP_TYPE: Final = "q"
# The stamp of a directory of which it is not known when it was last as sealed.
UNKNOWN: Final = 0
_EMPTY_CONTENT: Final = b" size=0 "
_LINKED_TYPES: Final = (b"file", b"link")


def is_shared(line: bytes) -> bool:
    """Return whether the entry of this manifest line is hardlinked between trees.

    Empty files are not: unrelated programs would share one inode's locks (ST-9).
    """
    start = line.find(b" ") + TYPE_AT
    return line[start : start + 4] in _LINKED_TYPES and _EMPTY_CONTENT not in line


@dataclass(frozen=True, slots=True)
class SealRecord:
    """The record in the directory ``dir_fd``, read piece by piece as it is needed."""

    dir_fd: int
    origin: str

    @contextmanager
    def manifest(self) -> Iterator[Iterator[bytes]]:
        """Open the manifest as a stream of uncompressed bytes."""
        with open_below(MANIFEST_FILE, self.dir_fd) as file:
            base = decompress(file, f"{self.origin}/{MANIFEST_FILE}")
            changes = self.edits()
            yield self._edited(base, changes) if changes else base

    @contextmanager
    def part(self, name: str) -> Iterator[Iterator[bytes]]:
        """Open the manifest of the bundle ``name`` as a stream of uncompressed bytes (ST-21).

        Raises:
            InvalidInput: the tree has no such bundle, or its manifests do not fit.
        """
        seal = self.summary()
        with ExitStack() as stack:
            if name != BASE:
                yield self._other(seal.parts[name], stack)
                return
            whole = stack.enter_context(self.manifest())
            others = [self._other(digest, stack) for digest in seal.others]
            yield composition.without(whole, composition.merged(others)) if others else whole

    def _other(self, digest: str, stack: ExitStack) -> Iterator[bytes]:
        """Return the manifest of a bundle that is not base, open until ``stack`` ends."""
        what = f"{self.origin}/{part_file(digest)}"
        try:
            file = stack.enter_context(open_below(part_file(digest), self.dir_fd))
        except FileNotFoundError as error:
            raise InvalidInput(f"{what}: missing") from error
        return decompress_alongside(file, what)

    def _edited(self, base: Iterator[bytes], changes: list[Change]) -> Iterator[bytes]:
        try:
            yield from edits.edited(base, changes)
        except InvalidManifest as error:
            raise InvalidInput(f"{self.origin}/{MANIFEST_FILE}: damaged: {error}") from error

    def edits(self) -> list[Change]:
        """Return the edits of the manifest that the record keeps to that of its tree.

        Raises:
            InvalidInput: they are damaged.
        """
        count = self.summary().edits
        try:
            changes = list(edits.parse(self._read(EDITS_FILE))) if count else []
        except InvalidManifest as error:
            raise InvalidInput(f"{self.origin}/{EDITS_FILE}: {error}") from error
        if len(changes) != count:
            raise InvalidInput(f"{self.origin}/{EDITS_FILE}: damaged")
        return changes

    def shares_manifest(self, other: SealRecord) -> bool:
        """Return whether both have edits to one manifest: the file is a hardlink."""
        mine, its = (
            os.stat(MANIFEST_FILE, dir_fd=one.dir_fd, follow_symlinks=False)
            for one in (self, other)
        )
        return os.path.samestat(mine, its)

    def summary(self) -> Seal:
        """Return the summary of the record."""
        with open_below(SEAL_FILE, self.dir_fd) as file:
            return parse_seal(file.read(), f"{self.origin}/{SEAL_FILE}")

    def inodes(self) -> array[int]:
        """Return the inode of each manifest line, 0 where it is not shared.

        Raises:
            InvalidInput: there is not one for each line.
        """
        return self._numbers(INODES_FILE, INODE_TYPE, self.summary().entries)

    def is_sound(self) -> bool:
        """Return whether the manifest and the inodes are those that were recorded."""
        try:
            with self.manifest() as stream:
                Hashed(stream).verify(self.summary().manifest, MANIFEST_FILE)
            self.inodes()
        except (InvalidInput, OSError, ValueError):
            return False
        return True

    def digests(self) -> dict[str, bytes]:
        """Return the digest of each directory, by its path below the tree (``.`` the root)."""
        return unpack_digests(self._read(DIGESTS_FILE), f"{self.origin}/{DIGESTS_FILE}")

    def stamps(self, digests: Iterable[str]) -> dict[str, int]:
        """Return the stamps, by the paths of the record's ``digests`` in their order.

        There are none where they were taken away.

        Raises:
            InvalidInput: there is not one for each.
        """
        paths = list(digests)
        try:
            stamps = self._numbers(STAMPS_FILE, STAMP_TYPE, len(paths))
        except FileNotFoundError:
            return {}
        return dict(zip(paths, stamps, strict=True))

    def _numbers(self, name: str, kind: str, count: int) -> array[int]:
        """Return the ``count`` little-endian 64-bit numbers of one file of the record."""
        numbers = array(kind)
        data = self._read(name)
        if len(data) != count * numbers.itemsize:
            raise InvalidInput(f"{self.origin}/{name}: damaged")
        numbers.frombytes(data)
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers

    def _read(self, name: str) -> bytes:
        with open_below(name, self.dir_fd) as file:
            return b"".join(decompress(file, f"{self.origin}/{name}"))


def pack_edits(changes: Iterable[Change]) -> bytes:
    """Return the content of the file of edits."""
    return compressed(edits.serialise(changes))


def pack_stamps(stamps: Mapping[str, int], paths: Iterable[str]) -> bytes:
    """Return the content of the stamps file for the directories ``paths``, in any order."""
    return _pack(array(STAMP_TYPE, [stamps.get(path, UNKNOWN) for path in sorted(paths)]))


def stamps_without(record: SealRecord, changed: Iterable[str]) -> bytes:
    """Return the content of the stamps file of a record without the stamps of some directories.

    Raises:
        InvalidInput: the record is damaged.
    """
    digests = record.digests()
    stamps = record.stamps(digests)
    for path in changed:
        stamps.pop(path, None)
    return pack_stamps(stamps, digests)


def pack_inodes(numbers: array[int]) -> bytes:
    """Return the content of the inodes file."""
    return _pack(numbers)


def _pack(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return compressed(numbers.tobytes())


def pack_digests(digests: dict[str, bytes]) -> bytes:
    """Return the content of the digests file: the sorted paths, then a digest for each (ST-8)."""
    paths = sorted(digests)
    names = os.fsencode("\0".join(paths))
    return compressed(names + b"\0\0" + b"".join(map(digests.__getitem__, paths)))


def unpack_digests(data: bytes, origin: str) -> dict[str, bytes]:
    """Return the digests that ``pack_digests`` wrote (uncompressed).

    Raises:
        InvalidInput: ``data`` is something else.
    """
    end = data.find(b"\0\0")
    paths = os.fsdecode(data[: max(end, 0)]).split("\0")
    start = end + 2
    if end < 0 or len(data) != start + len(paths) * DIGEST_SIZE:
        raise InvalidInput(f"{origin}: damaged")
    return dict(zip(paths, cut_digests(data[start:]), strict=True))


def cut_digests(data: bytes) -> Iterator[bytes]:
    """Yield the digests that ``data`` has one after the other."""
    return (data[at : at + DIGEST_SIZE] for at in range(0, len(data), DIGEST_SIZE))


def compressed(data: bytes) -> bytes:
    """Return ``data`` as a file of the record has it."""
    import zstandard

    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(data)
