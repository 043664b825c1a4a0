"""The order of changes that a power cut must find (S1 to S3), and mutants that break it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.fault.faulty import Hasty, interposed
from tests.fault.mutants import ORDER, Mutant, dropping
from tests.fault.order import RULES, Event, check
from tests.fault.scenarios import SCENARIOS, Scenario
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fault.faulty import Call

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


class Recorder:
    """A tap that keeps what was done to a store."""

    def __init__(self, store: Path) -> None:
        self._store = str(store)
        self.events: list[Event] = []

    def __call__(self, call: Call) -> None:
        inside = [path for path in call.paths if self._holds(path)]
        if inside:
            paths = tuple(os.path.relpath(path, self._store) for path in inside)
            text = os.fsdecode(call.arguments["target"]) if call.op == "symlink" else ""
            self.events.append(Event(call.op, paths, text))

    def _holds(self, path: str) -> bool:
        return path == self._store or path.startswith(f"{self._store}/")


def violated(home: Path, scenario: Scenario, mutant: Mutant | None = None) -> set[str]:
    """Return the rules that the calls of a command break."""
    lab = Lab(home, make_fs=Hasty)
    scenario.prepare(lab)
    ends = [os.path.join(lab.store, name) for name in ("current", "previous")]
    current, previous = (os.readlink(one) if os.path.lexists(one) else "" for one in ends)
    recorder = Recorder(lab.store)
    fs = interposed(Hasty(), recorder)
    if mutant is None:
        scenario.command(lab, fs)
    else:
        with mutant.applied():
            scenario.command(lab, dropping(fs, mutant.drops))
    found = check(recorder.events, changing=scenario.changing, current=current, previous=previous)
    return {one.rule for one in found}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_every_command_keeps_the_order(tmp_on_ext4: Path, scenario: Scenario) -> None:
    """S1 S2 S3: for every command, also one that has another to recover from."""
    assert violated(tmp_on_ext4, scenario) == set()


@pytest.mark.parametrize("mutant", ORDER, ids=str)
def test_a_wrong_order_is_found(tmp_on_ext4: Path, mutant: Mutant) -> None:
    name = "prune" if "delet" in mutant.name and "tree" in mutant.name else "upgrade from the spare"
    if "configuration" in mutant.name:
        name = "rollback --keep-config"

    assert mutant.breaks in violated(tmp_on_ext4, BY_NAME[name], mutant)


def test_every_rule_is_broken_by_a_mutant() -> None:
    assert {mutant.breaks for mutant in ORDER} == set(RULES)
