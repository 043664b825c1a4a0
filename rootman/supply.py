"""How what a release needs comes into a store: its manifest, and the content of its files.

From near, file by file as it is used. From far, in this order: a pack that leads from
the store's own tree, what that tree has elsewhere, and the rest object by object.
"""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from rootman.comparison import known_lines
from rootman.delta import hash_prefix
from rootman.downloads import copy_manifest, fetch_manifest, keep_release, refuse_without_room
from rootman.entries import open_quietly, read_content
from rootman.errors import InvalidInput, NotFound
from rootman.execute import explained
from rootman.manifest import HEADER, content_digest, parse_line
from rootman.packs.delivery import Delivery
from rootman.repo.layout import compressed_file
from rootman.repo.source import Missing
from rootman.treedirs import TreeDirs, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from rootman.delta import Needs
    from rootman.fsops import Fs
    from rootman.manifest import Entry
    from rootman.objects import Objects
    from rootman.release import Bundle
    from rootman.repo.repository import Repository
    from rootman.report import Reporter
    from rootman.seal import SealRecord
    from rootman.store import Store

# Beyond what is in it a pack has numbers, and a record for each file.
_PACK_FRAMES: Final = 1 << 20


class Supply:
    """The manifest of ``bundle`` and the content that it needs; a context manager.

    ``fetched`` counts bytes that came from the repository: of content, and of a pack as
    it is. Methods raise ``InvalidInput`` where the repository is not what it should be,
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
        self.fetched = 0

    def manifest(self, old: SealRecord | None, *, room: int, keep: bool) -> BinaryIO:
        """Return the compressed manifest, open. What is far away is fetched first.

        ``old`` is the record of the tree that a pack may lead from, ``room`` how many
        bytes the disk has. What is near is fetched, too, where it is to be kept.
        """
        if not keep and not self.uses_packs:
            return self._repository.open_manifest(self._bundle.manifest)
        refuse_without_room(self._bundle, room)
        step = f"fetch the manifest {self._bundle.manifest}"
        self._reporter.step(step)
        with explained(step):
            found = self._by_pack(old) if self.uses_packs else None
            if found is None and not self._repository.is_complete:
                raise self._no_way(old)
            return found or fetch_manifest(
                self._fs, self._objects, self._repository, self._bundle, room=room
            )

    @property
    def uses_packs(self) -> bool:
        """Whether a pack is better than files: they are far away, or not there."""
        return not self._repository.is_near or not self._repository.is_complete

    def _no_way(self, old: SealRecord | None) -> NotFound:
        where = self._repository.location
        here = f"version {old.summary().version}" if old else "nothing"
        return NotFound(
            f"{where}: has no pack that leads from {here}",
            hint=f"rootman export REPO --from {old.summary().version if old else 'empty'}",
        )

    def passing_manifest(self, old: SealRecord | None, *, room: int) -> BinaryIO:
        """Return the compressed manifest, open, without keeping anything in the store."""
        if self._repository.is_near and self._repository.is_complete:
            return self._repository.open_manifest(self._bundle.manifest)
        from tempfile import TemporaryFile

        refuse_without_room(self._bundle, room)
        file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115  the caller closes it
        if not self._repository.is_complete:
            delivery = self._order(old)
            if delivery is None:
                raise self._no_way(old)
            with closing(delivery):
                self._revise(delivery, old, file.write)
            return file

        def write(source: BinaryIO) -> None:
            file.seek(0)
            file.truncate()
            copy_manifest(source, self._bundle, file.write)

        self._repository.obtain_manifest(self._bundle.manifest, write)
        return file

    def _by_pack(self, old: SealRecord | None) -> BinaryIO | None:
        """Return the manifest that a pack makes, None where there is no pack that does."""
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
            return found
        return None

    def _manifest_of(self, delivery: Delivery, old: SealRecord | None) -> BinaryIO:
        """Return the manifest that a pack makes, kept in ``objects/``."""
        name = compressed_file(self._bundle.manifest)
        with self._objects.arriving(name) as fd:
            self._revise(delivery, old, lambda data: self._fs.write(fd, data))
        return self._objects.open(name)

    def _revise(
        self, delivery: Delivery, old: SealRecord | None, write: Callable[[bytes], object]
    ) -> None:
        """Give the manifest that the pack makes, compressed, to ``write``."""
        size = self._bundle.manifest_size
        if old is None:
            delivery.manifest(iter([HEADER]), size, write)
            return
        with old.manifest() as stream:
            delivery.manifest(stream, size, write)

    def _order(self, old: SealRecord | None) -> Delivery | None:
        origin = old.summary().manifest if old else ""
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
                keep=not self._repository.is_near,
            )
        except Missing:
            return None

    def fetch(
        self,
        wanted: Callable[[], Iterable[Entry]],
        lines: Iterator[bytes],
        old: tuple[SealRecord, int] | None,
        needs: Needs,
    ) -> None:
        """Have the content of all that is ``wanted``, which ``needs`` sum up, in ``objects/``.

        ``lines`` are those of the new manifest, ``old`` is the record and the root of
        the tree that there is already.
        """
        total = needs.fetch_bytes

        def report(done: int) -> None:
            self._reporter.fetched(done, total)

        if self._delivery is not None:
            self._unpack(self._delivery, lines, old[1] if old else None, report)
        if self.uses_packs and old is not None:
            missing = self._objects.lacking(needs.contents)
            if not missing or not reuse(self._objects, old, missing):
                return
        if self._repository.is_near:
            self._take(wanted(), total)
        else:
            from rootman.fetching import fetch

            self.fetched += fetch(self._fs, self._objects, wanted(), report)

    def _take(self, wanted: Iterable[Entry], total: int) -> None:
        """Have what is near, one after the other."""
        done = 0
        for entry in wanted:
            try:
                done += self._objects.ensure(entry)
            except Missing as error:
                if self._repository.is_complete:
                    raise
                path = entry.path.decode("ascii", "backslashreplace")
                raise NotFound(
                    f"{self._repository.location}: does not make {path}:"
                    " its old file was changed, or is another",
                    hint="export the release from empty",
                ) from error
            self._reporter.progress(done, total)
        self.fetched += done

    def keep(self, store: Store, release: bytes) -> None:
        """Keep the document of the release beside what was fetched."""
        keep_release(self._fs, store, self._objects, release)

    def _unpack(
        self,
        delivery: Delivery,
        lines: Iterator[bytes],
        root_fd: int | None,
        report: Callable[[int], None],
    ) -> None:
        try:
            delivery.files(lines, root_fd, report)
        except InvalidInput as error:
            self._reporter.warn(f"{error}: the rest comes file by file")
            delivery.discard()
        self.fetched += delivery.fetched

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._delivery is not None:
            self._delivery.close()


def reuse(objects: Objects, old: tuple[SealRecord, int], missing: set[int]) -> bool:
    """Copy what is ``missing``, by hash prefixes, and a tree has at another path into ``objects``.

    Return whether any of it is still missing.

    Raises:
        InvalidInput: the record of the tree is damaged.
        OSError: it cannot be written.
    """
    record, root_fd = old
    with record.manifest() as stream, TreeDirs(root_fd) as dirs:
        for line in known_lines(stream):
            digest = content_digest(line)
            if not digest or hash_prefix(digest) not in missing:
                continue
            entry = parse_line(line)
            if objects.has(entry.sha256) or _copy(objects, entry, dirs):
                missing.discard(hash_prefix(entry.sha256))
                if not missing:
                    return False
    return True


def _copy(objects: Objects, entry: Entry, dirs: TreeDirs) -> bool:
    """Copy one file of a tree into ``objects`` if it is what it was; return whether it is."""
    parent, name = split(entry.path)
    try:
        source = open_quietly(name, dir_fd=dirs.fd(parent))
    except OSError:  # it was removed, or is in the way of no one
        return False
    try:
        objects.put(entry, read_content(source))
    except InvalidInput:
        return False  # it was changed, and comes from elsewhere
    finally:
        os.close(source)
    return True
