"""The crash states find what they are there to find: mutants that a power cut shows."""

from __future__ import annotations

import re
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.crash.campaign import Tally, carry_out_all
from tests.crash.mutants import CASES, Case
from tests.crash.trials import Job, look_again, unpack
from tests.fault.faulty import Forked

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

    claim = f" {case.mutant.breaks}: "
    found: set[str] = set()
    with closing(carry_out_all(scratch, jobs, until=claim)) as results:
        for result in results:
            found.update(one for trial in result.violations for one in trial.wrong)
            if any(claim in one for one in found):
                return

    pytest.fail(f"{claim} is not among: {sorted(found)}")


def test_a_violation_is_kept_and_seen_again(scratch: Path, tmp_path: Path) -> None:
    case = CASES[0]
    job = Job(case.filesystem, case.scenario, 0, STATES, case.mutant.name)
    tally = Tally(keep=tmp_path)

    with closing(carry_out_all(scratch, [job], until="")) as results:
        for result in results:
            tally.add(result)

    *_, first, again = tally.lines()
    *command, recording, number = again.removeprefix("again: ").split()
    assert command == [".venv/bin/python", "-m", "tests.crash", "replay"]
    kept = unpack(Path(recording).read_bytes())
    (trial,) = Forked(partial(look_again, scratch, kept, int(number))).surely()
    assert trial.wrong
    assert _on_any_loop(str(trial)) == _on_any_loop(first)


def _on_any_loop(told: str) -> str:
    """Return what was told without the number of the loop device, which the kernel's words have."""
    return re.sub(r"\bloop\d+", "loop", told)
