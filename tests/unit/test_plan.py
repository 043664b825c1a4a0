"""Planners: the state of a store goes in, the steps of a command come out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman.admission import check_release, find_known, next_number
from rootman.alike import alike
from rootman.boot.block import BootState
from rootman.choice import choose
from rootman.delta import Needs
from rootman.demand import NO_DOWNLOAD, Download, Room, check_room
from rootman.errors import InvalidInput, NoSpace, NotFound, Refused
from rootman.names import StageKind, StageName, TreeNumber, parse_stage_name
from rootman.plan import (
    Seed,
    choose_seed,
    falling_out,
    plan_adoption,
    plan_fallback,
    plan_rollback,
    plan_spare,
    plan_upgrade,
    without_spare,
)
from rootman.recovery import plan_recovery
from rootman.release import Bundle, Release
from rootman.state import Seal, Settings, Stage, StoreState, Tree
from rootman.steps import (
    Apply,
    ClearObjects,
    CloneSpare,
    CloneTree,
    CloseStage,
    DeleteTree,
    Discard,
    DropRecord,
    Exchange,
    Fetch,
    Merge,
    Plan,
    PointCurrent,
    PointPrevious,
    Publish,
    Record,
    Retire,
    RollForward,
    SaveSettings,
    SealTree,
    StartEmpty,
    Step,
    Sweep,
    TakeSpare,
)
from rootman.switching import plan_switch
from rootman.upkeep import plan_pin, plan_prune, protection
from tests.numbers import number

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tests.numbers import Number

N1, N2, N3, N4, N5, N6, N7, N8, N9, N10 = map(number, range(1, 11))
HASH = "0123456789abcdef" * 4
OTHER = "f" * 64
ROOM = Room(1 << 40, 1 << 30)
SEALED = Seal(7, HASH, entries=9, size=9, sealed_at=0)


def stage_name(text: str) -> StageName:
    name = parse_stage_name(text)
    assert name is not None
    return name


def stage(text: str) -> Stage:
    """Return the stage that is written ``spare.7/root/meta``, with as much as it has."""
    name, *parts = text.split("/")
    return Stage(stage_name(name), has_root="root" in parts, has_meta="meta" in parts)


def tree(
    written: Number, *, sealed: bool = True, manifest: str = HASH, adopted: bool = False
) -> Tree:
    found = number(written)
    seal = Seal(found.version, manifest, entries=9, size=9, sealed_at=0, revision=found.revision)
    return Tree(found, f"olpc.{found}", seal if sealed else None, adopted)


def maybe(written: Number | None) -> TreeNumber | None:
    return None if written is None else number(written)


def store(
    *trees: Number,
    current: Number | None = None,
    previous: Number | None = None,
    stages: Collection[str] = (),
    orphans: Collection[Number] = (),
    litter: tuple[str, ...] = (),
    pinned: Collection[Number] = (),
    unsealed: Collection[Number] = (),
    adopted: Collection[Number] = (),
) -> StoreState:
    """Return the state of a store with these trees."""
    return StoreState(
        settings=Settings("olpc", frozenset(map(number, pinned))),
        trees=tuple(tree(one, sealed=one not in unsealed, adopted=one in adopted) for one in trees),
        current=maybe(current),
        previous=maybe(previous),
        stages=tuple(map(stage, stages)),
        orphans=tuple(map(number, orphans)),
        litter=litter,
    )


def release(
    version: int = 8,
    *,
    name: str = "olpc",
    manifest: str = HASH,
    compatible: tuple[str, ...] = (),
    minimum_rootman: str = "0.1",
) -> Release:
    return Release(
        name,
        version,
        "2026-11-20T17:00:00Z",
        (Bundle("base", manifest, 1000, 9, 9),),
        compatible=compatible,
        minimum_rootman=minimum_rootman,
    )


# --- recovery ------------------------------------------------------------------------

RECOVERIES: list[tuple[str, StoreState, Plan]] = [
    ("settled: an empty store", store(), ()),
    ("settled", store(6, 7, current=7, previous=6), ()),
    ("settled with a spare", store(6, 7, current=7, stages=["spare.7/root/meta"]), ()),
    ("TR-6: litter", store(7, litter=("link", "x")), (Sweep("link"), Sweep("x"))),
    (
        "TR-7: an empty stage",
        store(7, current=7, stages=["building.8"]),
        (Discard(stage_name("building.8")),),
    ),
    (
        "TR-7: staged from a clone",
        store(7, current=7, stages=["building.8/root"]),
        (Discard(stage_name("building.8")),),
    ),
    (
        "TR-7: staged from the spare",
        store(7, current=7, stages=["building.8/root/meta"]),
        (Discard(stage_name("building.8")),),
    ),
    (
        "TR-7, TR-8: recorded",
        store(7, current=7, stages=["building.8/root/meta"], orphans=(8,)),
        (DropRecord(N8), Discard(stage_name("building.8"))),
    ),
    (
        "TR-9: sealed, the links old",
        store(6, 7, 8, current=7, previous=6, stages=["building.8/meta"]),
        (PointPrevious(N8), Exchange(N8, N7), CloseStage(N8)),
    ),
    (
        "TR-9: sealed, a link on its way",
        store(6, 7, 8, current=7, previous=6, stages=["building.8"], litter=("link",)),
        (Sweep("link"), PointPrevious(N8), Exchange(N8, N7), CloseStage(N8)),
    ),
    (
        "TR-9: sealed, previous is new",
        store(6, 7, 8, current=7, previous=8, stages=["building.8"]),
        (Exchange(N8, N7), CloseStage(N8)),
    ),
    (
        "TR-9: sealed, both are new",
        store(6, 7, 8, current=8, previous=7, stages=["building.8"]),
        (CloseStage(N8),),
    ),
    (
        "TR-9: sealed without an exchange, between its two renames",
        store(6, 7, 8, current=7, previous=7, stages=["building.8"]),
        (PointPrevious(N8), Exchange(N8, N7), CloseStage(N8)),
    ),
    (
        "TR-9: the first tree",
        store(1, stages=["building.1"]),
        (PointCurrent(N1), CloseStage(N1)),
    ),
    (
        "TR-9: there is no previous yet",
        store(1, 2, current=1, stages=["building.2"]),
        (PointPrevious(N2), Exchange(N2, N1), CloseStage(N2)),
    ),
    (
        "ST-4: what only looks like the tree is not switched to",
        store(7, 8, current=7, stages=["building.8"], unsealed=[8]),
        (Discard(stage_name("building.8")),),
    ),
    (
        "TR-9: sealed, another tree of the version that is current",
        store(7, "7.1", current=7, stages=["building.7.1/meta"]),
        (
            PointPrevious(number("7.1")),
            Exchange(number("7.1"), N7),
            CloseStage(number("7.1")),
        ),
    ),
    (
        "TR-7, TR-8: recorded, beside another tree of the version",
        store(7, current=7, stages=["building.7.1/root"], orphans=("7.1",)),
        (DropRecord(number("7.1")), Discard(stage_name("building.7.1"))),
    ),
    (
        "TR-11: the spare of the very tree that is current",
        store(7, "7.1", current=7, stages=["spare.7/root/meta", "spare.7.1/root/meta"]),
        (Discard(stage_name("spare.7.1")),),
    ),
    ("TR-8: orphaned", store(7, current=7, orphans=(3, 6)), (DropRecord(N3), DropRecord(N6))),
    (
        "TR-10: leaving, retired and not recorded yet",
        store(7, 8, current=8, previous=7, stages=["retired.6/root"], orphans=(6,)),
        (DropRecord(N6), Discard(stage_name("retired.6"))),
    ),
    (
        "TR-10: leaving, rolled forward but not a spare yet",
        store(7, 8, current=8, previous=7, stages=["retired.6/root/meta"]),
        (Discard(stage_name("retired.6")),),
    ),
    (
        "TR-10: leaving, being deleted",
        store(7, current=7, stages=["deleting.6/root"]),
        (Discard(stage_name("deleting.6")),),
    ),
    (
        "TR-10: a repair; the tree stays",
        store(7, current=7, stages=["repair.7"]),
        (Discard(stage_name("repair.7")),),
    ),
    (
        "TR-11: the spare of current is kept",
        store(7, 8, current=7, stages=["spare.7/root/meta", "spare.8/root/meta"]),
        (Discard(stage_name("spare.8")),),
    ),
    (
        "TR-11: else the highest",
        store(7, 8, current=8, stages=["spare.6/root/meta", "spare.7/root/meta"]),
        (Discard(stage_name("spare.6")),),
    ),
    (
        "TR-11: a spare that is not complete is none",
        store(7, current=7, stages=["spare.6/root/meta", "spare.7/root"]),
        (Discard(stage_name("spare.7")),),
    ),
    (
        "TR-7: what was made to go back to is not switched to",
        store(7, "7.1", current=7, stages=["fallback.7.1"]),
        (Discard(stage_name("fallback.7.1")),),
    ),
    (
        "TR-10: what was unlocked until the last boot",
        store(7, current=7, stages=["unlocked.7/root"]),
        (Discard(stage_name("unlocked.7")),),
    ),
    (
        "TR-10: what is unlocked, while a guard has it",
        replace(store(7, current=7), stages=(replace(stage("unlocked.7/root"), in_use=True),)),
        (),
    ),
    (
        "TR-11: without its tree neither",
        store(7, current=7, stages=["spare.7/meta"]),
        (Discard(stage_name("spare.7")),),
    ),
]


@pytest.mark.parametrize(
    ("state", "plan"), [case[1:] for case in RECOVERIES], ids=[case[0] for case in RECOVERIES]
)
def test_recovery(state: StoreState, plan: Plan) -> None:
    """S4, TR-6 to TR-11, TR-18: every named state of spec/40-transitions.md."""
    assert plan_recovery(state) == ((Publish(), *plan) if plan else ())


def test_recovery_of_an_adoption_does_not_switch() -> None:
    """S4: an adoption beside a current tree was not asked to make its tree current."""
    state = store(7, 9, current=7, stages=["building.9"], adopted=[9])
    assert Exchange(N9, N7) not in plan_adoption(state, N10)

    assert plan_recovery(state) == (Publish(), CloseStage(N9))


NUMBERS = st.sampled_from([N1, N2, number("2.1"), number("2.2"), N3])
NAMES = st.builds(StageName, st.sampled_from(StageKind), NUMBERS)
STAGES = st.lists(
    st.builds(Stage, NAMES, has_root=st.booleans(), has_meta=st.booleans()),
    unique_by=lambda one: one.name,
    max_size=4,
).filter(lambda found: sum(one.name.kind is StageKind.BUILDING for one in found) <= 1)


@st.composite
def states(draw: st.DrawFn) -> StoreState:
    """Return any state that a store can be found in; only one tree is ever being built."""
    trees = sorted(draw(st.sets(NUMBERS)))
    some = st.sets(st.sampled_from(trees)) if trees else st.just(set[TreeNumber]())
    unsealed, adopted = draw(some), draw(some)
    links = st.none() | st.sampled_from([*trees, None])
    return StoreState(
        settings=Settings("olpc", draw(st.frozensets(NUMBERS))),
        trees=tuple(tree(one, sealed=one not in unsealed, adopted=one in adopted) for one in trees),
        current=draw(links),
        previous=draw(links),
        stages=tuple(sorted(draw(STAGES), key=lambda one: one.name.number)),
        orphans=tuple(sorted(draw(st.sets(NUMBERS)) - set(trees))),
        litter=tuple(draw(st.sampled_from([(), ("link",), ("link", "state.json.new")]))),
    )


def after(state: StoreState, plan: Plan) -> StoreState:
    """Return the state that the steps of a recovery or a switch lead to."""
    for step in plan:
        match step:
            case Sweep(name):
                assert name in state.litter
                state = replace(state, litter=tuple(one for one in state.litter if one != name))
            case DropRecord(it):
                assert state.tree(it) is None
                kept = tuple(one for one in state.orphans if one != it)
                state = replace(state, orphans=kept)
            case Discard(name):
                state = without(state, name)
            case CloseStage(it):
                state = without(state, StageName(StageKind.BUILDING, it))
            case PointPrevious(it):
                assert state.sealed(it)
                state = replace(state, previous=it)
            case PointCurrent(it):
                assert state.current is None
                assert state.sealed(it)
                state = replace(state, current=it)
            case Exchange(current, previous):
                assert (state.previous, state.current) == (current, previous)
                state = replace(state, current=current, previous=previous)
            case Publish():
                pass  # names do not change
            case _:
                raise AssertionError(step)
        # S2: both links resolve at every instant.
        assert state.tree(state.current) or state.current is None
        assert state.tree(state.previous) or state.previous is None
    return state


def without(state: StoreState, name: StageName) -> StoreState:
    assert name in {one.name for one in state.stages}
    return replace(state, stages=tuple(one for one in state.stages if one.name != name))


@given(states())
def test_recovery_settles_whatever_there_is(state: StoreState) -> None:
    """TR-2, TR-5: once is enough, and no tree and no pin is touched."""
    settled = after(state, plan_recovery(state))

    assert plan_recovery(settled) == ()
    assert (settled.litter, settled.orphans) == ((), ())
    assert len(settled.stages) <= 1
    for one in settled.stages:
        assert one.name.kind is StageKind.SPARE
        assert one.has_root
        assert one.has_meta
    assert settled.trees == state.trees
    assert settled.settings == state.settings
    assert settled.current is not None or state.current is None


@given(states())
def test_what_is_settled_is_known_without_a_plan(state: StoreState) -> None:
    """TR-2: so that a look at a store need not load the planners."""
    assert state.is_settled == (plan_recovery(state) == ())


# --- rollback ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "to", "plan"),
    [
        (store(6, 7, current=7, previous=6), None, (Exchange(N6, N7),)),
        (store(6, 7, current=6, previous=7), None, (Exchange(N7, N6),)),
        (store(6, 7, current=7, previous=6), 6, (Exchange(N6, N7),)),
        (store(5, 6, 7, current=7, previous=6), 5, (PointPrevious(N5), Exchange(N5, N7))),
        (store(6, 7, current=7), 6, (PointPrevious(N6), Exchange(N6, N7))),
        (store(6, 7, previous=6), None, (PointCurrent(N6),)),
        (store(6, 7), 7, (PointCurrent(N7),)),
        (store(6, 7, current=7, previous=6, pinned=[6]), None, (Exchange(N6, N7),)),
    ],
)
def test_rollback(state: StoreState, to: Number | None, plan: Plan) -> None:
    """S2, TR-14."""
    assert plan_rollback(state, maybe(to)) == plan


@pytest.mark.parametrize(
    ("state", "to", "error", "message"),
    [
        (store(), None, NotFound, "no previous version"),
        (store(7, current=7), None, NotFound, "no previous version"),
        (store(7, current=7), 6, NotFound, "olpc.6: no such tree"),
        (store(), 6, NotFound, "olpc.6: no such tree"),
        (store(6, 7, current=7, previous=6), 7, Refused, "olpc.7 is current already"),
        (store(7, current=7, previous=7), None, Refused, "olpc.7 is current already"),
        (store(6, 7, current=7, unsealed=[6]), 6, InvalidInput, "olpc.6 has no seal record"),
        (
            store(6, 7, current=7, previous=6, unsealed=[6]),
            None,
            InvalidInput,
            "olpc.6 has no seal record",
        ),
    ],
)
def test_rollback_is_refused(
    state: StoreState, to: Number | None, error: type[Exception], message: str
) -> None:
    """S6, ST-4."""
    with pytest.raises(error, match=message):
        plan_rollback(state, maybe(to))


@given(states())
def test_two_rollbacks_are_none(state: StoreState) -> None:
    """TR-14."""
    try:
        once = after(state, plan_rollback(state, None))
        twice = after(once, plan_rollback(once, None))
    except (NotFound, Refused, InvalidInput):
        return
    assert twice == state


@given(states(), NUMBERS)
def test_a_rollback_leads_where_it_says(state: StoreState, to: TreeNumber) -> None:
    """S2: what was current is previous then, so that one can come back."""
    try:
        plan = plan_rollback(state, to)
    except (NotFound, Refused, InvalidInput):
        assert state.sealed(to) is None or state.current == to
        return
    reached = after(state, plan)

    assert reached.current == to
    if state.current is not None:
        assert reached.previous == state.current


# --- upgrade -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "seed"),
    [
        (store(), Seed("empty")),
        (store(7, current=7), Seed("tree", N7)),
        (store(6, 7, current=6), Seed("tree", N6)),
        (store(6, 7), Seed("tree", N7)),
        (store(6, 7, current=7, unsealed=[7]), Seed("tree", N6)),
        (store(7, current=7, unsealed=[7]), Seed("empty")),
        (store(7, current=7, stages=["spare.7/root/meta"]), Seed("spare", N7)),
        (store(6, 7, current=6, stages=["spare.7/root/meta"]), Seed("spare", N7)),
        (store(7, current=7, stages=["spare.7/root"]), Seed("tree", N7)),
        (store(stages=["spare.7/root/meta"]), Seed("spare", N7)),
    ],
)
def test_the_seed_of_the_next_tree(state: StoreState, seed: Seed) -> None:
    """TR-13: the spare if there is one."""
    assert choose_seed(state) == seed


def test_a_spare_that_cannot_be_trusted_is_left_out() -> None:
    state = store(7, current=7, stages=["spare.7/root/meta", "spare.6/root/meta"])

    assert choose_seed(without_spare(state)) == Seed("tree", N7)


NEEDS = Needs(added=1, removed=2, changed=3, restored=4, fetch_objects=5, fetch_bytes=600)
SEALING = (Apply(N8, 10), Record(N8), SealTree(N8))


@pytest.mark.parametrize(
    ("state", "seed", "start", "switch"),
    [
        (store(), Seed("empty"), StartEmpty(N8), (PointCurrent(N8),)),
        (
            store(7, current=7),
            Seed("tree", N7),
            CloneTree(N7, N8),
            (PointPrevious(N8), Exchange(N8, N7)),
        ),
        (
            store(6, 7, current=7, previous=6),
            Seed("spare", N7),
            TakeSpare(N7, N8),
            (PointPrevious(N8), Exchange(N8, N7)),
        ),
    ],
)
def test_an_upgrade(state: StoreState, seed: Seed, start: Step, switch: Plan) -> None:
    """S1, S2, S6: content first, then the tree, its seal, the switch, and only then removal."""
    assert plan_upgrade(state, N8, seed, NEEDS) == (
        Fetch(5, 600),
        start,
        *SEALING,
        *switch,
        CloseStage(N8),
        ClearObjects(),
    )


def test_configuration_is_merged_between_the_record_and_the_seal() -> None:
    """MG-11: what is recorded is the release, what is sealed is all that is there."""
    steps = plan_upgrade(store(7, current=7), N8, Seed("spare", N7), NEEDS, merged_from=N7)
    at = steps.index(Merge(N7, N8))

    assert (steps[at - 1], steps[at + 1]) == (Record(N8), SealTree(N8))


@pytest.mark.parametrize(("previous", "links"), [(6, (PointPrevious(number("7.1")),)), ("7.1", ())])
def test_a_fallback_is_made_as_an_upgrade_and_no_link_but_previous_changes(
    previous: Number, links: Plan
) -> None:
    """UL-4: it is not on trial, and what is on the way to it is never switched to."""
    fallback = number("7.1")
    state = store(6, 7, current=7, previous=previous)
    state = replace(state, boot=BootState())

    steps = plan_fallback(state, fallback, Seed("tree", N7), NEEDS, merged_from=N7)

    assert steps == (
        Fetch(5, 600),
        CloneTree(N7, fallback),
        Apply(fallback, 10),
        Record(fallback),
        Merge(N7, fallback),
        SealTree(fallback),
        *links,
        Discard(stage_name("fallback.7.1")),
        ClearObjects(),
    )


def test_of_trees_that_are_alike_previous_comes_first_and_then_the_newest() -> None:
    """UL-4: others of the version have other bundles, or are not sealed."""
    state = store(6, 7, "7.1", "7.2", "7.3", "7.4", current=7, previous="7.1", unsealed=["7.3"])
    other = replace(tree("7.4"), seal=replace(SEALED, parts={"base": HASH, "doc": OTHER}))
    state = replace(state, trees=(*state.trees[:-1], other))

    found = alike(state, state.trees[1])

    assert [one.name for one in found] == ["olpc.7.1", "olpc.7.2"]


def known_of(state: StoreState, wanted: Release, *names: str) -> TreeNumber | None:
    return find_known(state, wanted, choose(wanted, names))


@pytest.mark.parametrize(
    ("state", "version", "known"),
    [
        (store(7, current=7), 8, None),
        (store(7, current=7), 7, 7),
        (store(6, 7, current=7, previous=6), 6, 6),
        (store(6, "7.1", current=6), 7, "7.1"),
        (store(6, "7.1", current=6), 6, 6),
        (store(6, 7, "7.1", current=6, unsealed=["7.1"]), 7, 7),
        (store(6, "7.1", current=6, unsealed=["7.1"]), 7, None),
        (store(7, "7.1", current="7.1", previous=7), 7, "7.1"),
    ],
)
def test_a_tree_that_is_here_is_found(
    state: StoreState, version: int, known: Number | None
) -> None:
    """RL-12."""
    assert known_of(state, release(version)) == maybe(known)


@pytest.mark.parametrize(
    ("state", "version", "following"),
    [
        (store(6, current=6), 7, 7),
        (store(6, 7, current=7), 7, "7.1"),
        (store(7, "7.1", "7.9", current=7), 7, "7.10"),
        (store(6, "7.1", current=6), 7, "7.2"),
        (store(7, "7.1", current=7, unsealed=["7.1"]), 7, "7.2"),
        (replace(store(7, current=7), obstacles=frozenset({"olpc.7.1"})), 7, "7.2"),
        (replace(store(7, current=7), boot=BootState(bad=("olpc.7.1", "olpc.7.2"))), 7, "7.3"),
        (replace(store(6, current=6), boot=BootState(bad=("olpc.7",))), 7, 7),
    ],
)
def test_the_number_of_another_tree(state: StoreState, version: int, following: Number) -> None:
    """RL-12, ST-2: nothing else has its name, and none that is bad had it."""
    assert next_number(state, version) == number(following)


def test_a_tree_with_other_bundles_is_another_tree() -> None:
    """RL-12."""
    seven = replace(
        release(7), bundles=(Bundle("base", HASH, 1, 1, 1), Bundle("games", OTHER, 1, 1, 1))
    )
    assert known_of(store(6, 7, current=6), seven) == number(7)
    assert known_of(store(6, 7, current=6), seven, "games") is None


@pytest.mark.parametrize(
    ("state", "to", "plan"),
    [
        (store(7, current=7), 7, ()),
        (store(6, 7, current=7, previous=6), 6, (Exchange(N6, N7),)),
        (store(6, 7, current=6), 7, (PointPrevious(N7), Exchange(N7, N6))),
        (store(7, "7.1", current="7.1"), 7, (PointPrevious(N7), Exchange(N7, number("7.1")))),
        (store(7), 7, (PointCurrent(N7),)),
    ],
)
def test_the_switch_to_a_tree_that_is_here(state: StoreState, to: Number, plan: Plan) -> None:
    """S2."""
    assert plan_switch(state, number(to)) == plan


def test_a_version_with_other_content_is_refused() -> None:
    """RL-12: a version means one thing."""
    with pytest.raises(Refused, match=r"olpc\.7 is here with other content"):
        known_of(store(7, current=7), release(7, manifest=OTHER))
    with pytest.raises(Refused, match=r"olpc\.7\.1 is here with other content") as caught:
        known_of(store(6, "7.1", current=6), release(7, manifest=OTHER))
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("rootman prune 7.1")


def test_a_directory_in_the_way_is_refused() -> None:
    """ST-4."""
    with pytest.raises(InvalidInput, match=r"olpc\.8 exists and rootman did not make it"):
        known_of(store(7, 8, current=7, unsealed=[8]), release(8))


def permit(
    state: StoreState,
    wanted: Release,
    *,
    hardware: Collection[str] = ("olpc,xo-1.75", "mrvl,mmp2"),
    allow_downgrade: bool = False,
) -> None:
    check_release(
        state,
        wanted,
        hardware=hardware,
        allow_downgrade=allow_downgrade,
        rootman_version="0.1.0",
    )


@pytest.mark.parametrize(
    ("state", "wanted", "options"),
    [
        (store(7, current=7), release(8), {}),
        (store(), release(1), {}),
        (store(9), release(1), {}),
        (store(7, current=7), release(7), {}),
        (store(7, "7.1", current="7.1"), release(7), {}),
        (store(7, current=7), release(6), {"allow_downgrade": True}),
        (store(7, current=7), release(8, compatible=("mrvl,mmp2", "other")), {}),
        (store(7, current=7), release(8, minimum_rootman="0.1"), {}),
        (store(7, current=7), release(8, minimum_rootman="0.1.0"), {}),
    ],
)
def test_a_release_is_taken(state: StoreState, wanted: Release, options: dict[str, Any]) -> None:
    """RL-12."""
    permit(state, wanted, **options)


@pytest.mark.parametrize(
    ("state", "wanted", "options", "message"),
    [
        (store(), release(8, name="debian"), {}, r"debian\.8 is another OS: .* holds olpc"),
        (store(7, current=7), release(6), {}, r"olpc\.6 is not newer than olpc\.7"),
        (store(6, 7, current=7), release(6), {}, r"olpc\.6 is not newer than olpc\.7"),
        (store(7, "7.1", current="7.1"), release(6), {}, r"olpc\.6 is not newer than olpc\.7\.1"),
        (store(), release(8, compatible=("xo-4",)), {}, "is for xo-4; this device is mrvl"),
        (store(), release(8, compatible=("xo-4",)), {"hardware": ()}, "nothing known"),
        (store(), release(8, minimum_rootman="0.2"), {}, "needs rootman 0.2, this is 0.1.0"),
        (store(), release(8, minimum_rootman="0.1.1"), {}, r"needs rootman 0\.1\.1"),
        (
            store(7, current=7),
            release(6, compatible=("xo-4",)),
            {"allow_downgrade": True},
            "is for xo-4",
        ),
    ],
)
def test_a_release_is_refused(
    state: StoreState, wanted: Release, options: dict[str, Any], message: str
) -> None:
    """RL-12, S6: with a way out."""
    with pytest.raises(Refused, match=message) as caught:
        permit(state, wanted, **options)

    assert caught.value.hint
    assert "\n" not in str(caught.value)


# --- room ----------------------------------------------------------------------------


def room(
    needs: Needs,
    seed: str,
    free: Room,
    directories: int = 0,
    download: Download = NO_DOWNLOAD,
    *,
    local: Sequence[int] = (),
) -> None:
    check_room(
        needs,
        Seed(seed, N7),  # type: ignore[arg-type]
        free,
        download,
        directories=directories,
        manifest_size=1_000_000,
        local=local,
    )


def test_local_configuration_needs_room() -> None:
    """S6, MG-11: it is copied, each file to an inode of its own."""
    with pytest.raises(NoSpace, match="MiB are free"):
        room(Needs(), "spare", replace(ROOM, free_bytes=1 << 21), local=[1 << 21])
    with pytest.raises(NoSpace, match="needs 18 inodes"):
        room(Needs(), "spare", replace(ROOM, free_inodes=17), local=[1, 1])


@pytest.mark.parametrize("seed", ["spare", "tree", "empty"])
def test_there_is_room(seed: str) -> None:
    """S6."""
    room(NEEDS, seed, ROOM, directories=1_000)
    room(NEEDS, seed, replace(ROOM, free_inodes=None), directories=1_000)


@pytest.mark.parametrize(
    ("download", "wanted"),
    [
        (NO_DOWNLOAD, 50 << 20),
        (Download(packs=9 << 20, apart=9 << 20), 50 << 20),  # what comes is not what is kept
        (Download(kept=20 << 20), 70 << 20),
        (Download(kept=20 << 20, here=30 << 20), 40 << 20),
        (Download(here=90 << 20), 0),
    ],
)
def test_room_for_what_comes(download: Download, wanted: int) -> None:
    """S6, HT-11: what is kept while it comes takes room, and what is here takes none again."""
    needs, free = Needs(fetch_bytes=50 << 20), wanted + 500_000
    room(needs, "spare", Room(free, None), download=download)
    with pytest.raises(NoSpace):
        room(needs, "spare", Room(free - 1, None), download=download)


@pytest.mark.parametrize(
    ("needs", "seed", "free", "directories", "what"),
    [
        (Needs(fetch_bytes=1 << 41), "spare", ROOM, 0, r"needs 2097152\.\d MiB and 1048576\.0 MiB"),
        (Needs(), "spare", replace(ROOM, free_bytes=0), 0, r"needs 0\.5 MiB and 0\.0 MiB"),
        (Needs(new_inodes=1_000), "spare", replace(ROOM, free_bytes=1 << 21), 0, "MiB"),
        (Needs(), "tree", replace(ROOM, free_bytes=1 << 21), 10_000, "MiB"),
        (Needs(new_inodes=100), "spare", replace(ROOM, free_inodes=100), 0, "needs 116 inodes and"),
        (Needs(), "tree", replace(ROOM, free_inodes=100), 100, "needs 116 inodes and 100 are free"),
        (Needs(), "spare", replace(ROOM, free_inodes=0), 0, "needs 16 inodes and 0 are free"),
    ],
)
def test_there_is_no_room(needs: Needs, seed: str, free: Room, directories: int, what: str) -> None:
    """S6: what is missing is said."""
    with pytest.raises(NoSpace, match=what) as caught:
        room(needs, seed, free, directories)

    assert caught.value.hint == "rootman prune"


def test_a_spare_has_its_directories() -> None:
    room(Needs(), "spare", replace(ROOM, free_inodes=100), directories=10_000)


# --- adoption, the spare, pruning, pins ----------------------------------------------


def test_adoption() -> None:
    """S1: only the first tree becomes current by being taken in."""
    made = (StartEmpty(N8), Apply(N8, 0), Record(N8), SealTree(N8))

    assert plan_adoption(store(), N8) == (*made, PointCurrent(N8), CloseStage(N8))
    assert plan_adoption(store(7, current=7), N8) == (*made, CloseStage(N8))


@pytest.mark.parametrize("here", [7, "7.1"])
@pytest.mark.parametrize("sealed", [True, False])
def test_adoption_of_what_is_here(here: Number, sealed: bool) -> None:  # noqa: FBT001
    """S6, ST-4: a version means one thing."""
    state = store(6, here, current=6, unsealed=[] if sealed else [here])

    with pytest.raises(Refused, match=rf"olpc\.{here} is here already"):
        plan_adoption(state, N7)


@pytest.mark.parametrize(
    ("state", "new", "fallen"),
    [
        (store(6, 7, current=7, previous=6), 8, 6),
        (store(6, 7, current=6, previous=7), 8, 7),
        (store(7, current=7), 8, None),
        (store(), 8, None),
        (store(6, 7, current=7, previous=6), 6, None),
        (store(7, current=7, previous=7), 8, None),
        (store(7, "7.1", current="7.1", previous=7), "7.2", 7),
        (store(7, "7.1", current="7.1", previous=7), 7, None),
        (store(6, 7, current=7, previous=6, pinned=[6]), 8, None),
        (store(6, 7, current=7, previous=6, unsealed=[6]), 8, None),
    ],
)
def test_the_tree_that_falls_out(state: StoreState, new: Number, fallen: Number | None) -> None:
    """TR-13: and may become the spare."""
    assert falling_out(state, number(new)) == maybe(fallen)


@pytest.mark.parametrize(
    ("state", "fallen", "plan"),
    [
        (store(6, 7, 8, current=8, previous=7), 6, (Retire(N6), RollForward(N6, N8))),
        (store(7, 8, current=8, previous=7), None, (CloneSpare(N8),)),
        (
            store(7, 8, current=8, previous=7, stages=["spare.7/root/meta"]),
            None,
            (Discard(stage_name("spare.7")), CloneSpare(N8)),
        ),
        (store(), None, ()),
    ],
)
def test_the_next_spare(state: StoreState, fallen: Number | None, plan: Plan) -> None:
    """TR-13, S1: a tree loses its name before it is changed."""
    assert plan_spare(state, maybe(fallen)) == plan


def deletions(plan: Plan) -> list[TreeNumber]:
    assert plan[-1] == ClearObjects()
    steps = [step for step in plan if isinstance(step, DeleteTree)]
    assert list(plan[:-1]) == steps
    return [step.number for step in steps]


@pytest.mark.parametrize(
    ("state", "keep", "victims"),
    [
        (store(), 2, []),
        (store(1, 2, 3, 4, 5, current=5, previous=4), 2, [1, 2, 3]),
        (store(1, 2, 3, 4, 5, current=5, previous=4), 0, [1, 2, 3]),
        (store(1, 2, 3, 4, 5, current=5, previous=4), 4, [1]),
        (store(1, 2, 3, 4, 5, current=5, previous=4), 9, []),
        (store(1, 2, 3, 4, 5, current=1, previous=2), 2, [3]),
        (store(1, 2, 3, 4, 5, current=1, previous=2), 0, [3, 4, 5]),
        (store(1, 2, 3, 4, 5, current=5, previous=4, pinned=[2]), 2, [1, 3]),
        (store(1, 2, 3, 4, 5, current=5, previous=4, unsealed=[1]), 2, [2, 3]),
        (store(1, 2, 3), 1, [1, 2]),
        (store(2, "2.1", "2.9", "2.10", 3, current=3, previous="2.1"), 2, [2, "2.9"]),
        (store("2.9", "2.10", current="2.9", previous="2.10", pinned=[2]), 0, []),
    ],
)
def test_pruning_keeps_the_newest_and_the_protected(
    state: StoreState, keep: int, victims: list[Number]
) -> None:
    """TR-15, ST-4."""
    assert deletions(plan_prune(state, keep, ())) == list(map(number, victims))


def test_pruning_what_is_named() -> None:
    """TR-15: and nothing else, each once."""
    state = store(1, 2, 3, 4, 5, current=5, previous=4)

    assert deletions(plan_prune(state, 2, (N3,))) == [N3]
    assert deletions(plan_prune(state, 2, (N3, N1, N3))) == [N1, N3]


@pytest.mark.parametrize(
    ("version", "error", "message"),
    [
        (5, Refused, r"olpc\.5 is current: not deleted"),
        (4, Refused, r"olpc\.4 is previous: not deleted"),
        (2, Refused, r"olpc\.2 is pinned: not deleted"),
        (9, NotFound, r"olpc\.9: no such tree"),
        (1, InvalidInput, r"olpc\.1 has no seal record"),
    ],
)
def test_what_is_protected_is_not_deleted(
    version: int, error: type[Exception], message: str
) -> None:
    """TR-15, S6: nor is anything else then."""
    state = store(1, 2, 3, 4, 5, current=5, previous=4, pinned=[2], unsealed=[1])

    with pytest.raises(error, match=message):
        plan_prune(state, 2, (N3, number(version)))


@given(states(), st.integers(0, 6))
def test_pruning_by_default_deletes_nothing_that_is_protected(state: StoreState, keep: int) -> None:
    """TR-15, TR-5."""
    victims = deletions(plan_prune(state, keep, ()))

    sealed = {one.number for one in state.trees if one.seal}
    assert sealed.issuperset(victims)
    assert not {state.current, state.previous, *state.settings.pinned} & set(victims)
    assert all(protection(state, one) is None for one in victims)
    assert len(sealed - set(victims)) >= min(keep, len(sealed))


@pytest.mark.parametrize(
    ("pinned", "tree", "pin", "expected"),
    [
        ([6], "6.1", True, [6, "6.1"]),
        (["6.1"], 6, False, None),
        ([], 6, True, [6]),
        ([3], 6, True, [3, 6]),
        ([6], 6, True, None),
        ([3, 6], 6, False, [3]),
        ([3], 6, False, None),
    ],
)
def test_pins(
    pinned: list[Number],
    tree: Number,
    pin: bool,  # noqa: FBT001
    expected: list[Number] | None,
) -> None:
    """ST-13: nothing is written where nothing changes."""
    state = store(6, "6.1", 7, current=7, pinned=pinned)

    plan = plan_pin(state, number(tree), pinned=pin)

    pins = frozenset(map(number, expected or ()))
    assert plan == (() if expected is None else (SaveSettings(Settings("olpc", pins)),))


@pytest.mark.parametrize("pin", [True, False])
def test_only_trees_are_pinned(pin: bool) -> None:  # noqa: FBT001
    with pytest.raises(NotFound, match=r"olpc\.9: no such tree"):
        plan_pin(store(7, current=7), N9, pinned=pin)


def test_a_pin_keeps_what_else_is_set() -> None:
    state = replace(store(7), settings=Settings("olpc", compatible="xo-1"))

    assert plan_pin(state, N7, pinned=True) == (
        SaveSettings(Settings("olpc", frozenset({N7}), "xo-1")),
    )


def test_every_step_says_what_it_does() -> None:
    """EX-3: it is what --dry-run prints and what an error names."""
    name = stage_name("spare.7")
    plan: Plan = (
        Publish(), Discard(name), Sweep("link"), DropRecord(N6), Fetch(5, 600), TakeSpare(N7, N8),
        CloneTree(N7, N8), StartEmpty(N8), Apply(N8, 10), Record(N8), SealTree(N8),
        PointPrevious(N8), PointCurrent(N8), Exchange(N8, N7), CloseStage(N8), Retire(N6),
        RollForward(N6, N8), CloneSpare(N8), DeleteTree(N6), ClearObjects(),
        SaveSettings(Settings("olpc")),
    )  # fmt: skip

    texts = [str(step) for step in plan]

    assert len(set(texts)) == len(texts)
    assert all(text and "\n" not in text and "(" not in text[:1] for text in texts)
