"""The life of a tree on trial, and the plans that a store makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rootman.admission import check_proven
from rootman.boot.block import BootState
from rootman.boot.choice import choose
from rootman.boot.planning import (
    plan_bad,
    plan_boot_init,
    plan_good,
    plan_once,
    plan_rescue,
    require_boot,
)
from rootman.boot.trial import ATTEMPTS, begin, mark_bad, mark_good, standing
from rootman.errors import NotFound, Refused
from rootman.names import StageKind, StageName, TreeNumber
from rootman.plan import plan_rollback
from rootman.recovery import plan_recovery
from rootman.state import Seal, Settings, Stage, StoreState, Tree
from rootman.steps import (
    CloseStage,
    Exchange,
    PointPrevious,
    Publish,
    SaveBoot,
    SaveSettings,
)
from rootman.switching import links_of, plan_known, plan_switch, plan_trial
from tests.numbers import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.numbers import Number

N5, N6, N7 = map(number, (5, 6, 7))


def tree(one: TreeNumber) -> Tree:
    return Tree(one, f"olpc.{one}", Seal(one.version, "0" * 64, 1, 1, 1))


def store(
    current: Number, previous: Number, *others: Number, boot: BootState | None = None
) -> StoreState:
    numbers = sorted({number(one) for one in (current, previous, *others)})
    return StoreState(
        Settings("olpc"), tuple(map(tree, numbers)), number(current), number(previous), boot=boot
    )


def test_a_trial_takes_at_least_two_attempts() -> None:
    """BT-10."""
    assert ATTEMPTS >= 2


def test_a_new_tree_is_on_trial() -> None:
    """BT-10: also one that failed before."""
    boot = begin(BootState(bad=("olpc.6", "olpc.7")), "olpc.7")

    assert boot == BootState("olpc.7", ATTEMPTS, ("olpc.6",))
    assert standing(boot, "olpc.7") == "pending"
    assert standing(boot, "olpc.6") == "bad"
    assert standing(boot, "olpc.5") == "good"


@pytest.mark.parametrize("end", [mark_good, mark_bad])
def test_how_far_the_firmware_may_count_is_of_a_trial(
    end: Callable[[BootState, str], BootState],
) -> None:
    """BT-32."""
    boot = begin(BootState(), "olpc.7", 5)

    assert boot == BootState("olpc.7", ATTEMPTS, limit=5)
    assert begin(boot, "olpc.8").limit == 0
    assert end(boot, "olpc.8").limit == 5
    assert end(boot, "olpc.7").limit == 0


@pytest.mark.parametrize("tries", [0, 1, 3])
def test_a_trial_that_another_one_ends_was_not_passed(tries: int) -> None:
    """BT-7: what has not shown that it works is nothing to fall back to."""
    boot = begin(BootState("olpc.7", tries, ("olpc.5",)), "olpc.8")

    assert boot == BootState("olpc.8", ATTEMPTS, ("olpc.5", "olpc.7"))
    assert begin(BootState("olpc.7", tries), "olpc.7") == BootState("olpc.7", ATTEMPTS)


@pytest.mark.parametrize(
    ("before", "good", "bad"),
    [
        (BootState(), BootState(), BootState(bad=("olpc.7",))),
        (BootState("olpc.7", 2), BootState(), BootState(bad=("olpc.7",))),
        (BootState("olpc.7", 0), BootState(), BootState(bad=("olpc.7",))),
        (BootState("olpc.8", 2), BootState("olpc.8", 2), BootState("olpc.8", 2, ("olpc.7",))),
        (BootState(bad=("olpc.7",)), BootState(), BootState(bad=("olpc.7",))),
    ],
)
def test_marks(before: BootState, good: BootState, bad: BootState) -> None:
    """BT-12: a second mark changes nothing."""
    assert mark_good(before, "olpc.7") == good == mark_good(good, "olpc.7")
    assert mark_bad(before, "olpc.7") == bad == mark_bad(bad, "olpc.7")


def test_the_boot_state_comes_before_the_links() -> None:
    """BT-10: a power cut between the two leaves a tree on trial that nothing leads to."""
    state = store(6, 5, 7, boot=BootState())

    plan = plan_trial(state, N7)

    assert plan == (
        SaveBoot(BootState("olpc.7", ATTEMPTS)),
        PointPrevious(N7),
        Exchange(N7, N6),
    )


def test_without_a_boot_state_nothing_is_on_trial() -> None:
    """BT-10."""
    state = store(6, 5, 7)

    assert plan_trial(state, N7) == plan_switch(state, N7)
    check_proven(state)
    assert plan_good(state, N6) == ()
    with pytest.raises(Refused, match="no boot state"):
        require_boot(state)


def test_a_rollback_puts_nothing_on_trial() -> None:
    """BT-11: what was left, and what it is left for, keep what is known about them."""
    for boot in (BootState(), BootState("olpc.7", 2), BootState("olpc.6", 1)):
        assert plan_rollback(store(7, 6, boot=boot), None) == (Exchange(N6, N7),)


def test_a_rollback_to_a_bad_tree_is_asked_for_twice() -> None:
    """BT-13: and is a trial."""
    state = store(6, 7, boot=BootState(bad=("olpc.7",)))

    with pytest.raises(Refused, match="bad") as refusal:
        plan_rollback(state, None)

    assert refusal.value.hint == "to try it again: rootman rollback --to 7 --retry-bad"
    assert plan_rollback(state, None, retry_bad=True) == (
        SaveBoot(BootState("olpc.7", ATTEMPTS)),
        Exchange(N7, N6),
    )


def test_a_tree_that_is_here_is_on_trial_only_where_it_failed() -> None:
    """BT-10."""
    assert plan_known(store(6, 5, 7, boot=BootState()), N7) == (PointPrevious(N7), Exchange(N7, N6))
    failed = store(6, 5, 7, boot=BootState(bad=("olpc.7",)))
    assert isinstance(plan_known(failed, N7)[0], SaveBoot)


def test_the_way_back_is_not_given_up_for_a_tree_on_trial() -> None:
    """BT-13."""
    with pytest.raises(Refused, match=r"olpc\.7 is on trial"):
        check_proven(store(7, 6, boot=BootState("olpc.7", 0)))

    check_proven(store(7, 6, boot=BootState("olpc.6", 1)))


def interrupted(state: StoreState) -> StoreState:
    """Return the state with version 7 sealed and not switched to, as a power cut leaves it."""
    stage = Stage(StageName(StageKind.BUILDING, N7), has_root=False, has_meta=False)
    return replace(state, stages=(stage,))


@pytest.mark.parametrize(
    ("boot", "expected"),
    [
        # Cut off before the boot state, after it, and after attempts that were made.
        (
            BootState(),
            (SaveBoot(BootState("olpc.7", ATTEMPTS)), PointPrevious(N7), Exchange(N7, N6)),
        ),
        (BootState("olpc.7", 3), (PointPrevious(N7), Exchange(N7, N6))),
        (BootState("olpc.7", 1), (PointPrevious(N7), Exchange(N7, N6))),
        # It failed since: it stays where it is.
        (BootState(bad=("olpc.7",)), ()),
    ],
)
def test_recovery_finishes_a_switch_on_trial(boot: BootState, expected: tuple[object, ...]) -> None:
    """BT-10."""
    plan = plan_recovery(interrupted(store(6, 5, 7, boot=boot)))

    assert plan == (Publish(), *expected, CloseStage(N7))


def test_recovery_follows_the_loader() -> None:
    """TR-20 BT-11: what boots is current again; and what failed is not deleted for that."""
    state = store(7, 6, boot=BootState(bad=("olpc.7",)))

    assert not state.is_settled
    assert plan_recovery(state) == (Publish(), Exchange(N6, N7))


def test_recovery_follows_the_loader_to_the_newest_tree() -> None:
    """BT-11."""
    state = store(7, 6, 5, boot=BootState(bad=("olpc.7", "olpc.6")))

    assert plan_recovery(state) == (Publish(), PointPrevious(N5), Exchange(N5, N7))


@pytest.mark.parametrize(
    "boot",
    [
        BootState("olpc.7", 0),  # this may be the last attempt, at work
        BootState(bad=("olpc.6", "olpc.7")),  # nothing else is there
        BootState(bad=("olpc.7",), pending="olpc.6", tries=0),
    ],
)
def test_recovery_leaves_the_links_where_the_loader_does(boot: BootState) -> None:
    """BT-11."""
    assert plan_recovery(store(7, 6, boot=boot)) == ()


def test_after_recovery_the_loader_takes_current() -> None:
    """BT-11: whatever had failed."""
    for bad in (("olpc.7",), ("olpc.6",), ("olpc.7", "olpc.5"), ("olpc.7", "olpc.6")):
        state = store(7, 6, 5, boot=BootState(bad=bad))
        names = {one.name for one in state.trees}
        taken = choose(BootState(bad=bad), links_of(state), names).tree
        current = f"olpc.{state.current}"
        for step in plan_recovery(state):
            if isinstance(step, Exchange):
                current = f"olpc.{step.current}"
        assert current == taken


def test_the_current_tree_is_left_when_it_is_marked_bad() -> None:
    """BT-12."""
    plan = plan_bad(store(7, 6, boot=BootState("olpc.7", 2)), N7)

    assert plan == (SaveBoot(BootState(bad=("olpc.7",))), Exchange(N6, N7))


def test_the_last_good_tree_is_not_marked_bad() -> None:
    """BT-12."""
    with pytest.raises(Refused, match="last tree"):
        plan_bad(store(7, 6, boot=BootState(bad=("olpc.6",))), N7)


def test_a_mark_needs_a_tree() -> None:
    state = store(7, 6, boot=BootState())
    for planner in (plan_good, plan_bad, plan_once, plan_rescue):
        with pytest.raises(NotFound):
            planner(state, number(9))


def test_what_is_kept_for_rescue_is_pinned() -> None:
    """BT-5."""
    state = store(7, 6, 5, boot=BootState())

    assert plan_rescue(state, N5) == (
        SaveSettings(Settings("olpc", pinned=frozenset({N5}))),
        SaveBoot(BootState(rescue="olpc.5")),
    )
    assert plan_rescue(replace(state, boot=BootState(rescue="olpc.5")), None) == (
        SaveBoot(BootState()),
    )


def test_a_choice_for_one_boot_can_be_taken_back() -> None:
    state = store(7, 6, boot=BootState(bad=("olpc.6",)))

    (step,) = plan_once(state, N6)
    assert step == SaveBoot(BootState(bad=("olpc.6",), once="olpc.6"))
    assert plan_once(replace(state, boot=step.boot), None) == (
        SaveBoot(BootState(bad=("olpc.6",))),
    )


def test_a_boot_state_is_begun_once() -> None:
    assert plan_boot_init(store(7, 6)) == (SaveBoot(BootState()),)
    assert plan_boot_init(store(7, 6, boot=BootState("olpc.7", 1))) == ()
    damaged = replace(store(7, 6, boot=BootState()), is_boot_damaged=True)
    assert plan_boot_init(damaged) == (SaveBoot(BootState()),)
