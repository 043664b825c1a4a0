"""Power cuts of a machine that boots for real, by new seeds, to the first that is not survived.

python -m tests.boot 3600
"""

from __future__ import annotations

import argparse
import sys
import time
from random import Random

from tests.boot.plug import pull_the_plug, record_upgrade
from tests.boot.system import make_system
from tests.filesystems import scratch_directory


def main() -> int:
    """Go on for as long as the command line says; return the exit code, 1 for a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.boot")
    parser.add_argument("budget", type=float, help="seconds")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    end = time.monotonic() + given.budget
    with scratch_directory() as home:
        system = make_system(home)
        log = record_upgrade(system, home).log
        seed = given.seed
        while time.monotonic() < end:
            try:
                print(f"seed {seed}: {pull_the_plug(system, log, home / 'cut', Random(seed))}")
            except AssertionError as error:
                print(f"seed {seed}: {error}")
                return 1
            seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
