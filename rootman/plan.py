"""Planners: from the state of a store to the steps of a command. Pure.

Each refuses what would break a promise before the first step (S6).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from rootman.boot.menu import is_settled, told_boot
from rootman.errors import InvalidInput, NoSpace, NotFound, Refused
from rootman.names import LINKS, StageKind, StageName, TreeNumber, check_package, tree_name
from rootman.state import require
from rootman.steps import (
    Apply,
    ClearObjects,
    CloneSpare,
    CloneTree,
    CloseStage,
    DeleteTree,
    Discard,
    DropRecord,
    DropState,
    Fetch,
    KeepKernel,
    KeepRelease,
    Layer,
    Merge,
    Plan,
    PointPrevious,
    Publish,
    PutConfig,
    Record,
    Retire,
    RollForward,
    SaveBoot,
    SaveSettings,
    SealTree,
    StageConfig,
    StartEmpty,
    Step,
    Sweep,
    TakeSpare,
    UpdateMenu,
)
from rootman.switching import (
    check_menu,
    finish_switch,
    follow_the_loader,
    plan_known,
    plan_switch,
    plan_trial,
    then_menu,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from rootman.choice import Choice
    from rootman.delta import Needs
    from rootman.release import Release
    from rootman.state import Stage, StoreState

KEEP_DEFAULT: Final = 2
_BLOCK: Final = 4096
_NO_TREE: Final = TreeNumber(0)


@dataclass(frozen=True, slots=True)
class Seed:
    """What a new tree is made from: the spare (of tree ``number``), that tree, or nothing."""

    kind: Literal["spare", "tree", "empty"]
    number: TreeNumber = _NO_TREE


@dataclass(frozen=True, slots=True)
class Room:
    """What the filesystem has left: bytes, and inodes (None where it does not count them)."""

    free_bytes: int
    free_inodes: int | None


@dataclass(frozen=True, slots=True)
class Download:
    """What comes over a network for an upgrade, in bytes.

    ``packs`` is what is still to come as packs, ``apart`` as objects and manifests, at most.
    ``kept`` is on the disk beside the content until the upgrade is done, ``here`` what an
    earlier one left of what is wanted.
    """

    packs: int = 0
    apart: int = 0
    kept: int = 0
    here: int = 0


NO_DOWNLOAD: Final = Download()


def plan_recovery(state: StoreState) -> Plan:
    """Return what finishes or undoes an interrupted command (S4)."""
    steps: list[Step] = []
    is_shown = is_settled(state)
    boot = told_boot(state)
    if boot is not None and boot != state.boot:
        steps.append(SaveBoot(boot))
        state = replace(state, boot=boot)
    steps += [Sweep(name) for name in state.litter]
    steps += [DropRecord(number) for number in state.orphans]
    spare = _best_spare(state)
    is_switched = False
    for stage in state.stages:
        if stage == spare or stage.in_use:
            continue
        if _is_sealed(state, stage):
            # Sealed, and then cut off before or within the switch, if that was asked for.
            if state.obstacles.intersection(LINKS):
                continue  # it is reported, and waits
            if _is_switched_to(state, stage.name.number):
                steps += finish_switch(state, stage.name.number)
                is_switched = True
            steps.append(CloseStage(stage.name.number))
        else:
            steps.append(Discard(stage.name))
    if state.has_failed and not is_switched:
        steps += follow_the_loader(state)
    if state.menu is not None and not state.menu.problem and (steps or not is_shown):
        steps.append(UpdateMenu(recovering=True))
    # Killed, not cut off from its power, a command may have died before it made durable
    # what this builds on, or removes.
    return (Publish(), *steps) if steps else ()


def _is_sealed(state: StoreState, stage: Stage) -> bool:
    return (
        stage.name.kind is StageKind.BUILDING
        and not stage.has_root
        and state.sealed(stage.name.number) is not None
    )


def _is_switched_to(state: StoreState, number: TreeNumber) -> bool:
    """Return whether a new tree becomes current: an adopted one only where nothing is.

    One that the loader has tried since, and given up, is not.
    """
    if state.is_bad(number):
        return False
    tree = state.tree(number)
    return state.current is None or tree is None or not tree.adopted


def _best_spare(state: StoreState) -> Stage | None:
    """Return the usable spare nearest to current, None where there is none."""
    usable = [
        stage
        for stage in state.stages
        if stage.name.kind is StageKind.SPARE and stage.has_root and stage.has_meta
    ]
    usable.sort(key=lambda stage: (stage.name.number == state.current, stage.name.number))
    return usable[-1] if usable else None


def check_boot(state: StoreState, number: TreeNumber, *, retry_bad: bool = False) -> None:
    """Refuse a tree that failed here before, whether it is still here or not (BT-13).

    Raises:
        Refused: it is bad.
    """
    if state.is_bad(number) and not retry_bad:
        again = "" if state.tree(number) is None else f"rootman rollback --to {number} "
        raise Refused(
            f"{state.name_of(number)} is bad: it did not prove itself here",
            hint=f"to try it again: {again}--retry-bad",
        )


def check_proven(state: StoreState) -> None:
    """Refuse to replace the way back by a tree that has not proved itself (BT-13).

    Raises:
        Refused: the current tree is on trial.
    """
    if state.boot is not None and state.current is not None:
        name = state.name_of(state.current)
        if name == state.boot.pending:
            raise Refused(
                f"{name} is on trial and not marked good yet",
                hint=f"wait for the health checks, or: rootman boot mark-good {state.current}",
            )


def plan_rollback(state: StoreState, to: TreeNumber | None, *, retry_bad: bool = False) -> Plan:
    """Return the steps of a rollback to ``previous``, or to the tree ``to``.

    Raises:
        NotFound: there is no tree to go back to.
        Refused: it is current already, or bad; or something else has the name of a link.
    """
    _refuse_obstacles(state, *LINKS)
    target = state.previous if to is None else to
    if target is None:
        raise NotFound(
            "there is no previous version to roll back to",
            hint="rootman status lists the trees; rootman rollback --to N takes any of them",
        )
    require(state, target)
    if target == state.current:
        raise Refused(f"{state.name_of(target)} is current already: nothing to roll back")
    check_boot(state, target, retry_bad=retry_bad)
    return then_menu(state, plan_known(state, target))


def plan_config(source: TreeNumber, number: TreeNumber) -> Plan:
    """Return the steps that merge configuration into a complete tree, which nobody uses."""
    stage = StageName(StageKind.MERGING, number)
    return (StageConfig(source, number), PutConfig(number), Discard(stage))


def _refuse_obstacles(state: StoreState, *names: str) -> None:
    """Refuse to go on where something else has one of these names.

    Raises:
        Refused: it is named.
    """
    for name in names:
        if name in state.obstacles:
            wanted = "a symlink" if name in LINKS else "a directory"
            raise Refused(f"{name} is not {wanted}", hint="move it out of the way")


def choose_seed(state: StoreState) -> Seed:
    """Return what the next tree should be made from."""
    spare = _best_spare(state)
    if spare is not None:
        return Seed("spare", spare.name.number)
    source = state.current if state.sealed(state.current) else state.newest
    return Seed("empty") if source is None else Seed("tree", source)


def without_spare(state: StoreState) -> StoreState:
    """Return ``state`` as if it had no spare, for where that cannot be trusted."""
    kept = tuple(one for one in state.stages if one.name.kind is not StageKind.SPARE)
    return replace(state, stages=kept)


def check_release(
    state: StoreState,
    release: Release,
    *,
    hardware: Collection[str],
    allow_downgrade: bool,
    rootman_version: str,
) -> None:
    """Refuse a release that this store must not take.

    ``hardware`` holds the names under which this device goes.

    Raises:
        Refused: another OS or hardware, not newer than current, or for a newer rootman;
            or something else has the name of the tree or of a link.
    """
    title = tree_name(release.name, release.version)
    _refuse_obstacles(state, *LINKS, title)
    if release.name != state.settings.os_name:
        raise Refused(
            f"{title} is another OS: this store holds {state.settings.os_name}",
            hint="give the repository of this OS",
        )
    if release.needs_newer(rootman_version):
        raise Refused(
            f"{title} needs rootman {release.minimum_rootman}, this is {rootman_version}",
            hint="update rootman first",
        )
    if release.compatible and not set(release.compatible) & set(hardware):
        known = ", ".join(sorted(hardware)) or "nothing known"
        raise Refused(
            f"{title} is for {', '.join(release.compatible)}; this device is {known}",
            hint="if that is wrong: rootman init --compatible NAME",
        )
    current = state.current
    if current is not None and release.version < current.version and not allow_downgrade:
        raise Refused(
            f"{title} is not newer than {state.name_of(current)}, which is current",
            hint="--allow-downgrade, or rootman rollback",
        )


def find_known(state: StoreState, release: Release, choice: Choice) -> TreeNumber | None:
    """Return which tree is the release's with these bundles, None where it is not here.

    Raises:
        Refused: a tree of that version has a bundle from another manifest.
        InvalidInput: a directory of that name is here that rootman did not make.
    """
    published = {bundle.name: bundle.manifest for bundle in release.bundles}
    # Of several that are alike the one that is current is not left for another.
    trees = sorted(state.of_version(release.version), key=lambda one: one.number != state.current)
    for tree in trees:
        if tree.seal is None:
            if tree.number.revision == 0:
                raise InvalidInput(
                    f"{tree.name} exists and rootman did not make it",
                    hint="move it out of the way",
                )
        elif tree.seal.parts == choice.manifests and tree.seal.bundles == choice.bundles:
            return tree.number
    for tree in state.of_version(release.version):
        if tree.seal is not None and not tree.seal.parts.items() <= published.items():
            raise Refused(
                f"{tree.name} is here with other content than this release has",
                hint=f"publish it under a new version, or remove it: rootman prune {tree.number}",
            )
    return None


def next_number(state: StoreState, version: int) -> TreeNumber:
    """Return the number of the next tree of ``version``, whose name nothing has.

    Nor had it a tree that is bad, as the new one would be, too: of the first of a version
    that is right, it has the same content (``check_boot``).
    """
    revisions = [tree.number.revision for tree in state.of_version(version)]
    number = TreeNumber(version, max(revisions) + 1 if revisions else 0)
    while state.name_of(number) in state.obstacles or (number.revision and state.is_bad(number)):
        number = TreeNumber(version, number.revision + 1)
    return number


def check_room(
    needs: Needs,
    seed: Seed,
    room: Room,
    download: Download,
    *,
    directories: int,
    manifest_size: int,
    local: Sequence[int] = (),
) -> None:
    """Refuse an upgrade for which bytes or inodes would not suffice.

    ``directories`` is how many the new tree has, ``manifest_size`` its manifest's
    bytes: the record of a tree takes less than half of that. What is here of the
    ``download`` takes no room again (HT-11). ``local`` has the size of each entry that is
    copied besides: of configuration that was changed here, and of state that is to be made.

    Raises:
        NoSpace: it says how much is missing.
    """
    made = directories if seed.kind == "tree" else 0
    content = needs.fetch_bytes + download.kept - download.here
    made_inodes = needs.new_inodes + made + len(local)
    require_room(room, max(content, 0) + sum(local) + manifest_size // 2, made_inodes)


def require_room(room: Room, content: int, made_inodes: int) -> None:
    """Refuse to make so many inodes, with so many bytes of ``content``, without the room for them.

    Raises:
        NoSpace: it says how much is missing.
    """
    size = content + made_inodes * _BLOCK
    inodes = made_inodes + 16
    hint = "rootman prune"
    if size > room.free_bytes:
        raise NoSpace(
            f"this needs {_mib(size)} MiB and {_mib(room.free_bytes)} MiB are free", hint=hint
        )
    if room.free_inodes is not None and inodes > room.free_inodes:
        raise NoSpace(f"this needs {inodes} inodes and {room.free_inodes} are free", hint=hint)


def plan_upgrade(
    state: StoreState,
    number: TreeNumber,
    seed: Seed,
    needs: Needs,
    *,
    merged_from: TreeNumber | None = None,
    packages: tuple[str, ...] = (),
) -> Plan:
    """Return the steps from the seed to the new current tree, without the spare's.

    ``merged_from`` is the tree whose local changes of configuration are carried over,
    ``packages`` are to be installed in the new one.
    """
    return (
        *_plan_tree(state, number, seed, needs, merged_from=merged_from, packages=packages),
        *then_menu(state, plan_trial(state, number)),
        CloseStage(number),
        ClearObjects(),
    )


def plan_fallback(
    state: StoreState,
    number: TreeNumber,
    seed: Seed,
    needs: Needs,
    *,
    merged_from: TreeNumber | None = None,
) -> Plan:
    """Return the steps from the seed to a new tree that ``previous`` leads to (UL-4).

    Of the same release as what is current, which works here, it is not on trial.
    """
    return (
        *_plan_tree(state, number, seed, needs, merged_from=merged_from),
        *plan_way_back(state, number),
        Discard(StageName(StageKind.FALLBACK, number)),
        ClearObjects(),
    )


def plan_way_back(state: StoreState, number: TreeNumber) -> Plan:
    """Return the steps that make ``number`` what a rollback goes to.

    Raises:
        Refused: something else has the name of a link, or the loader could not be told.
    """
    _refuse_obstacles(state, *LINKS)
    return () if state.previous == number else then_menu(state, (PointPrevious(number),))


def _plan_tree(
    state: StoreState,
    number: TreeNumber,
    seed: Seed,
    needs: Needs,
    *,
    merged_from: TreeNumber | None,
    packages: tuple[str, ...] = (),
) -> Plan:
    """Return the steps from the seed to a sealed tree."""
    start: Step = StartEmpty(number)
    if seed.kind == "spare":
        start = TakeSpare(seed.number, number)
    elif seed.kind == "tree":
        start = CloneTree(seed.number, number)
    changes = needs.added + needs.removed + needs.changed + needs.restored
    return (
        Fetch(needs.fetch_objects, needs.fetch_bytes),
        start,
        Apply(number, changes),
        Record(number),
        *((Merge(merged_from, number),) if merged_from is not None else ()),
        *((Layer(number, packages),) if packages else ()),
        *_keep_kernel(state, number),
        SealTree(number),
    )


def _keep_kernel(state: StoreState, number: TreeNumber) -> Plan:
    """Return the step that a loader with kernels of its own needs before a tree is sealed.

    Raises:
        Refused: they are not where they were.
    """
    check_menu(state)
    return () if state.menu is None else (KeepKernel(number),)


def plan_download(version: int, needs: Needs) -> Plan:
    """Return the steps that fetch what an upgrade to ``version`` needs, and leave it at that."""
    return (Fetch(needs.fetch_objects, needs.fetch_bytes), KeepRelease(version))


def plan_adoption(state: StoreState, number: TreeNumber) -> Plan:
    """Return the steps that take a tree in as ``number``; it is current if nothing is.

    Raises:
        Refused: there is a tree of that version, or something else has its name or a link's.
    """
    check_menu(state)
    _refuse_obstacles(state, *LINKS, state.name_of(number))
    for tree in state.of_version(number.version):
        raise Refused(f"{tree.name} is here already", hint="use another --version")
    steps: Plan = (
        StartEmpty(number),
        Apply(number, 0),
        Record(number),
        SealTree(number),
    )
    return (
        *steps,
        *(plan_switch(state, number) if state.current is None else ()),
        *((UpdateMenu(),) if state.menu is not None else ()),
        CloseStage(number),
    )


def falling_out(state: StoreState, number: TreeNumber) -> TreeNumber | None:
    """Return the tree that no link names any more once ``number`` is current."""
    fallen = state.sealed(state.previous)
    if fallen is None or fallen.number in (number, state.current):
        return None
    return None if fallen.number in state.settings.pinned else fallen.number


def plan_spare(state: StoreState, fallen: TreeNumber | None) -> Plan:
    """Return the steps that leave a spare of ``current`` behind (``state`` is after the switch)."""
    if state.current is None:
        return ()
    stale = [Discard(one.name) for one in state.stages if one.name.kind is StageKind.SPARE]
    if fallen is not None:
        steps = (Retire(fallen), RollForward(fallen, state.current))
        return (*stale, *_take_leave(state, (fallen,)), *steps)
    return (*stale, CloneSpare(state.current))


def plan_prune(
    state: StoreState,
    keep: int,
    numbers: Collection[TreeNumber],
    generations: Mapping[int, Collection[TreeNumber]] | None = None,
) -> Plan:
    """Return the steps that delete ``numbers``, or by default all but the newest ``keep``.

    ``generations`` says of the state that is there which trees have it: what none has goes, too.

    Raises:
        NotFound: there is no such tree.
        Refused: a tree that was asked for is current, previous or pinned.
    """
    for number in numbers:
        require(state, number)
        reason = protection(state, number)
        if reason is not None:
            hint = f"rootman unpin {number}" if reason == "pinned" else "rootman rollback --to N"
            raise Refused(f"{state.name_of(number)} is {reason}: not deleted", hint=hint)
    victims = sorted(set(numbers)) or _superfluous(state, keep)
    idle = [one for one, its in (generations or {}).items() if set(its) <= set(victims)]
    return (
        *_take_leave(state, victims),
        *(DeleteTree(number) for number in victims),
        *(DropState(generation) for generation in sorted(idle)),
        ClearObjects(),
    )


def _take_leave(state: StoreState, numbers: Collection[TreeNumber]) -> Plan:
    """Return the step that has a loader forget trees before they are gone.

    Raises:
        Refused: it could not be told.
    """
    if state.menu is None or not numbers:
        return ()
    check_menu(state)
    return (UpdateMenu(frozenset(numbers)),)


def _superfluous(state: StoreState, keep: int) -> list[TreeNumber]:
    sealed = [tree.number for tree in state.trees if tree.seal is not None]
    newest = set(sorted(sealed)[max(len(sealed) - keep, 0) :]) if keep else set()
    return [
        number for number in sealed if number not in newest and protection(state, number) is None
    ]


def protection(state: StoreState, number: TreeNumber) -> str | None:
    """Return why a tree must not be deleted, None where it may be."""
    if number == state.current:
        return "current"
    if number == state.previous:
        return "previous"
    return "pinned" if number in state.settings.pinned else None


def plan_pin(state: StoreState, number: TreeNumber, *, pinned: bool) -> Plan:
    """Return the step that pins a tree or lifts its pin; none where it is so already.

    Raises:
        NotFound: there is no such tree.
    """
    require(state, number)
    known = state.settings.pinned
    wanted = known | {number} if pinned else known - {number}
    return () if wanted == known else (SaveSettings(replace(state.settings, pinned=wanted)),)


def plan_layer(
    state: StoreState, *, added: Collection[str] = (), removed: Collection[str] = ()
) -> Plan:
    """Return the step that changes which packages each new tree gets; none where it is so already.

    Raises:
        InvalidInput: that is no name of a package.
        NotFound: one to be removed is not among them.
    """
    known = state.settings.layer
    for name in removed:
        if name not in known:
            raise NotFound(f"{name} is not in the layer", hint="rootman layer lists what is")
    wanted = {*known, *map(check_package, added)} - set(removed)
    settings = replace(state.settings, layer=tuple(sorted(wanted)))
    return () if settings == state.settings else (SaveSettings(settings),)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f}"
