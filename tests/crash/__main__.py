"""The crash states without a test: ``soak`` with new seeds, ``replay`` of a state that was wrong.

python -m tests.crash soak 3600
python -m tests.crash replay /var/tmp/rootman-crash-x/recording 1234
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.crash.campaign import Tally, carry_out_all, endless_jobs
from tests.crash.trials import look_again, unpack
from tests.fault.faulty import Forked
from tests.filesystems import scratch_directory

if TYPE_CHECKING:
    from tests.crash.trials import Job

_STATES: Final = 400
"""Of one recording: more, and the hour has fewer recordings."""


def main() -> int:
    """Run what the command line says; return the exit code, 1 for a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    commands = parser.add_subparsers(required=True)
    soaking = commands.add_parser("soak", help="go on for some seconds, to the first violation")
    soaking.add_argument("budget", type=float)
    soaking.add_argument("--seed", type=int, default=int(time.time()))
    soaking.set_defaults(command=lambda given: _soak(given.budget, given.seed))
    replaying = commands.add_parser("replay", help="look at one state of a recording again")
    replaying.add_argument("recording", type=Path)
    replaying.add_argument("state", type=int)
    replaying.set_defaults(command=lambda given: _replay(given.recording, given.state))
    arguments = parser.parse_args()
    code: int = arguments.command(arguments)
    return code


def _soak(budget: float, seed: int) -> int:
    end = time.monotonic() + budget
    tally = Tally()

    def go_on(_: Job) -> bool:
        return time.monotonic() < end

    with scratch_directory() as scratch:
        jobs = takewhile(go_on, endless_jobs(seed, _STATES))
        for result in carry_out_all(scratch, jobs, until=""):
            tally.add(result)
            job = result.job
            print(f"{tally.states:8} states; {job.filesystem}, {job.scenario}, seed {job.seed}")
            if result.violations:
                break
    print("\n".join(tally.lines()))
    return 1 if tally.violations else 0


def _replay(path: Path, number: int) -> int:
    recording = unpack(path.read_bytes())
    with scratch_directory() as scratch:
        trials = Forked(partial(look_again, scratch, recording, number)).surely()
    for trial in trials:
        print(f"{recording.filesystem}, {recording.scenario}, seed {recording.seed}:\n{trial}")
    return 1 if any(trial.wrong for trial in trials) else 0


if __name__ == "__main__":
    sys.exit(main())
