"""The command line of the bench: ``python -m tests.bench --help``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.images import DEFAULT_CACHE, Images, forget
from tests.bench.measure import CHECKOUT
from tests.bench.phases import profile
from tests.bench.sections import SECTIONS, TREE, Bench, upgrade
from tests.bench.table import HEADING, line
from tests.filesystems import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.bench.table import Row


def main() -> int:
    """Run the sections asked for; return 1 if one of them could not be run."""
    options = _arguments()
    if os.geteuid() != 0:
        print("the bench mounts filesystems of its own: run it as root", file=sys.stderr)
        return 1
    if options.forget:
        forget(options.cache)
        return 0
    with scratch_directory() as scratch:
        images = Images(options.cache, scratch)
        bench = Bench(
            images,
            options.rounds,
            options.rootman,
            quick=options.quick,
            warm=options.warm,
            same_store=options.same_store,
        )
        if options.profile:
            recipes = bench.recipes(TREE)
            profile(images, recipes, rounds=options.rounds, functions=options.functions)
            return 0
        rows, failed = _run(bench, options.only or list(SECTIONS))
    _show(rows)
    if options.json:
        document = {"machine": _machine(), "rows": [row.document() for row in rows]}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SECTIONS), help="one section")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each section (5)")
    parser.add_argument("--quick", action="store_true", help="without the tree of a million")
    parser.add_argument(
        "--warm",
        action="store_true",
        help="with all inodes in memory before (otherwise none: as after a boot)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument(
        "--profile", action="store_true", help="show where the time of an upgrade goes instead"
    )
    parser.add_argument(
        "--functions", type=int, default=0, metavar="N", help="with --profile: and the top N calls"
    )
    parser.add_argument(
        "--same-store",
        action="store_true",
        help="use the store in the cache although the code that made it was changed since",
    )
    parser.add_argument(
        "--rootman",
        type=Path,
        default=CHECKOUT / ".venv/bin/rootman",
        metavar="FILE",
        help="the command to measure, a Python script (this checkout's)",
    )
    parser.add_argument(
        "--cache", type=Path, default=DEFAULT_CACHE, help=f"where images are kept ({DEFAULT_CACHE})"
    )
    parser.add_argument("--forget", action="store_true", help="remove the cache, and nothing else")
    return parser.parse_args()


def _run(bench: Bench, names: Sequence[str]) -> tuple[list[Row], bool]:
    """Return all rows, and whether a section failed to run."""
    sections: dict[str, Callable[[Bench], Iterator[Row]]] = {name: SECTIONS[name] for name in names}
    if {"upgrade", "ostree"} <= set(names):
        # The same upgrade is measured against all at once.
        del sections["ostree"]
        sections["upgrade"] = upgrade
    rows: list[Row] = []
    failed = False
    for name, section in sections.items():
        print(f"{name}:", flush=True)
        try:
            # What was measured before a failure is shown.
            rows.extend(section(bench))
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            print(f"{name} could not be run: {error}", file=sys.stderr)
            failed = True
    return rows, failed


def _show(rows: Sequence[Row]) -> None:
    print(f"\n{HEADING}")
    for row in rows:
        print(line(row.cells()))


def _machine() -> dict[str, object]:
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "tools": {name: _first_line(name, "--version") for name in ("cp", "rsync", "ostree")},
        "commit": _first_line("git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"),
    }


def _first_line(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return next(iter(done.stdout.splitlines()), "")


if __name__ == "__main__":
    sys.exit(main())
