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
    "names": 60_000,
    "line": 150_000,
    "streams": 10_000,
    "manifests": 12_000,
    "edits": 40_000,
    "bundle": 60_000,
    "composition": 10_000,
    "release": 50_000,
    "index": 30_000,
    "state": 30_000,
    "block": 40_000,
    "record": 6_000,
    "metadata": 1_500,
    "pack": 12_000,
    "offline": 10_000,
    "configuration": 20_000,
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
