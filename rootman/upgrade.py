"""Upgrading a store to a release: read, decide, act."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman import VERSION
from rootman.building import Building, SeedTree
from rootman.errors import Busy, RootmanError
from rootman.execute import Executor, explained
from rootman.fsops import open_dir
from rootman.manifest import field_path
from rootman.names import StageKind, StageName, tree_name
from rootman.objects import ObjectContent, Objects
from rootman.plan import (
    Room,
    Seed,
    check_release,
    check_room,
    choose_seed,
    falling_out,
    plan_known,
    plan_spare,
    plan_upgrade,
    without_spare,
)
from rootman.release import serialise
from rootman.seal import SealRecord
from rootman.session import recover
from rootman.store import STAGE_META, STAGE_ROOT, scan
from rootman.survey import find_drift
from rootman.usage import refuse_in_use
from rootman.wanted import CompressedManifest, Delta

if TYPE_CHECKING:
    from rootman.delta import Needs
    from rootman.release import Release
    from rootman.repo.repository import Repository
    from rootman.session import Session
    from rootman.state import StoreState
    from rootman.steps import Plan
    from rootman.survey import Drift


# A spare with more changed paths than this, and than a tenth of it, is cloned afresh.
_TRUSTED_DRIFT: Final = 100


@dataclass(frozen=True, slots=True)
class Options:
    """What the user may ask for."""

    allow_downgrade: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """What an upgrade did, or would do.

    ``needs`` is None where the tree was here already. ``seconds`` is the time until
    the switch was durable.
    """

    version: int
    was: int | None
    plan: Plan
    needs: Needs | None
    seconds: float


def upgrade(opened: Session, repository: Repository, options: Options) -> UpgradeResult:
    """Make the release that ``repository`` names, by default its newest, current.

    Raises:
        RootmanError: refused, or failed; the store is then as it was.
    """
    began = time.monotonic()
    release = repository.chosen_release()
    state = scan(opened.store)
    hardware = device_names(state.settings.compatible)
    check_release(
        state,
        release,
        hardware=hardware,
        allow_downgrade=options.allow_downgrade,
        rootman_version=VERSION,
    )
    plan = plan_known(state, release)
    if plan is not None:
        if not options.dry_run:
            Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
        return UpgradeResult(release.version, state.current, plan, None, time.monotonic() - began)
    result = _build(opened, repository, release, state, dry_run=options.dry_run, began=began)
    if not options.dry_run:
        leave_spare(opened, state, release.version)
    return result


def _build(
    opened: Session,
    repository: Repository,
    release: Release,
    state: StoreState,
    *,
    dry_run: bool,
    began: float,
) -> UpgradeResult:
    base = release.base
    with ExitStack() as stack, explained(tree_name(release.name, release.version)):
        seed, tree, drift = _find_seed(opened, state, stack)
        file = stack.enter_context(repository.open_manifest(base.manifest))
        wanted = CompressedManifest(file, base.manifest)
        delta = Delta(wanted, tree.record if tree else None, drift)
        directories = _Directories(tree)
        entries = tree.entries if tree else 0
        delta.check(directories, entries=base.entries, seed_entries=entries)
        room = _room(opened.store.fd)
        check_room(
            delta.needs, seed, room, directories=len(directories), manifest_size=base.manifest_size
        )
        plan = plan_upgrade(state, release.version, seed, delta.needs)
        objects = Objects(opened.fs, opened.store.objects, repository)
        building = Building(
            opened.store,
            opened.fs,
            opened.reporter,
            version=release.version,
            seed=tree,
            wanted=wanted,
            delta=delta,
            content=ObjectContent(opened.fs, objects, delta.needs.repeated()),
            objects=objects,
            size=base.size,
            release=serialise(release),
            forks=opened.forks,
        )
        if not dry_run:
            Executor(opened.store, opened.fs, opened.reporter, state, building=building).run(plan)
    seconds = time.monotonic() - began
    return UpgradeResult(release.version, state.current, plan, delta.needs, seconds)


def _find_seed(
    opened: Session, state: StoreState, stack: ExitStack
) -> tuple[Seed, SeedTree | None, list[Drift]]:
    """Return the seed, opened, and its drift; a spare that cannot be trusted is passed over."""
    seed = choose_seed(state)
    if seed.kind == "empty":
        return seed, None, []
    if seed.kind == "spare":
        try:
            tree, drift = _open_seed(opened, state, seed, stack)
        except (RootmanError, OSError) as error:
            reason = str(error)
        else:
            if len(drift) <= max(_TRUSTED_DRIFT, tree.entries // 10):
                return seed, tree, drift
            reason = f"{len(drift)} of its paths were changed"
        opened.reporter.warn(f"the spare cannot be trusted and is not used: {reason}")
        seed = choose_seed(without_spare(state))
    tree, drift = _open_seed(opened, state, seed, stack)
    return seed, tree, drift


def _open_seed(
    opened: Session, state: StoreState, seed: Seed, stack: ExitStack
) -> tuple[SeedTree, list[Drift]]:
    store = opened.store
    if seed.kind == "spare":
        stage = str(StageName(StageKind.SPARE, seed.version))
        root = open_dir(f"{stage}/{STAGE_ROOT}", dir_fd=store.staging)
        record_fd = open_dir(f"{stage}/{STAGE_META}", dir_fd=store.staging)
    else:
        root = open_dir(tree_name(state.settings.os_name, seed.version), dir_fd=store.fd)
        record_fd = open_dir(str(seed.version), dir_fd=store.trees)
    stack.callback(os.close, root)
    stack.callback(os.close, record_fd)
    record = SealRecord(record_fd, f"seal record of version {seed.version}")
    digests = record.digests()
    drift = find_drift(root, record, digests, forks=opened.forks)
    drifted = frozenset(one.field for one in drift)
    return SeedTree(record, record.summary().entries, digests, drifted), drift


def leave_spare(opened: Session, before: StoreState, version: int) -> None:
    """Prepare the seed of the next upgrade; a failure costs its speed, not this upgrade."""
    reporter = opened.reporter
    fallen = falling_out(before, version)
    if fallen is not None:
        try:
            refuse_in_use(opened.store.path, tree_name(before.settings.os_name, fallen))
        except Busy as busy:
            reporter.warn(f"{busy}: it stays where it is")
            fallen = None
    if before.current is None:
        return  # an installation; the first upgrade makes the spare
    state = scan(opened.store)
    try:
        Executor(opened.store, opened.fs, reporter, state, forks=opened.forks).run(
            plan_spare(state, fallen)
        )
    except RootmanError as error:
        reporter.warn(f"no spare was prepared, the next upgrade will clone: {error}")
        recover(opened)


def device_names(configured: str) -> frozenset[str]:
    """Return the hardware names this device goes by: the store's own and the devicetree's."""
    names = {configured} - {""}
    with suppress(OSError), open("/proc/device-tree/compatible", "rb") as file:
        names.update(name.decode("ascii", "replace") for name in file.read().split(b"\0") if name)
    return frozenset(names)


class _Directories:
    """The path fields of the directories of a seed; few of them are ever asked for."""

    def __init__(self, tree: SeedTree | None) -> None:
        self._paths = tree.digests.keys() if tree is not None else frozenset()

    def __contains__(self, field: object) -> bool:
        return isinstance(field, bytes) and os.fsdecode(field_path(field)) in self._paths

    def __len__(self) -> int:
        return len(self._paths)


def _room(fd: int) -> Room:
    found = os.fstatvfs(fd)
    # btrfs does not count inodes and says 0.
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)
