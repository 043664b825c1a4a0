"""``make fuzz BUDGET=seconds``: random trees, then guided bytes, with seeds of their own.

Half of the time goes to the properties, in rounds that are finished once begun, half to
the checks in turn. What breaks is printed with the command that breaks it again.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import shlex
import subprocess
import sys
import time
from typing import Final

from tests.fuzz.campaign import ROOT, guided_run
from tests.fuzz.parsers import CHECKS

HOME: Final = ROOT / ".fuzz"
_PROPERTIES: Final = ("tests/fuzz", "tests/unit")
_EXAMPLES: Final = re.compile(r"([0-9]+) passing, ([0-9]+) failing, and [0-9]+ invalid")
_TESTED: Final = re.compile(r"^tests/\S+::\S+:$", re.MULTILINE)
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) ", re.MULTILINE)


def main() -> int:
    """Fuzz for as long as is asked for and return whether something was found."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("--budget", type=int, default=600, metavar="SECONDS")
    budget = parser.parse_args().budget
    seeds = random.SystemRandom()
    found = 0
    deadline = time.monotonic() + budget / 2
    for folder in itertools.cycle(_PROPERTIES):
        found += _round(folder, seeds.randrange(2**32))
        if time.monotonic() > deadline:
            break
    for check in CHECKS:
        found += _guided(check, seeds.randrange(1, 2**31), budget // 2 // len(CHECKS))
    print(f"{found} findings")
    return found > 0


def _round(folder: str, seed: int) -> int:
    """Check the properties in ``folder`` and return how many failed."""
    command = [sys.executable, "-m", "pytest", "-q", folder, "-m", "hypothesis"]
    command += [f"--hypothesis-seed={seed}", "--hypothesis-show-statistics"]
    # On continuous integration hypothesis has the same examples every time.
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    began = time.monotonic()
    done = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
    )
    output = done.stdout
    examples = sum(int(passing) for passing, _ in _EXAMPLES.findall(output))
    properties = len(_TESTED.findall(output))
    took = time.monotonic() - began
    print(
        f"{folder} with seed {seed}: {examples:,} examples of {properties} properties"
        f" in {took:.0f} s",
        flush=True,
    )
    failures = len(_FAILED.findall(output))
    if done.returncode:
        print(output)
        print(f"again: {shlex.join(command[:-1])}")
        return max(failures, 1)
    return 0


def _guided(check: str, seed: int, seconds: int) -> int:
    """Run one check and return how much it found."""
    began = time.monotonic()
    run = guided_run(check, HOME, seconds=max(seconds, 1), seed=seed)
    rate = run.executions / (time.monotonic() - began)
    print(
        f"{check}: {run.executions:,} executions ({rate:,.0f} per second), "
        f"{run.coverage} branches, {run.corpus} inputs kept",
        flush=True,
    )
    if run.findings:
        print(run.output)
        for command in run.replay():
            print(f"again: {command}")
    return len(run.findings)


if __name__ == "__main__":
    sys.exit(main())
