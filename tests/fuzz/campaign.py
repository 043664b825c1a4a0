"""Guided runs, each in a process of its own, and what they found.

A folder keeps what a run goes on with the next time: inputs that reached something new
(``corpus``), and those that broke something (``findings``).
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.documents import dictionary, seeds
from tests.fuzz.guided import PATIENCE

ROOT: Final = Path(__file__).parents[2]
# Memory without bounds is a finding.
_MEMORY_MIB: Final = 1024
_LONGEST: Final = 8192
# What a process may take beyond its own limit, until it is a hang of the fuzzer.
_PATIENCE: Final = 120
_STATUS: Final = re.compile(r"cov: ([0-9]+) ft: ([0-9]+) corp: ([0-9]+)/")
_EXECUTIONS: Final = re.compile(r"number_of_executed_units: ([0-9]+)|^#([0-9]+)\t", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Run:
    """What a guided run did.

    ``coverage`` counts the branches of rootman that were reached, ``features`` those and
    how often they were, ``corpus`` the inputs kept for it.
    """

    check: str
    executions: int
    coverage: int
    features: int
    corpus: int
    findings: tuple[Path, ...]
    output: str

    def replay(self) -> list[str]:
        """Return the commands that show the findings again."""
        return [
            f"{sys.executable} -m tests.fuzz.guided {self.check} {path}" for path in self.findings
        ]


def guided_run(
    check: str,
    home: Path,
    *,
    runs: int = -1,
    seconds: int = 0,
    seed: int = 1,
    mutant: str | None = None,
    patience: float = PATIENCE,
) -> Run:
    """Run ``check`` for so many runs or seconds (0: no limit), or until it finds something.

    ``mutant`` names a parser broken on purpose; one input may take ``patience`` seconds.
    """
    folders = {name: home / check / name for name in ("seeds", "corpus", "findings")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(check)):
        (folders["seeds"] / f"{number:02}").write_bytes(data)
    words = home / check / "words"
    words.write_text(dictionary(check))
    command = [sys.executable, "-m", "tests.fuzz.guided", check, f"--patience={patience}"]
    command += ["--mutant", mutant] if mutant else []
    command += [f"-runs={runs}", f"-max_total_time={seconds}", f"-seed={seed}"]
    command += [f"-max_len={_LONGEST}", f"-rss_limit_mb={_MEMORY_MIB}"]
    command += [
        "-print_final_stats=1",
        f"-dict={words}",
        f"-artifact_prefix={folders['findings']}/",
    ]
    known = set(folders["findings"].iterdir())
    done = subprocess.run(
        [*command, str(folders["corpus"]), str(folders["seeds"])],
        check=False,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        timeout=seconds + _PATIENCE if seconds else 2 * _PATIENCE,
    )
    new = sorted(set(folders["findings"].iterdir()) - known)
    if done.returncode != 0 and not new:
        raise RuntimeError(f"{check}: the fuzzer failed without a finding:\n{done.stdout}")
    return _read(check, done.stdout, tuple(new))


def _read(check: str, output: str, findings: tuple[Path, ...]) -> Run:
    counts = [int(total or so_far) for total, so_far in _EXECUTIONS.findall(output)]
    coverage, features, corpus = map(int, (_STATUS.findall(output) or [(0, 0, 0)])[-1])
    return Run(check, max(counts, default=0), coverage, features, corpus, findings, output)
