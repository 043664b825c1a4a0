"""Whenever the power goes: the store is whole, it boots, and the next command puts it right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.crash.campaign import Tally, carry_out_all, jobs
from tests.crash.configurations import CONFIGURATIONS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.crash

SEEDS: Final = (1, 4)
"""Of these, one other process fsyncs now and then meanwhile, and one all the time."""
STATES: Final = 62
"""Drawn from each recording; some are the same disk, and count once."""
ENOUGH: Final = 10_000


@pytest.mark.timeout(1200)
def test_every_power_cut(scratch: Path, table: list[str]) -> None:
    """S1 S2 S3 S4, TR-1 TR-2 TR-16, ST-11 ST-12, RL-7 RL-8."""
    tally = Tally()

    for result in carry_out_all(scratch, (job for seed in SEEDS for job in jobs(seed, STATES))):
        tally.add(result)

    table += tally.lines()
    assert not tally.violations, "\n".join(table)
    assert tally.states >= ENOUGH
    assert all(tally.states_on(one.name) >= ENOUGH // 5 for one in CONFIGURATIONS)
