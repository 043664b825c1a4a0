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
    """Go on for as long as the command line says; what is not survived is raised."""
    parser = argparse.ArgumentParser(prog="python -m tests.boot")
    parser.add_argument("budget", type=float, help="seconds")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    with scratch_directory() as home:
        system = make_system(home)
        log = record_upgrade(system, home).log
        end = time.monotonic() + given.budget
        seed = given.seed
        while time.monotonic() < end:
            print(f"seed {seed}: ", end="", flush=True)  # what is wrong follows it
            print(pull_the_plug(system, log, home / "cut", Random(seed)), flush=True)
            seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
