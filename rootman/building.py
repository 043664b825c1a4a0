"""Building a new tree in staging, from its seed to the record of its seal."""

from __future__ import annotations

import os
import time
from array import array
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from rootman.apply import Applier
from rootman.clone import clone_tree, misplaced
from rootman.delta import splice, wanted_content
from rootman.edits import compose
from rootman.entries import make_file
from rootman.fsops import opened
from rootman.manifest import ROOT, field_path
from rootman.merge.defaults import keep_defaults
from rootman.merge.paths import NO_CONFIG, ConfigPaths
from rootman.names import StageKind, StageName
from rootman.seal import (
    SealRecord,
    pack_digests,
    pack_edits,
    pack_inodes,
    pack_stamps,
    stamps_without,
)
from rootman.state import Seal
from rootman.statepaths import NO_STATE, StateRecord
from rootman.store import (
    CONFIG_PATHS,
    DIGESTS_FILE,
    EDITS_FILE,
    INODES_FILE,
    MANIFEST_FILE,
    NOTE_FILE,
    RELEASE_FILE,
    SEAL_FILE,
    STAGE_ROOT,
    STAGE_SEAL,
    STAMPS_FILE,
    STATE_PATHS,
    part_file,
)
from rootman.survey import digests_of, stamps_of, whole_groups

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from contextlib import AbstractContextManager

    from rootman.apply import Content
    from rootman.comparison import Change
    from rootman.fsops import Fs
    from rootman.layer.layering import Layering
    from rootman.merge.configuration import ConfigMerge
    from rootman.merge.planning import MergePlan
    from rootman.names import TreeNumber
    from rootman.provision import Provision
    from rootman.report import Reporter
    from rootman.store import Store
    from rootman.survey import Check
    from rootman.wanted import CompressedManifest, Delta

# Below this many directories forking costs more than it saves.
_FORK_FROM: Final = 512
# Each upgrade writes all edits again, so that their manifest gives way to a new one when they
# are a part of it that is worth it, and never are more than memory should hold.
_EDITED_PART: Final = 16
_FEW_EDITS: Final = 64
_MOST_EDITS: Final = 8192


@dataclass(frozen=True, slots=True)
class SeedTree:
    """A tree that another is made from: its seal record, open, its root, and its quick check.

    ``kept`` are the inodes of paths that gave way to local configuration, by path fields.
    """

    record: SealRecord
    root_fd: int
    entries: int
    digests: dict[str, bytes]
    check: Check
    kept: dict[bytes, int] = field(default_factory=dict)


