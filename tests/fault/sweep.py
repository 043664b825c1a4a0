"""A command with a fault at its first call, its second, its third, until it completes."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from dataclasses import dataclass
from itertools import chain, count, groupby
from typing import TYPE_CHECKING, Final

from cli.render import printable
from tests.builders import published, snapshot
from tests.fault.ahead import read_ahead
from tests.fault.faulty import Fault, Forked, Hasty, Mode, Outcome, attempt, interposed
from tests.fault.lanes import Template, in_lanes, make_template
from tests.fault.states import (
    Known,
    Names,
    Shape,
    merge_violations,
    names_of,
    repair_violations,
    settled_violations,
    shape_of,
    violations,
)
from tests.numbers import number
from tests.stores import Lab, Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rootman.fsops import Fs
    from tests.builders import Snapshot
    from tests.fault.faulty import Call
    from tests.fault.lanes import Lane
    from tests.fault.scenarios import Scenario


_FEW: Final = 8
SETTLED: Final[Names] = frozenset({"settled"})
_HOME: Final = re.compile(r"/[^ (]*/lane[0-9]+/")


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a scenario before its first fault: the trees, and the command's calls.

    ``steps`` has, for each call, how many steps had begun.
    """

    known: Known
    calls: tuple[str, ...]
    steps: tuple[int, ...]
    extra: tuple[str, ...] = ()
    """What else the trial wants to know of the run without a fault."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one fault."""

    at: int
    outcome: Outcome
    names: Names
    violations: tuple[str, ...]


def open_lab(path: Path) -> Lab:
    return Lab(path, make_fs=Hasty)


def suffer(
    lab: Lab,
    command: Callable[[Lab, Fs], object],
    mode: Mode,
    at: int,
    make: Callable[[Mode, int], Fault] = Fault,
) -> Outcome:
    """Give the command with a fault at its call number ``at``; return how it ended."""

    def run() -> Outcome:
        fault = make(mode, at)
        lab.heard = Listener()
        kind, message, code = attempt(lambda: command(lab, interposed(Hasty(), fault)))
        heard = lab.heard
        steps, warnings = tuple(heard.steps), tuple(heard.warnings)
        return Outcome(kind, fault.fired, fault.fired_at, message, code, steps, warnings)

    def die() -> Outcome:
        read_ahead()
        return run()

    if mode != "kill":
        return run()
    return Forked(die).result() or Outcome("killed", fired="killed")


def sweep(
    scratch: Path,
    template: Template[Told],
    trial: Callable[[Lab, int], Trial],
    *,
    to_the_first: bool = False,
    is_variant: bool = False,
) -> list[Trial]:
    """Return the trials with the fault at call 1, 2, 3, ..., to the first that it does not reach.

    Each begins from the template. A fault that waited for a later call is the same as one at
    that call, which is not tried again. ``to_the_first`` violation found is as far as it goes on
    request; of a variant some calls are enough.
    """
    told = template.told
    chosen = some_calls(told.steps) if is_variant else list(range(1, len(told.calls) + 1))

    def work(lane: Lane, index: int, lanes: int) -> list[Trial]:
        trials: list[Trial] = []
        for at in chain(chosen[index::lanes], count(len(told.calls) + 1 + index, lanes)):
            if trials and at <= trials[-1].outcome.fired_at:
                continue
            lane.restore(template.extents)
            trials.append(trial(open_lab(lane.path), at))
            if not trials[-1].outcome.fired or (to_the_first and trials[-1].violations):
                break
        return trials

    return sorted(in_lanes(scratch, template, work), key=lambda one: one.at)


def some_calls(steps: Sequence[int]) -> list[int]:
    """Return the numbers of calls to try of a command of which another has the same steps.

    All of the first and the last in each step, and here and there one between: a step of
    hundreds of calls is one that builds in the stage, where what a call was is seen by nobody.
    """
    chosen: list[int] = []
    for _, calls in groupby(range(1, len(steps) + 1), lambda number: steps[number - 1]):
        numbers = list(calls)
        inner = numbers[_FEW : max(len(numbers) - _FEW, _FEW)]
        chosen += [*numbers[:_FEW], *inner[::_FEW], *numbers[_FEW + len(inner) :]]
    return chosen


def learn(
    scratch: Path,
    prepare: Callable[[Lab], None],
    command: Callable[[Lab, Fs], object],
    check: Callable[[Lab, Known], list[str]],
    tell: Callable[[Lab], tuple[str, ...]] = lambda _: (),
) -> Template[Told]:
    """Prepare a template, and have the command on it once without a fault.

    ``check`` returns what is wrong then, ``tell`` what else to remember.
    """

    def look(lane: Lane, index: int, lanes: int) -> list[Told]:
        del lanes
        if index:
            return []
        lab = open_lab(lane.path)
        known = knowledge(lab)
        calls: list[str] = []
        steps: list[int] = []

        def note(call: Call) -> None:
            calls.append(repr(call))
            steps.append(len(lab.heard.steps))

        command(lab, interposed(Hasty(), note))
        if wrong := check(lab, known):
            raise AssertionError("\n".join(("without a fault:", *wrong)))
        return [Told(known, tuple(calls), tuple(steps), tell(lab))]

    template = make_template(scratch, lambda path: prepare(open_lab(path)))
    return Template(template.extents, in_lanes(scratch, template, look)[0])


