"""Many jobs, on all processors, and what came of them in a table."""

from __future__ import annotations

import os
import select
import tempfile
import time
from collections import Counter
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.crash.configurations import CONFIGURATIONS
from tests.crash.scenarios import SCENARIOS
from tests.crash.trials import Job, carry_out
from tests.fault.faulty import Forked

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from tests.crash.trials import Result

_KEEP: Final = Path("/var/tmp")  # noqa: S108 - where nothing else removes it


def jobs(seed: int, states: int) -> Iterator[Job]:
    """Yield a job for each scenario on each filesystem."""
    for scenario in SCENARIOS:
        for configuration in CONFIGURATIONS:
            yield Job(configuration.name, scenario.name, seed, states)


def endless_jobs(seed: int, states: int) -> Iterator[Job]:
    """Yield those jobs with one seed after the other, from ``seed`` on."""
    for one in count(seed):
        yield from jobs(one, states)


def carry_out_all(
    scratch: Path, wanted: Iterable[Job], *, until: str | None = None
) -> Generator[Result, None, None]:
    """Carry out jobs on all processors; yield what comes of each, as it ends.

    Each ends at the first violation that has ``until`` in it, if that is not None.

    Raises:
        AssertionError: one of them failed to record.
    """
    waiting = iter(wanted)
    work = partial(carry_out, scratch, until)
    lanes = 2 * len(os.sched_getaffinity(0))  # each waits for the disk half of the time
    running = [Forked(partial(work, job)) for job in islice(waiting, lanes)]
    try:
        while running:
            ready, _, _ = select.select(running, [], [])
            for process in ready:
                running.remove(process)
                running += [Forked(partial(work, job)) for job in islice(waiting, 1)]
                yield process.surely()
    finally:
        for process in running:
            process.kill()


class Tally:
    """What came of many jobs: how many states, how many violations, and how to see them again.

    The recordings of violations are kept in ``keep``.
    """

    def __init__(self, keep: Path = _KEEP) -> None:
        self._keep = keep
        self._began = time.monotonic(), _processor_seconds()
        self._states: Counter[tuple[str, str]] = Counter()
        self._violations: Counter[tuple[str, str]] = Counter()
        self._found: list[str] = []

    @property
    def states(self) -> int:
        """Return how many different disks were looked at."""
        return self._states.total()

    @property
    def violations(self) -> int:
        """Return on how many of them something did not hold."""
        return self._violations.total()

    def states_on(self, filesystem: str) -> int:
        """Return how many of them were of one filesystem."""
        return sum(number for key, number in self._states.items() if key[0] == filesystem)

    def add(self, result: Result) -> None:
        """Count a result in, and keep the recording of a violation."""
        job = result.job
        self._states[job.filesystem, job.scenario] += result.states
        self._violations[job.filesystem, job.scenario] += len(result.violations)
        if result.violations:
            self._found += _replayable(result, self._keep)

    def lines(self) -> list[str]:
        """Return the table, and below it the violations."""
        width = max(len(scenario) for _, scenario in self._states) if self._states else 0
        lines = [f"{'filesystem':22}{'scenario':{width}}{'states':>8}{'violations':>12}"]
        for (filesystem, scenario), number in sorted(self._states.items()):
            wrong = self._violations[filesystem, scenario]
            lines.append(f"{filesystem:22}{scenario:{width}}{number:8}{wrong:12}")
        seconds, busy = time.monotonic() - self._began[0], _processor_seconds() - self._began[1]
        # On a machine that does other things, too, the second says how long it would be alone.
        total = f"in {seconds:.0f} s, {busy:.0f} s of processors"
        lines.append(f"{'all':22}{total:{width}}{self.states:8}{self.violations:12}")
        return lines + self._found


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _replayable(result: Result, keep: Path) -> list[str]:
    """Keep the recording and return what to say of its first violation."""
    kept = Path(tempfile.mkdtemp(prefix="rootman-crash-", dir=keep)) / "recording"
    kept.write_bytes(result.recording)
    job, first = result.job, result.violations[0]
    return [
        f"{job.filesystem}, {job.scenario}, seed {job.seed}: {len(result.violations)} violations",
        str(first),
        f"again: .venv/bin/python -m tests.crash replay {kept} {first.number}",
    ]