@dataclass(slots=True)
class Building:
    """The construction of one tree: what the steps from ``Fetch`` to ``Record`` work on.

    ``size`` is the content of the wanted tree in bytes, ``release`` the document to
    keep beside its record; ``content`` makes files, ``supply`` has what
    must be fetched first, where that is needed. ``parts`` and ``bundles`` are those of its
    seal, ``others`` the manifests of the parts but for base. ``config`` are the config
    paths, ``merge`` has the local changes there, ``carried`` is what was carried over in the
    end, ``layering`` has the packages to be installed. ``state`` is what it wants of the state.
    Methods raise ``OSError``, and ``RootmanError`` where the repository,
    or what is here, is not what it should be.
    """

    store: Store
    fs: Fs
    reporter: Reporter
    number: TreeNumber
    seed: SeedTree | None
    wanted: CompressedManifest
    delta: Delta
    content: Content
    supply: Provision | None
    size: int
    release: bytes | None
    forks: int
    parts: Mapping[str, str]
    bundles: tuple[str, ...] = ()
    kind: StageKind = StageKind.BUILDING
    others: tuple[CompressedManifest, ...] = ()
    config: ConfigPaths = NO_CONFIG
    merge: ConfigMerge | None = None
    carried: MergePlan | None = None
    layering: Layering | None = None
    state: StateRecord = NO_STATE
    _inodes: array[int] = field(default_factory=lambda: array("Q"))
    _touched: list[str] = field(default_factory=list)
    _stamps: dict[str, int] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """The name of this tree's stage."""
        return str(StageName(self.kind, self.number))

    def _below(self, name: str) -> AbstractContextManager[int]:
        return opened(f"{self.stage}/{name}", dir_fd=self.store.staging)

    def fetch(self) -> None:
        """Have all content that the seed lacks in ``objects/``."""
        if self.supply is not None:
            self.supply.fetch(
                lambda: wanted_content(self.delta, self.delta.staying),
                self.delta.needs,
            )

    def keep(self) -> None:
        """Keep the release beside what was fetched."""
        if self.supply is not None and self.release is not None:
            self.supply.keep(self.store, self.release)

    def take_spare(self, spare: str) -> None:
        """Make the stage ``spare`` this tree's own."""
        staging = self.store.staging
        self.fs.move(spare, self.stage, source_fd=staging, target_fd=staging)
        if self.seed is not None:
            self._stamps = self.seed.check.stamps

    def start_empty(self) -> None:
        """Make an empty stage."""
        self.fs.mkdir(self.stage, 0o700, dir_fd=self.store.staging)
        self.fs.mkdir(f"{self.stage}/{STAGE_ROOT}", 0o755, dir_fd=self.store.staging)

    def clone(self, source_fd: int, seed: SeedTree) -> None:
        """Clone the tree ``source_fd`` into a new stage, leaving out what drifted in it."""
        self.start_empty()
        with self._below(STAGE_ROOT) as target:
            cloned = clone_tree(
                self.fs,
                source_fd,
                target,
                seed.record,
                entries=seed.entries,
                moments=seed.check.moments,
                skip=self.delta.drifted,
                kept=seed.kept,
                forks=self.forks,
            )
            self._stamps = stamps_of(target, seed.check.stamps.keys() - cloned.mixed)
            left_out = [*cloned.left_out, *misplaced(target, seed.record, seed.digests, cloned)]
        if left_out:
            self.delta.also(whole_groups(left_out, seed.record))

    def apply(self) -> None:
        """Turn the stage's tree into the wanted one."""
        with self._below(STAGE_ROOT) as root:
            applier = Applier(self.fs, root, self.content, self.delta.staying)
            applier.apply(self.delta)
        self._inodes = applier.inodes
        self._touched = sorted(os.fsdecode(path or ROOT) for path in applier.touched)

    def record(self) -> None:
        """Write the seal record beside the tree."""
        self.fs.mkdir(f"{self.stage}/{STAGE_SEAL}", 0o700, dir_fd=self.store.staging)
        inodes = splice(
            self.seed.record.inodes() if self.seed else array("Q"), self.delta, self._inodes
        )
        edits = self._edits()
        seal = Seal(
            version=self.number.version,
            revision=self.number.revision,
            manifest=self.wanted.digest,
            entries=len(inodes),
            size=self.size,
            sealed_at=int(time.time()),
            edits=len(edits or ()),
            parts=self.parts,
            bundles=self.bundles,
        )
        digests, stamps = self._look()
        files = {
            INODES_FILE: pack_inodes(inodes),
            DIGESTS_FILE: pack_digests(digests),
            STAMPS_FILE: pack_stamps(stamps, digests),
            SEAL_FILE: seal.serialise(),
        }
        if self.release is not None:
            files[RELEASE_FILE] = self.release
        if self.config:
            files[CONFIG_PATHS] = self.config.serialise()
        if self.state != NO_STATE:
            files[STATE_PATHS] = self.state.serialise()
        if edits:
            files[EDITS_FILE] = pack_edits(edits)
        with self._below(STAGE_SEAL) as fd:
            if self.seed is None or edits is None:
                make_file(self.fs, self.wanted.compressed(), MANIFEST_FILE.encode(), dir_fd=fd)
            else:
                record = self.seed.record.dir_fd
                self.fs.link(MANIFEST_FILE, MANIFEST_FILE, source_fd=record, target_fd=fd)
            for part in self.others:
                make_file(self.fs, part.compressed(), part_file(part.digest).encode(), dir_fd=fd)
            for name, data in files.items():
                make_file(self.fs, iter([data]), name.encode(), dir_fd=fd)
            self._keep_defaults(fd)

    def _keep_defaults(self, record_fd: int) -> None:
        """Keep the configuration of the release, whatever becomes of it in the tree (ST-22)."""
        with self._below(STAGE_ROOT) as root:
            keep_defaults(self.fs, self.config, root_fd=root, record_fd=record_fd)

    def merge_configuration(self) -> None:
        """Carry over the local changes of configuration; the record stays that of the release.

        It is noted, to be done again at shutdown (MG-17).
        Directories that change have no stamp any more: it may be of the same tick of the clock.
        """
        if self.merge is None:
            return
        from rootman.merge.configuration import note_of  # many releases name no configuration

        with (
            opened(self.stage, dir_fd=self.store.staging) as stage,
            self._below(STAGE_ROOT) as root,
            self._below(STAGE_SEAL) as record_fd,
        ):
            carried = self.merge.carry(self.fs, stage, root)
            self.carried = carried.plan
            record = SealRecord(record_fd, self.stage)
            note = note_of(self.merge, carried, root, record)
            make_file(self.fs, iter([note.serialise()]), NOTE_FILE.encode(), dir_fd=record_fd)
            if carried.touched:
                touched = [os.fsdecode(path or ROOT) for path in carried.touched]
                self._replace_stamps(stamps_without(record, touched), record_fd)

    def install_layer(self) -> None:
        """Have the tree's package manager install the layer; the record stays the release's.

        What it changed is noted beside it (ST-28), and no directory that it touched has a stamp.
        """
        if self.layering is None:
            return
        from rootman.layer.layering import StagedTree

        with (
            opened(self.stage, dir_fd=self.store.staging) as stage,
            self._below(STAGE_ROOT) as root,
            self._below(STAGE_SEAL) as record_fd,
        ):
            record = SealRecord(record_fd, self.stage)
            path = self.store.stage_path(self.stage)
            staged = StagedTree(self.fs, path, stage, root, record)
            new = (field_path(one.field) for one in self.delta if one.new is not None)
            self.layering.install(staged, new, self.reporter)
            stamps = self.layering.note(staged, self.store, forks=self.forks)
            self._replace_stamps(pack_stamps(stamps, record.digests()), record_fd)

    def _replace_stamps(self, data: bytes, record_fd: int) -> None:
        self.fs.unlink(STAMPS_FILE, dir_fd=record_fd)
        make_file(self.fs, iter([data]), STAMPS_FILE.encode(), dir_fd=record_fd)

    def _edits(self) -> list[Change] | None:
        """Return the edits of the manifest that the seed keeps to the wanted one, if few."""
        if self.seed is None:
            return None
        most = min(max(self.seed.entries // _EDITED_PART, _FEW_EDITS), _MOST_EDITS)
        lines = (change for change in self.delta if change.old != change.new)
        found = list(islice(compose(self.seed.record.edits(), lines), most + 1))
        return found if len(found) <= most else None

    def _look(self) -> tuple[dict[str, bytes], dict[str, int]]:
        """Return digests and stamps of all directories: the seed's, and new where it changed."""
        digests = dict(self.seed.digests) if self.seed else {}
        for gone in _paths(self.delta.gone):
            digests.pop(gone, None)
        forks = self.forks if len(self._touched) > _FORK_FROM else 1
        with self._below(STAGE_ROOT) as root:
            touched, stamps = digests_of(root, self._touched, forks=forks)
        return {**digests, **touched}, {**self._stamps, **stamps}


def _paths(fields: Collection[bytes]) -> Iterator[str]:
    return (os.fsdecode(field_path(one)) for one in fields)
