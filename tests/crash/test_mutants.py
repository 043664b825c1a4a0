"""The crash states find what they are there to find: mutants that a power cut shows."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from tests.crash.campaign import carry_out_all
from tests.crash.mutants import CASES, Case
from tests.crash.trials import Job

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.crash

RECORDINGS: Final = 6
"""One that commits at other moments may show nothing."""
STATES: Final = 250


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mutant_is_found(scratch: Path, case: Case) -> None:
    jobs = (
        Job(case.filesystem, case.scenario, seed, STATES, case.mutant.name)
        for seed in range(RECORDINGS)
    )

    found: list[str] = []
    with closing(carry_out_all(scratch, jobs, to_the_first=True)) as results:
        for result in results:
            found += [one for trial in result.violations for one in trial.wrong]
            if any(f"{case.mutant.breaks}: " in one for one in found):
                return

    pytest.fail(f"{case.mutant.breaks} is not among: {found}")
