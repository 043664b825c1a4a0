"""One job: a recording, some of the disks that it allows, and what was wrong with each."""

from __future__ import annotations

import pickle
import traceback
from contextlib import closing
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final, cast

import zstandard

from tests.crash.configurations import BY_NAME as CONFIGURATIONS
from tests.crash.cuts import count_cuts, cuts
from tests.crash.kernellog import KernelLog
from tests.crash.mutants import BY_NAME as MUTANTS
from tests.crash.recorder import record
from tests.crash.replica import Replica
from tests.crash.scenarios import BY_NAME as SCENARIOS
from tests.fault.ahead import read_nothing_ahead
from tests.fault.faulty import Hasty
from tests.loopdevices import enter_namespace
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.crash.cuts import Cut
    from tests.crash.recording import Phase, Recording

_MEMORY: Final = "2g"


@dataclass(frozen=True, slots=True)
class Job:
    """A recording to make, and how many of the disks that it allows to look at."""

    filesystem: str
    scenario: str
    seed: int
    states: int
    mutant: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A disk that was looked at; ``wrong`` says what does not hold, with the ids of the claims."""

    number: int
    how: str
    phase: Phase
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        return "\n    ".join((f"state {self.number}, {self.phase}: {self.how}", *self.wrong[:16]))


@dataclass(slots=True)
class Result:
    """What came of a job: how many disks were looked at, and which were found wrong."""

    job: Job
    states: int = 0
    violations: list[Trial] = field(default_factory=list)
    recording: bytes = b""
    """The packed recording, where there are violations."""


def carry_out(scratch: Path, until: str | None, job: Job) -> Result:
    """Record and look, in a process that is there for nothing else.

    The first violation that has ``until`` in it, if that is not None, is as far as it goes.

    Raises:
        AssertionError: the command failed while it was recorded.
    """
    enter_namespace(scratch, size=_MEMORY)
    configuration, scenario = CONFIGURATIONS[job.filesystem], SCENARIOS[job.scenario]
    recording = record(scratch, configuration, scenario, job.seed, mutant=MUTANTS.get(job.mutant))
    numbers = range(1, count_cuts(recording) + 1)
    drawn = Random(job.seed).sample(numbers, min(job.states, len(numbers)))
    result = Result(job)
    for trial in look(scratch, recording, drawn):
        result.states += 1
        if trial.wrong:
            result.violations.append(trial)
            result.recording = result.recording or pack(recording)
            if until is not None and any(until in one for one in trial.wrong):
                break
    return result


def look(home: Path, recording: Recording, numbers: Iterable[int]) -> Iterator[Trial]:
    """Look at the disks of these numbers, in ``home``; those that are the same once."""
    read_nothing_ahead()
    with closing(Replica(home, recording)) as replica:
        for cut in cuts(recording, numbers):
            wrong = _look_at(replica, recording, cut)
            yield Trial(cut.number, cut.how, cut.phase, tuple(wrong))


def look_again(scratch: Path, recording: Recording, number: int) -> list[Trial]:
    """Look at one disk of a recording, in a process that is there for nothing else."""
    enter_namespace(scratch, size=_MEMORY)
    return list(look(scratch, recording, [number]))


def _look_at(replica: Replica, recording: Recording, cut: Cut) -> list[str]:
    scenario = SCENARIOS[recording.scenario]
    replica.become(cut)
    wrong = scenario.load(replica.image, cut.phase)
    with closing(KernelLog()) as log:
        try:
            with replica.mounted() as path:
                lab = Lab(path, make_fs=Hasty)
                wrong += scenario.check(lab, recording.told, cut.phase, number=cut.number)
        except Exception as error:  # noqa: BLE001 - a store that cannot be looked at is a finding
            wrong.append(f"unreadable: S4: {type(error).__name__}: {error}")
            # It may be gone when the disk is looked at again: a fault of this very run.
            calls = reversed(traceback.extract_tb(error.__traceback__))
            wrong += [f"in {call.name}, {call.filename}:{call.lineno}" for call in calls][:4]
            wrong += [f"kernel: {line}" for line in log.warnings()]
    return wrong


def pack(recording: Recording) -> bytes:
    """Return the recording as it is kept for a replay."""
    return zstandard.ZstdCompressor().compress(pickle.dumps(recording))


def unpack(data: bytes) -> Recording:
    """Return the recording that was packed."""
    # Made by this program on this machine.
    return cast("Recording", pickle.loads(zstandard.decompress(data)))  # noqa: S301
