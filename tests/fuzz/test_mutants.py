"""Random trees and guided bytes find what they are there to find."""

from __future__ import annotations

import subprocess
import tempfile
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.campaign import ROOT, guided_run
from tests.fuzz.documents import seeds
from tests.fuzz.mutants import PARSERS, UPGRADES
from tests.fuzz.test_upgrades import live
from tests.fuzz.trees import versions

if TYPE_CHECKING:
    from pathlib import Path

    from tests.builders import Tree
    from tests.filesystems import LoopFilesystem

# As many examples as it takes and no more; the same in every run that imports the same modules.
SEARCH: Final = settings(
    max_examples=3000,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
RUNS: Final = 100_000


@pytest.mark.loopfs
@pytest.mark.parametrize("mutant", UPGRADES)
def test_a_broken_upgrade_is_found(
    ext4: LoopFilesystem, monkeypatch: pytest.MonkeyPatch, mutant: str
) -> None:
    UPGRADES[mutant](monkeypatch)

    @SEARCH
    @given(versions(4))
    def search(trees: list[Tree]) -> None:
        with tempfile.TemporaryDirectory(dir=ext4.path) as home:
            live(home, trees)

    with pytest.raises(AssertionError):
        search()


@pytest.mark.atheris
@pytest.mark.parametrize("mutant", PARSERS)
def test_a_broken_parser_is_found(tmp_path: Path, mutant: str) -> None:
    """What it was found with breaks it again, and the parser as it is does not mind."""
    check = PARSERS[mutant].check

    run = guided_run(check, tmp_path, runs=RUNS, mutant=mutant, patience=0.5)

    assert len(run.findings) == 1
    assert run.executions > 2 or len(seeds(check)) <= 2
    again = run.replay()[0].split()
    assert subprocess.run(again, check=False, cwd=ROOT, capture_output=True).returncode == 0
    broken = [*again[:4], "--mutant", mutant, "--patience=0.5", *again[4:]]
    assert subprocess.run(broken, check=False, cwd=ROOT, capture_output=True).returncode != 0
