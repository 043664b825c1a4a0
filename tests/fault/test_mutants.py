"""The faults find what they are there to find: mutants that leave something wrong on the disk."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.fault.faulty import interposed
from tests.fault.mutants import STATE, Mutant
from tests.fault.scenarios import SCENARIOS
from tests.fault.sweep import learn_store, store_trial, sweep

if TYPE_CHECKING:
    from pathlib import Path

    from rootman.fsops import Fs
    from tests.fault.lanes import Template
    from tests.fault.sweep import Told, Trial
    from tests.stores import Lab

pytestmark = pytest.mark.loopfs

SCENARIO = next(one for one in SCENARIOS if one.name == "upgrade on trial")


@pytest.fixture(scope="module")
def template(scratch: Path) -> Template[Told]:
    return learn_store(scratch, SCENARIO)


@pytest.mark.parametrize("mutant", STATE, ids=str)
def test_a_mutant_is_found(scratch: Path, template: Template[Told], mutant: Mutant) -> None:
    def command(lab: Lab, fs: Fs) -> object:
        return SCENARIO.command(lab, interposed(fs, mutant.tap))

    with mutant.applied():
        trial = partial(store_trial, replace(SCENARIO, command=command), template.told, "kill")
        trials = sweep(scratch, template, trial, to_the_first=True)

    found = {one.partition(": ")[2].partition(":")[0] for one in _all(trials)}
    assert mutant.breaks in found


def _all(trials: list[Trial]) -> list[str]:
    return [one for trial in trials for one in trial.violations]
