"""Power cuts of a machine that boots for real, by new seeds, to the first that is not survived.

python -m tests.boot 3600
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from tests.boot.lanes import LANES, side_by_side
from tests.boot.lives import PHASES, record_life
from tests.boot.plug import Recording, pull_the_plug
from tests.boot.system import system_disk
from tests.filesystems import scratch_directory

if TYPE_CHECKING:
    from pathlib import Path


def main() -> int:
    """Go on for as long as the command line says; what is not survived is raised."""
    parser = argparse.ArgumentParser(prog="python -m tests.boot")
    parser.add_argument("budget", type=float, help="seconds")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    with scratch_directory() as home:
        system = system_disk()
        recording = record_life(system, home / "recorded")
        end = time.monotonic() + given.budget
        for first in count(given.seed, LANES):
            if time.monotonic() >= end:
                break
            seeds = range(first, first + LANES)
            side_by_side([partial(_cut, recording, home / f"cut.{one}", one) for one in seeds])
    return 0


def _cut(recording: Recording, disk: Path, seed: int) -> None:
    random = Random(seed)
    said = f"seed {seed}: "
    try:
        said += pull_the_plug(recording, random.choice(PHASES), disk, random)
    except Exception as error:
        error.add_note(said)
        raise
    print(said, flush=True)


if __name__ == "__main__":
    sys.exit(main())
