"""A short guided run of every check; ``make fuzz`` goes on for as long as it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.campaign import guided_run
from tests.fuzz.documents import seeds
from tests.fuzz.parsers import CHECKS

if TYPE_CHECKING:
    from pathlib import Path

RUNS = {
    "names": 30_000,
    "line": 75_000,
    "streams": 5_000,
    "manifests": 6_000,
    "edits": 20_000,
    "bundle": 30_000,
    "composition": 5_000,
    "release": 25_000,
    "index": 15_000,
    "state": 15_000,
    "block": 20_000,
    "record": 3_000,
    "metadata": 750,
    "pack": 6_000,
    "offline": 5_000,
    "configuration": 10_000,
}


@pytest.mark.parametrize("check", CHECKS)
def test_seeds_are_valid(check: str) -> None:
    """What a guided run begins with passes; otherwise it would find nothing but that."""
    for data in seeds(check):
        CHECKS[check](data)


@pytest.mark.atheris
@pytest.mark.parametrize("check", CHECKS)
def test_any_bytes_are_refused_or_taken_as_they_are(check: str, tmp_path: Path) -> None:
    """MF-3, MF-4, MF-12, MF-13, RL-1, RL-2, RL-13, ST-5 to ST-8.

    BT-1, BT-2, BT-3, BU-1, BU-5, BU-6, ST-13, ST-15, ST-17, ST-19, EX-4.
    """
    run = guided_run(check, tmp_path, runs=RUNS[check])

    assert not run.findings, run.output
    assert run.executions >= RUNS[check]
    assert run.corpus > len(seeds(check)) / 2
    assert run.coverage
