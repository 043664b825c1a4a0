"""How the manifest of a bundle comes into a store, and what a pack has for its files.

The manifest of what the store's own tree has, too, is taken from there. Out of scope: what
several bundles make together, and the content that no pack has (``provision``).
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from rootman.downloads import copy_manifest, fetch_manifest, refuse_without_room
from rootman.errors import InvalidInput, NotFound, RootmanError
from rootman.execute import explained
from rootman.manifest import HEADER
from rootman.names import BASE
from rootman.objects import MADE, verified_content
from rootman.repo.layout import compressed_file
from rootman.repo.source import Missing
from rootman.textstream import compress

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    from rootman.fsops import Fs
    from rootman.objects import Objects
    from rootman.packs.delivery import Delivery
    from rootman.release import Bundle
    from rootman.repo.repository import Repository
    from rootman.report import Reporter
    from rootman.seal import SealRecord

# Beyond what is in it a pack has numbers, and a record for each file.
_PACK_FRAMES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class OldTree:
    """A tree that there is already: its seal record and its root, both open."""

    record: SealRecord
    root_fd: int


@dataclass(frozen=True, slots=True)
class OldPart:
    """What a tree that there is already has of a bundle: the manifest ``digest``."""

    tree: OldTree
    bundle: str
    digest: str

    def manifest(self) -> AbstractContextManager[Iterator[bytes]]:
        """Open its manifest as a stream."""
        return self.tree.record.part(self.bundle)


def parts_of(trees: Iterable[OldTree], bundle: str) -> list[OldPart]:
    """Return what ``trees`` have of a bundle, each manifest once.

    Raises:
        InvalidInput: the record of one is damaged.
    """
    found: dict[str, OldPart] = {}
    for tree in trees:
        digest = tree.record.summary().parts.get(bundle)
        if digest is not None:
            found.setdefault(digest, OldPart(tree, bundle, digest))
    return list(found.values())


class Supply:
    """The manifest of ``bundle`` and what packs have for it; a context manager.

    ``fetched`` counts bytes that came from the repository as a pack. What is still to come is
    known when there is the manifest: ``pack_to_come`` the bytes of the pack, None where there is
    none or nobody says, ``manifest_to_come`` those of a manifest that comes by itself.

    Methods raise ``InvalidInput`` where the repository is not what it should be,
    ``Unreachable`` where it cannot be asked, and ``OSError``.
    """

    def __init__(
        self, fs: Fs, reporter: Reporter, repository: Repository, objects: Objects, bundle: Bundle
    ) -> None:
        self._fs = fs
        self._reporter = reporter
        self._repository = repository
        self._objects = objects
        self._bundle = bundle
        self._delivery: Delivery | None = None
        self._old: OldPart | None = None  # that the delivery leads from
        self.fetched = 0
        self.pack_to_come: int | None = None
        self.manifest_to_come = 0

    def manifest(self, olds: Sequence[OldPart], *, room: int, keep: bool) -> BinaryIO:
        """Return the compressed manifest, open. What is far away is fetched first.

        ``olds`` are what the store has of the bundle, the likely first, ``room`` is how many
        bytes the disk has. What is near is fetched, too, where it is to be kept.
        """
        if not keep and not self.uses_packs:
            return self._repository.open_manifest(self._bundle.manifest)
        refuse_without_room(self._bundle, room)
        step = f"fetch the manifest {self._bundle.manifest}"
        self._reporter.step(step)
        with explained(step):
            found = self._known(olds)
            if found is None and self.uses_packs:
                found = self._by_pack(olds)
            if found is None and not self._repository.is_complete:
                raise self._no_way(olds)
            return found or fetch_manifest(
                self._fs, self._objects, self._repository, self._bundle, room=room
            )

    @property
    def uses_packs(self) -> bool:
        """Whether a pack is better than files: they are far away, or not there."""
        return not self._repository.is_near or not self._repository.is_complete

    def _no_way(self, olds: Sequence[OldPart]) -> NotFound:
        version = olds[0].tree.record.summary().version if olds else None
        of = "" if self._bundle.name == BASE else f" of {self._bundle.name}"
        here = f"version {version}" if version else "nothing"
        return NotFound(
            f"{self._repository.location}: has no pack{of} that leads from {here}",
            hint=f"rootman export REPO --from {version or 'empty'}",
        )

    def _known(self, olds: Sequence[OldPart]) -> BinaryIO | None:
        """Return the manifest from a tree that has it, kept in ``objects/``, if one has it."""
        name = compressed_file(self._bundle.manifest)
        for old in olds:
            if old.digest == self._bundle.manifest:
                with suppress(InvalidInput):  # its record is damaged
                    with self._objects.arriving(MADE, lambda: name) as fd:
                        self._copy(old, partial(self._fs.write, fd))
                    return self._objects.open(name)
        return None

    def _copy(self, old: OldPart, write: Callable[[bytes], object]) -> None:
        with old.manifest() as stream:
            what = f"manifest {old.digest} of the store's own tree"
            compress(verified_content(stream, what, old.digest, self._bundle.manifest_size), write)

    def passing_manifest(
        self, olds: Sequence[OldPart], *, room: int, rehearse: bool = False
    ) -> BinaryIO:
        """Return the compressed manifest, open, without keeping anything in the store.

        To ``rehearse`` is to take it from where ``manifest`` would, and to learn what is to come.
        """
        if self._repository.is_near and self._repository.is_complete:
            return self._repository.open_manifest(self._bundle.manifest)
        from tempfile import TemporaryFile

        refuse_without_room(self._bundle, room)
        file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115  the caller closes it
        ways: list[Callable[[Callable[[bytes], object]], None]] = [
            *(partial(self._copy, old) for old in olds if old.digest == self._bundle.manifest),
            self._copy_kept,
        ]
        if rehearse or not self._repository.is_complete:
            ways += [partial(self._rehearse, old) for old in self._origins(olds)]
        for way in ways:
            with suppress(InvalidInput, FileNotFoundError):
                way(file.write)
                return file
            _empty(file)
        if not self._repository.is_complete:
            raise self._no_way(olds)

        def write(source: BinaryIO) -> None:
            _empty(file)
            copy_manifest(source, self._bundle, file.write)

        self._repository.obtain_manifest(self._bundle.manifest, write)
        self.manifest_to_come = file.tell()
        return file

    def _copy_kept(self, write: Callable[[bytes], object]) -> None:
        """Copy the manifest that an earlier process left."""
        with self._objects.open(compressed_file(self._bundle.manifest)) as file:
            copy_manifest(file, self._bundle, write)

    def _rehearse(self, old: OldPart | None, write: Callable[[bytes], object]) -> None:
        """Make the manifest by a pack of which nothing is kept.

        Raises:
            Missing: there is none.
        """
        delivery = self._order(old, keep=False)
        if delivery is None:
            raise Missing("there is no such pack")
        with closing(delivery):
            size = delivery.to_come
            self._revise(delivery, old, write)
        from rootman.packs.delivery import part_name

        name = part_name(old.digest if old else "", self._bundle.manifest)
        if size is not None:
            self.pack_to_come = max(size - self._objects.kept(name), 0)

    def _by_pack(self, olds: Sequence[OldPart]) -> BinaryIO | None:
        """Return the manifest that a pack makes, None where there is no pack that does."""
        for old in self._origins(olds):
            found = self._by_pack_from(old)
            if found is not None:
                self._old = old
                return found
        return None

    def _origins(self, olds: Sequence[OldPart]) -> Sequence[OldPart | None]:
        """Return what packs may lead from, the likely first.

        That from nothing is more than objects are, but makes whatever a tree lacks (OF-4).
        """
        return [*olds, None] if not self._repository.is_complete else olds or [None]

    def _by_pack_from(self, old: OldPart | None) -> BinaryIO | None:
        for _ in range(2):
            delivery = self._order(old)
            if delivery is None:
                return None
            try:
                found = self._manifest_of(delivery, old)
            except InvalidInput as error:
                delivery.discard()
                if not delivery.is_old:
                    self._reporter.warn(f"{error}: it is not used")
                    return None
                continue  # what a power cut tore; now from the beginning
            except BaseException:
                delivery.close()
                raise
            self._delivery = delivery
            with suppress(RootmanError):  # whoever reads it will be told
                self.pack_to_come = delivery.to_come
            return found
        return None

    def _manifest_of(self, delivery: Delivery, old: OldPart | None) -> BinaryIO:
        """Return the manifest that a pack makes, kept in ``objects/``."""
        name = compressed_file(self._bundle.manifest)
        with self._objects.arriving(MADE, lambda: name) as fd:
            self._revise(delivery, old, lambda data: self._fs.write(fd, data))
        return self._objects.open(name)

    def _revise(
        self, delivery: Delivery, old: OldPart | None, write: Callable[[bytes], object]
    ) -> None:
        """Give the manifest that the pack makes, compressed, to ``write``."""
        size = self._bundle.manifest_size
        if old is None:
            delivery.manifest(iter([HEADER]), size, write)
            return
        with old.manifest() as stream:
            delivery.manifest(stream, size, write)

    def _order(self, old: OldPart | None, *, keep: bool = True) -> Delivery | None:
        from rootman.packs.delivery import Delivery

        origin = old.digest if old else ""
        new = self._bundle.manifest
        limit = self._bundle.size + self._bundle.manifest_size + _PACK_FRAMES
        fetch = partial(self._repository.open_pack, origin, new)
        try:
            return Delivery(
                self._fs,
                self._objects,
                origin,
                new,
                fetch,
                limit=limit,
                keep=keep and not self._repository.is_near,
            )
        except Missing:
            return None

    @property
    def leads_from_nothing(self) -> bool:
        """Whether the pack, if there is one, leads from no tree."""
        return self._old is None

    def unpack(
        self,
        lines: Callable[[], Iterator[bytes]],
        report: Callable[[int], None],
        only: Container[int] | None = None,
    ) -> None:
        """Have in ``objects/`` what the pack has, if there is one.

        ``lines`` returns those of the bundle's manifest. Of content it is ``only`` that with
        these hash prefixes, where they are given.
        """
        delivery = self._delivery
        if delivery is None:
            return
        try:
            root_fd = self._old.tree.root_fd if self._old else None
            delivery.files(lines(), root_fd, report, only)
        except InvalidInput as error:
            delivery.discard()
            self._delivery = self._anew() if delivery.is_old else None
            if self._delivery is None:
                self._reporter.warn(f"{error}: the rest comes file by file")
            self.unpack(lines, report, only)
        self.fetched += delivery.fetched

    def _anew(self) -> Delivery | None:
        """Return the pack from its beginning, its manifest read, if there is one that is sound."""
        delivery = self._order(self._old)
        if delivery is None:
            return None
        try:
            self._revise(delivery, self._old, lambda _: None)
        except InvalidInput:
            delivery.discard()
            return None
        return delivery

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._delivery is not None:
            self._delivery.close()


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()