def learn_store(scratch: Path, scenario: Scenario) -> Template[Told]:
    """Prepare a command on a store, and have it once without a fault."""

    def check(lab: Lab, known: Known) -> list[str]:
        known = known.but(scenario.changing)
        return [
            *violations(lab, known, shapes=scenario.shapes[-1:], names=[SETTLED]),
            *settled_violations(lab, known),
        ]

    return learn(scratch, scenario.prepare, scenario.command, check)


def knowledge(lab: Lab) -> Known:
    """Look at the trees as they were published, and at those of the store as they are."""
    trees = lab.scan().trees if lab.control.exists() else ()
    wanted, merged = (
        {
            number(path.name.partition(".")[2]): published(snapshot(path))
            for path in lab.home.glob(f"{kind}.*")
        }
        for kind in ("source", "merged")
    )
    return Known(wanted, {tree.number: snapshot(lab.tree(tree.number)) for tree in trees}, merged)


def store_trial(scenario: Scenario, told: Told, mode: Mode, lab: Lab, at: int) -> Trial:
    """Have one fault in a command on a store, and look at what it left, three times over."""
    changing = scenario.changing
    known = told.known.but(changing)
    before = told.known.before.get(number(changing), {})

    def look_at(shapes: tuple[Shape, ...], names: frozenset[Names], *, repaired: bool) -> None:
        broken = 0 if repaired else changing
        found = violations(
            lab, known, shapes=shapes, names=names, except_for=broken, thorough=repaired
        )
        if broken:
            found += changing_violations(scenario, lab, known, before)
        wrong.extend(f"{when}: {one}" for one in found)

    wrong: list[str] = []
    outcome = suffer(lab, scenario.command, mode, at)
    raw = names_of(lab.scan())

    when = "left behind"
    wrong.extend(outcome_violations(mode, outcome, f"repair olpc.{scenario.repairs}"))
    undone = mode in ("ENOSPC", "EIO") and not scenario.interrupted
    look_at(scenario.shapes, frozenset({SETTLED}) if undone else scenario.left, repaired=False)

    when = "looked at while the disk fails"
    if mode in ("full", "dead") and outcome.fired:
        kind, message, _ = attempt(lambda: lab.look(interposed(Hasty(), Fault(mode, 1))))
        if kind != "done":
            wrong.append(f"{when}: TR-4: {message}")

    when = "recovered"
    lab.look()
    wrong.extend(f"{when}: {one}" for one in settled_violations(lab, known))
    look_at(
        (scenario.shapes[0], *scenario.stops, scenario.shapes[-1]),
        frozenset({SETTLED}),
        repaired=False,
    )

    when = "given again"
    if scenario.idempotent or shape_of(lab.scan()) not in scenario.ends:
        kind, message, _ = attempt(lambda: scenario.command(lab, Hasty()))
        if kind != "done":
            wrong.append(f"{when}: {message}")
        wrong.extend(f"{when}: {one}" for one in settled_violations(lab, known))
        # What was recovered after its switch stays so: the tree that fell out is still there.
        look_at(scenario.ends, frozenset({SETTLED}), repaired=True)
    return Trial(at, outcome, raw, tuple(wrong))


def changing_violations(
    scenario: Scenario, lab: Lab, known: Known, before: Snapshot
) -> Iterator[str]:
    """Yield what is wrong with the tree that is changed under its name, on its way."""
    tree = number(scenario.changing)
    now = snapshot(lab.tree(scenario.changing))
    if scenario.merges:
        return merge_violations(now, before, known.merged[tree])
    return repair_violations(now, before, known.wanted[tree])


def outcome_violations(mode: Mode, outcome: Outcome, *steps: str) -> list[str]:
    """Return what is wrong with how a command ended that met a fault (EX-2, EX-3).

    ``steps`` are names that its message may have besides those of the steps it told of.
    """
    if outcome.kind == "bug":
        return [f"EX-4: {outcome.message}"]
    if outcome.kind != "failed":
        return []
    message = printable(outcome.message)
    code = errno.ENOSPC if mode in ("ENOSPC", "full") else errno.EIO
    found: list[str] = []
    if "\n" in message or os.strerror(code) not in message:
        found.append(f"EX-2: {message!r}")
    if outcome.exit_code != (6 if code == errno.ENOSPC else 7):
        found.append(f"EX-1: {outcome.exit_code}: {message}")
    if not any(printable(step) in message for step in (*outcome.steps, *steps)):
        found.append(f"EX-3: no step is named: {message} ({outcome.steps})")
    return found


def report(told: Told, trials: list[Trial]) -> str:
    """Return the first violations, each with the call at which the fault came."""
    lines: list[str] = []
    for trial in trials:
        if trial.violations:
            call = told.calls[trial.at - 1] if trial.at <= len(told.calls) else "a later call"
            call = trial.outcome.fired if trial.outcome.kind != "killed" else call
            call = _HOME.sub("", call)
            lines.append(f"fault at {trial.at}, {call}: {trial.outcome.kind}")
            lines.extend(f"    {one}" for one in trial.violations[:5])
    return "\n".join(lines[:60])


def seen(trials: list[Trial]) -> Counter[Names]:
    """Return in how many trials the store was left in each named state."""
    return Counter(trial.names for trial in trials)
