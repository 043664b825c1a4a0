"""Upgrading a store to a release: read, decide, act."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rootman import VERSION
from rootman.building import Building, SeedTree
from rootman.errors import Busy, InvalidInput, RootmanError
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
    plan_download,
    plan_known,
    plan_spare,
    plan_upgrade,
    without_spare,
)
from rootman.release import serialise
from rootman.seal import SealRecord
from rootman.session import read_state, recover_quietly
from rootman.store import STAGE_META, STAGE_ROOT
from rootman.supply import Supply
from rootman.survey import Check
from rootman.wanted import CompressedManifest, Delta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootman.delta import Drift, Needs
    from rootman.release import Bundle, Release
    from rootman.repo.repository import Repository
    from rootman.session import Session
    from rootman.state import StoreState
    from rootman.steps import Plan
    from rootman.store import Store


# A spare with more changed paths than this, and than a tenth of it, is cloned afresh.
_TRUSTED_DRIFT: Final = 100


@dataclass(frozen=True, slots=True)
class Options:
    """What the user may ask for."""

    allow_downgrade: bool = False
    dry_run: bool = False
    download_only: bool = False


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """What an upgrade did, or would do.

    ``needs`` is None where the tree was here already. ``seconds`` is the time until
    the switch was durable. ``retired`` is the version that became the spare,
    ``fetched`` the bytes that came from the repository: of content, or of a pack.
    """

    version: int
    was: int | None
    plan: Plan
    needs: Needs | None
    seconds: float
    retired: int | None = None
    fetched: int = 0


def upgrade(opened: Session, repository: Repository, options: Options) -> UpgradeResult:
    """Make the release that ``repository`` names, by default its newest, current.

    Raises:
        RootmanError: refused, or failed; the store is then as it was.
    """
    began = time.monotonic()
    release = repository.chosen_release()
    state = read_state(opened)
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
        if options.download_only:
            plan = ()
        if not options.dry_run:
            Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
        return UpgradeResult(release.version, state.current, plan, None, time.monotonic() - began)
    result = _build(opened, repository, release, state, options, began=began)
    if options.download_only:
        return result
    if options.dry_run:
        return replace(result, retired=falling_out(state, release.version))
    return replace(result, retired=leave_spare(opened, state, release.version))


def _build(
    opened: Session,
    repository: Repository,
    release: Release,
    state: StoreState,
    options: Options,
    *,
    began: float,
) -> UpgradeResult:
    base = release.base
    with ExitStack() as stack, explained(tree_name(release.name, release.version)):
        objects = Objects(opened.fs, opened.store.objects, repository)
        supply = stack.enter_context(Supply(opened.fs, opened.reporter, repository, objects, base))
        room = _room(opened.store.fd)
        old = _old_record(opened, state, stack) if supply.uses_packs else None
        if options.dry_run:
            file = supply.passing_manifest(old, room=room.free_bytes)
        else:
            file = supply.manifest(old, room=room.free_bytes, keep=options.download_only)
        wanted = CompressedManifest(stack.enter_context(file), base.manifest)
        seed, tree, delta = _find_seed(opened, state, wanted, base, stack)
        directories = len(tree.digests) if tree else 0
        check_room(
            delta.needs,
            seed,
            room,
            directories=directories,
            manifest_size=base.manifest_size,
        )
        if options.download_only:
            plan = plan_download(release.version, delta.needs)
        else:
            plan = plan_upgrade(state, release.version, seed, delta.needs)
        building = Building(
            opened.store,
            opened.fs,
            opened.reporter,
            version=release.version,
            seed=tree,
            wanted=wanted,
            delta=delta,
            content=ObjectContent(opened.fs, objects, delta.needs.repeated()),
            supply=supply,
            size=base.size,
            release=serialise(release),
            forks=opened.forks,
        )
        if not options.dry_run:
            Executor(opened.store, opened.fs, opened.reporter, state, building=building).run(plan)
    seconds = time.monotonic() - began
    return UpgradeResult(
        release.version, state.current, plan, delta.needs, seconds, fetched=supply.fetched
    )


def _old_record(opened: Session, state: StoreState, stack: ExitStack) -> SealRecord | None:
    """Return the record of the seed that is likely to be used, None where there is none."""
    seed = choose_seed(state)
    if seed.kind == "empty":
        return None
    with suppress(RootmanError, OSError):  # of a spare that will not be trusted
        record_fd = _open_record(opened.store, seed)
        stack.callback(os.close, record_fd)
        record = SealRecord(record_fd, f"seal record of version {seed.version}")
        record.summary()
        return record
    return None


def _open_record(store: Store, seed: Seed) -> int:
    if seed.kind == "spare":
        stage = str(StageName(StageKind.SPARE, seed.version))
        return open_dir(f"{stage}/{STAGE_META}", dir_fd=store.staging)
    return open_dir(str(seed.version), dir_fd=store.trees)


def _find_seed(
    opened: Session,
    state: StoreState,
    wanted: CompressedManifest,
    base: Bundle,
    stack: ExitStack,
) -> tuple[Seed, SeedTree | None, Delta]:
    """Return the seed, opened, and its delta; a spare that cannot be trusted is passed over."""
    seed = choose_seed(state)
    if seed.kind == "empty":
        return seed, None, _checked_delta(wanted, base, None, ())
    if seed.kind == "spare":
        try:
            return seed, *_try_seed(opened, state, seed, wanted, base, stack=stack)
        except _UntrustedSeed as reason:
            opened.reporter.warn(f"the spare cannot be trusted and is not used: {reason}")
            seed = choose_seed(without_spare(state))
    return seed, *_try_seed(opened, state, seed, wanted, base, stack=stack)


class _UntrustedSeed(Exception):
    """The spare is not to be used."""


def _try_seed(
    opened: Session,
    state: StoreState,
    seed: Seed,
    wanted: CompressedManifest,
    base: Bundle,
    *,
    stack: ExitStack,
) -> tuple[SeedTree, Delta]:
    """Compare the manifests while forks check the seed; again with its drift if there is any."""
    try:
        tree = _open_seed(opened, state, seed, stack)
    except (RootmanError, OSError) as error:
        if seed.kind == "spare":
            raise _UntrustedSeed(error) from error
        raise
    try:
        delta = _checked_delta(wanted, base, tree, ())
        drift = tree.check.drift()
    except InvalidInput as error:
        if seed.kind == "spare" and not tree.record.is_sound():
            raise _UntrustedSeed(error) from error
        raise
    if seed.kind == "spare" and len(drift) > max(_TRUSTED_DRIFT, tree.entries // 10):
        raise _UntrustedSeed(f"{len(drift)} of its paths were changed")
    return tree, _checked_delta(wanted, base, tree, drift) if drift else delta


def _checked_delta(
    wanted: CompressedManifest, base: Bundle, tree: SeedTree | None, drift: Sequence[Drift]
) -> Delta:
    delta = Delta(wanted, tree.record if tree else None, drift)
    entries = tree.entries if tree else 0
    delta.check(_Directories(tree), entries=base.entries, seed_entries=entries)
    return delta


def _open_seed(opened: Session, state: StoreState, seed: Seed, stack: ExitStack) -> SeedTree:
    """Open the seed and start its quick check."""
    store = opened.store
    if seed.kind == "spare":
        stage = str(StageName(StageKind.SPARE, seed.version))
        root = open_dir(f"{stage}/{STAGE_ROOT}", dir_fd=store.staging)
    else:
        root = open_dir(tree_name(state.settings.os_name, seed.version), dir_fd=store.fd)
    stack.callback(os.close, root)
    record_fd = _open_record(store, seed)
    stack.callback(os.close, record_fd)
    record = SealRecord(record_fd, f"seal record of version {seed.version}")
    digests = record.digests()
    # A spare is rootman's alone, in a directory that nobody else has a way into.
    stamps = record.stamps(digests) if seed.kind == "spare" else None
    check = Check(root, record, digests, forks=max(opened.forks - 1, 1), stamps=stamps)
    return SeedTree(record, root, record.summary().entries, digests, check)


def leave_spare(opened: Session, before: StoreState, version: int) -> int | None:
    """Prepare the seed of the next upgrade, of the tree that fell out if there is one.

    A failure costs the next one its speed, not this upgrade. Return the version of
    the tree that is the spare now.
    """
    from rootman.usage import refuse_in_use  # nothing before the switch needs it

    reporter = opened.reporter
    fallen = falling_out(before, version)
    if fallen is not None:
        try:
            refuse_in_use(opened.store.path, tree_name(before.settings.os_name, fallen))
        except Busy as busy:
            reporter.warn(f"{busy}: it stays where it is")
            fallen = None
    if before.current is None:
        return None  # an installation; the first upgrade makes the spare
    try:
        state = read_state(opened)
        Executor(opened.store, opened.fs, reporter, state, forks=opened.forks).run(
            plan_spare(state, fallen)
        )
    except RootmanError as error:
        reporter.warn(f"no spare was prepared, the next upgrade will clone: {error}")
        recover_quietly(opened)
        return None
    return fallen


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


def _room(fd: int) -> Room:
    found = os.fstatvfs(fd)
    # btrfs does not count inodes and says 0.
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)
