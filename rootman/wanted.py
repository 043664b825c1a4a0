"""The tree that is wanted: its manifest's bytes, verified, and what differs from the seed."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, BinaryIO, Final

from rootman import totals
from rootman.comparison import Change, any_below, compare, known_lines
from rootman.delta import Group, Needs, complete_groups, join_drift, vet
from rootman.errors import InvalidInput, InvalidManifest
from rootman.manifest import HARDLINK, HEADER, path_field
from rootman.seal import is_shared
from rootman.textstream import CHUNK, Hashed, compress, decompress

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from rootman.delta import Drift
    from rootman.seal import SealRecord

# More changes than this are compared again each time they are needed instead of kept:
# memory must not grow with a first installation.
_KEPT: Final = 20_000


class CompressedManifest:
    """A compressed manifest in an open file, named by the hash of its content."""

    def __init__(self, file: BinaryIO, digest: str) -> None:
        self._file = file
        self.digest = digest
        self._compressed_digest = ""

    def stream(self) -> Iterator[bytes]:
        """Yield the uncompressed manifest from its beginning, one reader after the other."""
        self._file.seek(0)
        yield from decompress(self._file, f"manifest {self.digest}")

    def verified(self) -> Hashed:
        """Return the uncompressed manifest, to be verified at its end."""
        return Hashed(self.stream())

    def freeze(self) -> None:
        """Remember the compressed bytes as those that were verified."""
        self._compressed_digest = self._hash_compressed()

    def compressed(self) -> Iterator[bytes]:
        """Yield the compressed bytes, which must still be those that were verified.

        Raises:
            InvalidInput: the file was changed meanwhile.
        """
        hasher = hashlib.sha256()
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            hasher.update(chunk)
            yield chunk
        if hasher.hexdigest() != self._compressed_digest:
            raise InvalidInput(f"manifest {self.digest}: changed while it was read")

    def _hash_compressed(self) -> str:
        hasher = hashlib.sha256()
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            hasher.update(chunk)
        return hasher.hexdigest()


class Delta:
    """The changes from a seed to the wanted tree: checked once, iterated as often as needed."""

    def __init__(
        self, wanted: CompressedManifest, seed: SealRecord | None, drift: Sequence[Drift]
    ) -> None:
        self._wanted = wanted
        self._seed = seed
        self._drift = drift
        self._kept: list[Change] | None = []
        self.needs = Needs()
        self.gone: set[bytes] = set()  # path fields of the seed's directories that go
        self.staying: dict[int, bytes] = {}  # paths that new hardlinks are to be linked to

    def check(self, directories: Container[bytes], *, entries: int, seed_entries: int) -> None:
        """Read both manifests; see to it that the wanted one is sound and fill ``needs``.

        ``directories`` holds the path fields of the seed's directories; ``entries``
        and ``seed_entries`` are how many lines the manifests should have.

        Raises:
            InvalidInput: the manifest is not the one the release names, or not that of a tree.
        """
        stream = self._wanted.verified()
        groups: dict[int, Group] = {}
        with stream.verifying(self._wanted.digest, f"manifest {self._wanted.digest}"):
            changes = vet(self._changes(stream), self.needs, directories, self.gone, groups)
            for change in changes:
                self._keep(change)
        self._wanted.freeze()
        if seed_entries + self.needs.added - self.needs.removed != entries:
            raise InvalidManifest(f"the manifest has not the {entries} entries its release says")
        self.staying = self._complete(groups)
        orphan = any_below(self._wanted.stream(), sorted(self.gone)) if self.gone else None
        if orphan is not None:
            shown = orphan.decode("ascii", "backslashreplace")
            raise InvalidManifest(f"{shown}: its parent is not a directory of the tree")

    def _complete(self, groups: dict[int, Group]) -> dict[int, bytes]:
        if all(group.names == group.nlink for group in groups.values()):
            return complete_groups(groups, (), ())
        changed = {change.field for change in self if HARDLINK.search(change.new or b"")}
        return complete_groups(groups, changed, known_lines(self._wanted.stream()))

    @property
    def drifted(self) -> frozenset[bytes]:
        """The path fields of the seed that are not as they were sealed."""
        return frozenset(one.field for one in self._drift)

    def _keep(self, change: Change) -> None:
        if self._kept is not None:
            self._kept.append(change)
            if len(self._kept) > _KEPT:
                self._kept = None

    def __iter__(self) -> Iterator[Change]:
        if self._kept is not None:
            return iter(self._kept)
        return self._changes(self._wanted.stream())

    def also(self, drift: Sequence[Drift]) -> None:
        """Take in paths that turned out not to be as sealed after the check."""
        if drift:
            found = {one.field: one for one in (*drift, *self._drift)}
            self._drift = sorted(found.values(), key=lambda one: one.field)
            self._kept = None
            drifted = self.drifted
            self.staying = {
                inode: path
                for inode, path in self.staying.items()
                if path_field(path) not in drifted
            }

    def _changes(self, wanted: Iterator[bytes] | Hashed) -> Iterator[Change]:
        if self._seed is None:
            yield from join_drift(compare([HEADER], wanted), self._drift)
            return
        with self._seed.manifest() as seed:
            yield from join_drift(compare(seed, wanted), self._drift)


class Totals(totals.Totals):
    """What the manifest of a tree adds up to.

    ``own_inodes`` counts the entries that are not shared between trees.
    """

    def __init__(self) -> None:
        super().__init__()
        self.own_inodes = 0

    def add(self, line: bytes) -> None:
        """Count ``line``."""
        super().add(line)
        self.own_inodes += line != HEADER and not is_shared(line)


def pack_manifest(stream: Iterable[bytes]) -> tuple[CompressedManifest, Totals]:
    """Compress a manifest that was just made, line by line, into memory."""
    packed: list[bytes] = []
    sums = Totals()
    made = Hashed(totals.counted(stream, sums))
    compress(made, packed.append)
    return CompressedManifest(io.BytesIO(b"".join(packed)), made.digest), sums
