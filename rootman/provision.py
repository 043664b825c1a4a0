"""How what a release needs comes into a store: the manifest of the tree, and its content.

The manifest is that of base, or is put together of those of several bundles. Content from
near comes file by file as it is used. From far it comes in this order: a pack for each bundle,
what the store's own tree has elsewhere, and the rest object by object.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from rootman.comparison import known_lines
from rootman.delta import hash_prefix
from rootman.demand import Download
from rootman.downloads import keep_release, refuse_without_room
from rootman.entries import open_quietly, read_content
from rootman.errors import InvalidInput, NotFound
from rootman.execute import explained
from rootman.manifest import content_digest, parse_line
from rootman.objects import KEPT, MADE
from rootman.repo.layout import compressed_file
from rootman.repo.source import Missing
from rootman.supply import Supply, parts_of
from rootman.treedirs import TreeDirs
from rootman.walk import split
from rootman.wanted import CompressedManifest
from rootman.whole import Part, Whole, put_together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import ExitStack

    from rootman.choice import Choice
    from rootman.delta import Needs
    from rootman.manifest import Entry
    from rootman.objects import Objects
    from rootman.repo.repository import Repository
    from rootman.session import Session
    from rootman.store import Store
    from rootman.supply import OldTree


@dataclass(frozen=True, slots=True)
class Wanted:
    """The tree that is wanted: its manifest, what that adds up to, and those of its parts.

    ``others`` are the parts but for base; with none of them the manifest is that of base.
    """

    manifest: CompressedManifest
    whole: Whole
    others: tuple[Part, ...]


class Provision:
    """What a tree with the bundles of ``choice`` needs, each from its own manifest (BU-10).

    ``stack`` closes what is open in the end. Methods raise ``InvalidInput`` where the
    repository is not what it should be, ``Unreachable`` where it cannot be asked, and
    ``OSError``.
    """

    def __init__(
        self,
        opened: Session,
        repository: Repository,
        objects: Objects,
        choice: Choice,
        stack: ExitStack,
    ) -> None:
        self._fs = opened.fs
        self._reporter = opened.reporter
        self._repository = repository
        self._objects = objects
        self._stack = stack
        self._parts: list[Part] = []
        self._olds: Sequence[OldTree] = ()
        base, *others = choice.parts
        # Bundles that are the same come once.
        self._bundles = [base, *{one.manifest: one for one in others}.values()]
        self._supplies = [
            stack.enter_context(Supply(opened.fs, opened.reporter, repository, objects, bundle))
            for bundle in self._bundles
        ]
        self._fetched = 0

    @property
    def fetched(self) -> int:
        """How many bytes came from the repository: of content, and of packs as they are."""
        return self._fetched + sum(supply.fetched for supply in self._supplies)

    @property
    def uses_packs(self) -> bool:
        """Whether packs are better than files: they are far away, or not there."""
        return self._supplies[0].uses_packs

    def wanted(self, olds: Sequence[OldTree], *, room: int, keep: bool, rehearse: bool) -> Wanted:
        """Return the tree that is wanted. What is far away is fetched first.

        ``olds`` are the trees that packs may lead from, ``room`` is how many bytes
        the disk has. What is near is fetched, too, where it is to be kept. To ``rehearse``
        keeps nothing in the store.
        """
        parts, self._olds = self._parts, olds
        for bundle, supply in zip(self._bundles, self._supplies, strict=True):
            known = parts_of(olds, bundle.name)
            if rehearse:
                file = supply.passing_manifest(known, room=room, rehearse=True)
            else:
                file = supply.manifest(known, room=room, keep=keep)
            manifest = CompressedManifest(self._stack.enter_context(file), bundle.manifest)
            parts.append(Part(bundle, manifest))
        base = parts[0]
        if len(parts) == 1:
            it = base.bundle
            whole = Whole(it.manifest, it.manifest_size, it.entries, it.size)
            return Wanted(base.manifest, whole, ())
        refuse_without_room(base.bundle, room)
        whole, file = self._put_together(rehearse=rehearse)
        manifest = CompressedManifest(self._stack.enter_context(file), whole.manifest)
        return Wanted(manifest, whole, tuple(parts[1:]))

    def _put_together(self, *, rehearse: bool) -> tuple[Whole, BinaryIO]:
        """Return the manifest of all parts, in ``objects/`` unless this is to ``rehearse``."""
        base, *others = self._parts
        if rehearse:
            from tempfile import TemporaryFile

            file = cast("BinaryIO", TemporaryFile())  # noqa: SIM115  the stack closes it
            return put_together(base, others, file.write), file
        step = f"put together the manifests of {', '.join(part.bundle.name for part in others)}"
        self._reporter.step(step)
        with (
            explained(step),
            self._objects.arriving(MADE, lambda: compressed_file(whole.manifest)) as fd,
        ):
            whole = put_together(base, others, lambda data: self._fs.write(fd, data))
        return whole, self._objects.open(compressed_file(whole.manifest))

    def download(self, needs: Needs) -> Download:
        """Return what is still to come over a network of what ``needs`` sum up (HT-11).

        Content that no pack has is counted as it is, and comes compressed.
        """
        left = self._objects.left(needs.contents)
        if self._repository.is_near:
            return Download(here=left.total())
        packs = [supply.pack_to_come for supply in self._supplies]
        apart = [part for part, pack in zip(self._parts, packs, strict=True) if pack is None]
        size = needs.unique_bytes(None if len(apart) == len(packs) else _contents(apart))
        come = max(size - left[""] - left[KEPT], 0)
        manifests = sum(supply.manifest_to_come for supply in self._supplies)
        whole = sum(pack or 0 for pack in packs)
        kept = whole + min(sum(needs.largest), size)
        return Download(whole, come + manifests, kept, left.total())

    def fetch(self, wanted: Callable[[], Iterable[Entry]], needs: Needs) -> None:
        """Have the content of all that is ``wanted``, which ``needs`` sum up, in ``objects/``."""
        total = needs.fetch_bytes
        before = last = 0

        def report(done: int) -> None:
            nonlocal last
            last = before + done
            self._reporter.fetched(min(last, total), total)

        for part, supply in zip(self._parts, self._supplies, strict=True):
            # A pack from nothing has all there is, of which the seed has most.
            only = set(needs.contents) if self._olds and supply.leads_from_nothing else None
            supply.unpack(partial(_lines, part.manifest), report, only)
            before = last
        if self._olds:
            missing = self._objects.lacking(needs.contents)
            for tree in self._olds:
                with suppress(InvalidInput):  # the record of a spare that is not trusted
                    reuse(self._objects, tree, missing)
            if not missing:
                return
        if self._repository.is_near:
            self._take(wanted(), total)
        else:
            from rootman.fetching import fetch

            self._fetched += fetch(self._fs, self._objects, wanted(), report)

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
        self._fetched += done

    def keep(self, store: Store, release: bytes) -> None:
        """Keep the document of the release beside what was fetched."""
        keep_release(self._fs, store, self._objects, release)


def _contents(parts: Iterable[Part]) -> set[int]:
    """Return the hash prefixes of all content of these parts."""
    found = (content_digest(line) for part in parts for line in _lines(part.manifest))
    return {hash_prefix(digest) for digest in found if digest}


def _lines(manifest: CompressedManifest) -> Iterator[bytes]:
    return known_lines(manifest.stream())


def reuse(objects: Objects, tree: OldTree, missing: set[int]) -> None:
    """Copy what is ``missing``, by hash prefixes, and a tree has wherever into ``objects``.

    What is there then is not ``missing`` any more.

    Raises:
        InvalidInput: the record of the tree is damaged.
        OSError: it cannot be written.
    """
    if not missing:
        return
    with tree.record.manifest() as stream, TreeDirs(tree.root_fd) as dirs:
        for line in known_lines(stream):
            digest = content_digest(line)
            if not digest or hash_prefix(digest) not in missing:
                continue
            entry = parse_line(line)
            if objects.has(entry.sha256) or _copy(objects, entry, dirs):
                missing.discard(hash_prefix(entry.sha256))
                if not missing:
                    return


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
