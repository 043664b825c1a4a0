"""Running spin on the model of ``spec/model``: the exhaustive search, and a life told in calls.

What spin writes goes to a directory of its own, outside the checkout.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL: Final = Path(__file__).parents[2] / "spec" / "model"
# Room for the longest path of the search; one that is longer is an error, not an end.
_DEPTH: Final = 2_000_000
_MEMORY_MIB: Final = 3500
_SECONDS: Final = 500
_STATES: Final = re.compile(
    r"^ *([0-9]+) states, stored(?: \(([0-9.e+]+) visited\))?", re.MULTILINE
)
_MEMORY: Final = re.compile(r"^ *([0-9.]+)\ttotal actual memory usage", re.MULTILINE)
_UNREACHED: Final = re.compile(r"^\t\S+:[0-9]+, state [0-9]+, \"(.*)\"$", re.MULTILINE)
_TOLD: Final = re.compile(r"[>#!$] .*|\$|[A-Z][A-Za-z]+|spin: .*(?:violated|cycle).*")


class Unchecked(Exception):
    """The search did not see every state, so that it says nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a search found: ``error`` is empty where it saw every state and all was well.

    ``counterexample`` is how it comes to the error: commands, steps, calls and cuts.
    ``unreached`` are the statements of the model that no state led to.
    """

    error: str
    states: int
    seconds: float
    memory_mib: float
    counterexample: tuple[str, ...] = ()
    unreached: tuple[str, ...] = ()


def check(*defines: str, liveness: bool = False, model: str = "rootman.pml") -> Verdict:
    """Search every state of ``model`` with ``defines``; for cycles without progress, too.

    Raises:
        Unchecked: the search ended before it had seen all, without finding an error.
        CalledProcessError: the model is wrong, or a tool failed.
    """
    switches = [f"-D{name}" for name in defines]
    kind = ["-DNP"] if liveness else ["-DSAFETY"]
    with _workshop() as place:
        _run(place, "spin", *switches, "-a", model)
        _run(
            place, "gcc", "-O2", "-w", *kind, "-DNOFAIR", "-DVECTORSZ=2048",
            f"-DMEMLIM={_MEMORY_MIB}", "-o", "pan", "pan.c",
        )  # fmt: skip
        began = time.monotonic()
        mode = ["-l"] if liveness else []
        output = _run(place, "./pan", *mode, f"-m{_DEPTH}", "-w24")
        seconds = time.monotonic() - began
        told: tuple[str, ...] = ()
        if (place / f"{model}.trail").exists():
            replay = _run(place, "spin", "-T", *switches, "-t", model, fails=True)
            told = tuple(_told(replay))
    return _verdict(output, seconds, told)


def _verdict(output: str, seconds: float, told: tuple[str, ...]) -> Verdict:
    states, memory = _STATES.search(output), _MEMORY.search(output)
    if states is None or memory is None:
        raise Unchecked(output)
    first = re.search(r"^pan:[0-9]+: (.*)$", output, re.MULTILINE)
    error = first[1] if first else ""
    whole = "Search not completed" not in output and "errors: 0" in output
    if not error and (not whole or re.search(r"too small|out of memory|truncated", output)):
        raise Unchecked(output)
    return Verdict(
        error,
        int(float(states[2] or states[1])),
        seconds,
        float(memory[1]),
        told,
        tuple(_UNREACHED.findall(output)),
    )


def calls_of_a_life(life: str, *defines: str) -> list[str]:
    """Return the steps and calls of the last command of ``life``, as the model tells them."""
    switches = [f"-D{name}" for name in ("ONE_LIFE", *defines)]
    with _workshop() as place:
        (place / "life.pml").write_text(life)
        lines = _told(_run(place, "spin", "-T", "-n1", *switches, "rootman.pml"))
    commands = "\n".join(lines).split("$")
    return [line.removeprefix("> ") for line in commands[-1].split("\n") if line]


def _told(output: str) -> list[str]:
    lines = (line.strip() for line in output.splitlines())
    return [line for line in lines if _TOLD.fullmatch(line)]


@contextmanager
def _workshop() -> Iterator[Path]:
    # By the short names of copies: spin's buffers are not made for long paths.
    with tempfile.TemporaryDirectory(prefix="rootman-model-") as name:
        for part in MODEL.glob("*.pml"):
            shutil.copy(part, name)
        yield Path(name)


def _run(place: Path, *command: str, fails: bool = False) -> str:
    """Return what a command said; ``fails``: the replay of a violation ends with one."""
    done = subprocess.run(
        command, cwd=place, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    output = done.stdout + done.stderr
    if done.returncode and not fails:
        error = subprocess.CalledProcessError(done.returncode, command, output)
        error.add_note(output[-2000:])
        raise error
    return output
