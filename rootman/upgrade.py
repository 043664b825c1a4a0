"""Upgrading a store to a release: read, decide, act."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from rootman import VERSION, foresight
from rootman.admission import check_boot, check_proven, check_release, find_known, next_number
from rootman.boot.menufiles import check_kernel_room
from rootman.boot.statewants import wanted_state
from rootman.building import Building
from rootman.choice import choose
from rootman.delta import wants_content
from rootman.demand import NO_DOWNLOAD, Download, check_room
from rootman.errors import Busy, RootmanError
from rootman.execute import Executor, explained
from rootman.manifest import content_digest
from rootman.merge.paths import ConfigPaths
from rootman.names import BASE, StageKind, TreeNumber, tree_name
from rootman.objects import ObjectContent, Objects, object_content
from rootman.plan import (
    falling_out,
    plan_download,
    plan_fallback,
    plan_spare,
    plan_upgrade,
    without_spare,
)
from rootman.provision import Provision
from rootman.release import serialise
from rootman.repo.layout import object_path
from rootman.room import room_of
from rootman.seeding import find_seed, trees_at_hand
from rootman.session import read_state, recover_quietly
from rootman.switching import plan_known, then_menu

if TYPE_CHECKING:
    from rootman.building import SeedTree
    from rootman.choice import Choice
    from rootman.delta import Needs
    from rootman.difference import PathDifference
    from rootman.layer.layering import Inside, Layering
    from rootman.manifest import Entry
    from rootman.merge.configuration import ConfigMerge
    from rootman.merge.planning import MergePlan
    from rootman.provision import Wanted
    from rootman.release import Release
    from rootman.repo.repository import Repository
    from rootman.session import Session
    from rootman.state import StoreState
    from rootman.steps import Plan
    from rootman.uncarried import Uncarried
    from rootman.wanted import Delta


@dataclass(frozen=True, slots=True)
class Options:
    """What the user may ask for, and what runs programs in a staged tree for a layer."""

    allow_downgrade: bool = False
    dry_run: bool = False
    download_only: bool = False
    retry_bad: bool = False
    no_layer: bool = False
    inside: Inside | None = None


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """What an upgrade did, or would do.

    ``needs`` is None where the tree was here already. ``seconds`` is the time until
    the switch was durable. ``retired`` is the tree that became the spare,
    ``fetched`` the bytes that came from the repository: of content, or of a pack,
    ``download`` what was to come over a network.
    ``new_state`` are state paths that the next boot is to make, from nothing of what was there
    if the state begins anew.
    ``had`` are the names of the bundles besides base that were there before, ``has`` those
    that are there now, whether they were chosen or came with others.
    ``left`` is the configuration, ``uncarried`` what else was changed in the tree that was
    current and is not in this one; ``layered`` are packages that were installed in it.
    """

    number: TreeNumber
    was: TreeNumber | None
    plan: Plan
    needs: Needs | None
    seconds: float
    retired: TreeNumber | None = None
    fetched: int = 0
    download: Download = NO_DOWNLOAD
    had: tuple[str, ...] = ()
    has: tuple[str, ...] = ()
    merge: MergePlan | None = None
    left: tuple[PathDifference, ...] = ()
    uncarried: Uncarried | None = None
    layered: tuple[str, ...] = ()
    new_state: tuple[str, ...] = ()
    is_state_anew: bool = False


def upgrade(opened: Session, repository: Repository, options: Options) -> UpgradeResult:
    """Make the release that ``repository`` names, by default its newest, current.

    It gets the bundles that were chosen for the tree that is current.

    Raises:
        RootmanError: refused, or failed; the store is then as it was.
    """
    began = time.monotonic()
    release = repository.chosen_release()
    state = read_state(opened)
    check_device(state, release, allow_downgrade=options.allow_downgrade)
    check_boot(state, TreeNumber(release.version), retry_bad=options.retry_bad)
    choice = choose(release, chosen_bundles(state))
    return install(opened, repository, Order(release, choice, options), state, began=began)


def check_device(state: StoreState, release: Release, *, allow_downgrade: bool) -> None:
    """Refuse a release that this store on this device must not take.

    Raises:
        Refused: as ``admission.check_release``.
    """
    check_release(
        state,
        release,
        hardware=device_names(state.settings.compatible),
        allow_downgrade=allow_downgrade,
        rootman_version=VERSION,
    )


def chosen_bundles(state: StoreState) -> tuple[str, ...]:
    """Return the names of the bundles that were chosen for the tree that is current."""
    current = state.tree(state.current)
    return current.seal.bundles if current is not None and current.seal is not None else ()


@dataclass(frozen=True, slots=True)
class Order:
    """A tree that is wanted: of what it is made, and how far.

    With ``anew`` it is made also where it is here, without local configuration, and with
    ``new_state`` it begins without the state of the others. ``is_fallback`` is one that
    ``previous`` is to lead to, and that does not become current.
    """

    release: Release
    choice: Choice
    options: Options
    anew: bool = False
    new_state: bool = False
    is_fallback: bool = False


def install(
    opened: Session, repository: Repository, order: Order, state: StoreState, *, began: float
) -> UpgradeResult:
    """Make the tree that was ordered current; build it where it is not here.

    ``began`` is when the command did, by the monotonic clock.

    Raises:
        RootmanError: refused, or failed; the store is then as it was.
    """
    result = _install(opened, repository, order, state, began=began)
    current = state.sealed(state.current)
    had = current.seal.parts if current is not None and current.seal is not None else {}
    return replace(
        result,
        had=tuple(sorted(had.keys() - {BASE})),
        has=tuple(one.name for one in order.choice.parts[1:]),
    )


def _install(
    opened: Session, repository: Repository, order: Order, state: StoreState, *, began: float
) -> UpgradeResult:
    release, options = order.release, order.options
    number = None if order.anew else find_known(state, release, order.choice)
    if not options.download_only and (number is None or number != state.current):
        check_proven(state)
    if number is not None:
        check_boot(state, number, retry_bad=options.retry_bad)
        plan = () if options.download_only else then_menu(state, plan_known(state, number))
        uncarried = _told_uncarried(opened, state, order) if plan else None
        if not options.dry_run:
            Executor(opened.store, opened.fs, opened.reporter, state).run(plan)
        seconds = time.monotonic() - began
        left = _told_behind(opened, state, number) if plan else ()
        return UpgradeResult(
            number, state.current, plan, None, seconds, left=left, uncarried=uncarried
        )
    number = next_number(state, release.version)
    with ExitStack() as stack, explained(tree_name(release.name, number)):
        built = build(opened, repository, order, state, stack, number=number)
    result = replace(built, seconds=time.monotonic() - began)
    if options.download_only:
        return result
    if options.dry_run:
        return replace(result, retired=falling_out(state, number))
    return replace(result, retired=leave_spare(opened, state, number))


def build(
    opened: Session,
    repository: Repository,
    order: Order,
    state: StoreState,
    stack: ExitStack,
    *,
    number: TreeNumber,
) -> UpgradeResult:
    """Build what was ordered as ``number``; return what it took, but for the time.

    Raises:
        RootmanError, OSError: refused, or failed; the store is then as it was.
    """
    options, choice = order.options, order.choice
    objects = Objects(opened.fs, opened.store.objects, repository)
    provision = Provision(opened, repository, objects, choice, stack)
    room = room_of(opened.store.fd)
    olds = trees_at_hand(opened.store, state, stack) if provision.uses_packs else []
    wanted = provision.wanted(
        olds, room=room.free_bytes, keep=options.download_only, rehearse=options.dry_run
    )
    # The spare may be the only one that has all that was sealed: it is not used up for that.
    seeds = without_spare(state) if order.is_fallback else state
    seed, tree, delta = find_seed(opened, seeds, wanted, stack)
    directories = len(tree.digests) if tree else 0
    download = provision.download(delta.needs)
    merge = None if order.anew else _merge(opened, state, order.release, wanted, stack)
    for one in state.stages:
        if one.in_use:
            opened.reporter.warn(
                f"{state.name_of(one.name.number)} is unlocked until the next boot:"
                " what was changed since is not carried over"
            )
    layering = _layering(state, order, wanted)
    wants = wanted_state(opened.store, state, order.release, is_new=order.new_state)
    check_room(
        delta.needs,
        seed,
        room,
        download,
        directories=directories,
        manifest_size=wanted.whole.manifest_size,
        local=(*wants.sizes, *(merge.foresee() if merge is not None else ())),
    )
    check_kernel_room(state.settings, state.name_of(number), delta)
    if options.download_only:
        plan = plan_download(order.release.version, delta.needs)
    else:
        merged_from = state.current if merge is not None else None
        packages = layering.missing if layering is not None else ()
        if order.is_fallback:
            plan = plan_fallback(state, number, seed, delta.needs, merged_from=merged_from)
        else:
            plan = plan_upgrade(
                state, number, seed, delta.needs, merged_from=merged_from, packages=packages
            )
    building = Building(
        opened.store,
        opened.fs,
        opened.reporter,
        number=number,
        seed=tree,
        wanted=wanted.manifest,
        delta=delta,
        content=ObjectContent(opened.fs, objects, delta.needs.repeated()),
        supply=provision,
        size=wanted.whole.size,
        release=serialise(order.release),
        forks=opened.forks,
        parts=choice.manifests,
        bundles=choice.bundles,
        kind=StageKind.FALLBACK if order.is_fallback else StageKind.BUILDING,
        others=tuple(part.manifest for part in wanted.others),
        config=ConfigPaths.of(order.release.config, order.release.state),
        merge=merge,
        layering=layering,
        state=wants.record,
    )
    uncarried = _told_uncarried(opened, state, order)
    if options.dry_run:
        building.carried = merge.rehearse(partial(_obtain, repository)) if merge else None
    else:
        stack.enter_context(foresight.looking(_places(repository, tree, delta)))
        Executor(opened.store, opened.fs, opened.reporter, state, building=building).run(plan)
    return UpgradeResult(
        number,
        state.current,
        plan,
        delta.needs,
        seconds=0,
        fetched=provision.fetched,
        download=download,
        merge=building.carried,
        uncarried=uncarried,
        layered=layering.missing if layering is not None else (),
        new_state=wants.new,
        is_state_anew=order.new_state,
    )


def _merge(
    opened: Session, state: StoreState, release: Release, wanted: Wanted, stack: ExitStack
) -> ConfigMerge | None:
    """Return the merge of the configuration of the tree that is current, None for none."""
    if not release.config:
        return None
    from rootman.merge.configuration import open_merge

    return open_merge(opened, state, release, wanted.manifest.stream, stack)


def _layering(state: StoreState, order: Order, wanted: Wanted) -> Layering | None:
    """Return how the packages that are kept for each new tree come into this, None for none."""
    options = order.options
    is_left_out = options.no_layer or options.download_only or order.anew or order.is_fallback
    if not state.settings.layer or is_left_out:
        return None
    from rootman.layer.layering import open_layering

    stream, source = wanted.manifest.stream(), state.sealed(state.current)
    return open_layering(state.settings.layer, order.release, stream, options.inside, source)


def _told_uncarried(opened: Session, state: StoreState, order: Order) -> Uncarried | None:
    """Return what is not carried over; tell it now, where this is about to be done (LY-1)."""
    if order.anew or order.is_fallback or order.options.download_only:
        return None  # that is what was asked for, or nothing is left
    from rootman.uncarried import find_uncarried

    layer = () if order.options.no_layer else state.settings.layer
    found = find_uncarried(opened, state, order.release, layer)
    if found and not order.options.dry_run:
        opened.reporter.warn(str(found))
    return found


def _told_behind(
    opened: Session, state: StoreState, number: TreeNumber
) -> tuple[PathDifference, ...]:
    from rootman.merge.difference import told_behind

    return told_behind(opened, state.sealed(state.current), state.sealed(number))


def _obtain(repository: Repository, path: bytes, entry: Entry) -> bytes | None:
    """Return the content of a small file of the release, None where it cannot be had."""
    del path
    found: list[bytes] = []

    def read(source: BinaryIO) -> None:
        found[:] = object_content(source, entry.sha256, entry.size)

    with suppress(RootmanError):
        repository.obtain_object(entry.sha256, read)
        return b"".join(found)
    return None


def _places(repository: Repository, seed: SeedTree | None, delta: Delta) -> list[foresight.Look]:
    """Return what looks at the places of the seed that change, and at the content near by."""
    needs = delta.needs
    if seed is None or needs.added + needs.removed + needs.changed > foresight.MANY:
        return []
    changes = list(delta)
    looks = foresight.below(seed.root_fd, [change.field for change in changes])
    if repository.is_near:
        wanted = (change.new for change in changes if change.new and wants_content(change))
        paths = [object_path(content_digest(line).decode()) for line in wanted]
        looks += foresight.contents(repository.source.open, paths)
    return looks


def leave_spare(opened: Session, before: StoreState, number: TreeNumber) -> TreeNumber | None:
    """Prepare the seed of the next upgrade, of the tree that fell out if there is one.

    A failure costs the next one its speed, not this upgrade. Return the tree that
    is the spare now.
    """
    from rootman.usage import refuse_in_use  # nothing before the switch needs it

    reporter = opened.reporter
    fallen = falling_out(before, number)
    if fallen is not None:
        try:
            refuse_in_use(opened.store.path, before.name_of(fallen))
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
