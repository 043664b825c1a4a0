"""Running a command and measuring it: time, memory, system calls, bytes written to the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.filesystems import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.filesystems import LoopFilesystem

CHECKOUT: Final = Path(__file__).resolve().parents[2]
SECTOR: Final = 512
_SECTORS_WRITTEN: Final = 6  # the field of /sys/class/block/*/stat
_SAMPLE_EVERY: Final = 0.05


# Forks the command from a process that is small itself: what was resident before
# exec(2) counts for the largest RSS too.
_LAUNCHER: Final = """
import os, sys, time
began = time.monotonic()
if not (pid := os.fork()):
    os.execvp(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print(time.monotonic() - began, usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended well: the seconds from its start to its end, and what it printed."""

    seconds: float
    output: str


@dataclass(frozen=True, slots=True)
class Footprint:
    """The time and memory of a command, in seconds and bytes.

    ``max_rss`` is the largest of it and its descendants; ``peak_pss`` the largest sum
    over all of them at one moment, as often as that was sampled.
    """

    seconds: float
    max_rss: int
    peak_pss: int


def execute(*command: str | Path) -> Finished:
    """Run ``command`` in the checkout.

    Raises:
        RuntimeError: it failed; the message has what it said.

    """
    began = time.monotonic()
    process = _start(*command)
    output, _ = _finish(process)
    return Finished(time.monotonic() - began, output)


def footprint(*command: str | Path) -> Footprint:
    """Run ``command`` in the checkout and watch its memory.

    Raises:
        RuntimeError: it failed; the message has what it said.

    """
    process = _start(sys.executable, "-IS", "-c", _LAUNCHER, *command)
    sampler = _Sampler(process.pid)
    try:
        _, errors = _finish(process)
    finally:
        peak_pss = sampler.stop()
    seconds, max_rss = errors.splitlines()[-1].split()
    return Footprint(float(seconds), int(max_rss) * 1024, peak_pss)


def _start(*command: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )


def _finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    output, errors = process.communicate()
    if process.returncode:
        said = errors.strip() or output.strip()
        command = subprocess.list2cmdline(process.args)  # type: ignore[arg-type]
        raise RuntimeError(f"{command}: exit {process.returncode}: {said}")
    return output, errors


def interpreter(script: Path) -> str:
    """Return the interpreter that the first line of ``script`` names."""
    with script.open() as file:
        return file.readline().removeprefix("#!").strip()


def sync(path: Path) -> float:
    """Run ``sync -f`` on ``path`` and return the seconds it took."""
    return execute("sync", "-f", path).seconds


def count_calls(*command: str | Path) -> int:
    """Run ``command`` and return how many system calls it and its descendants made.

    Raises:
        RuntimeError: it failed, or there is no strace.

    """
    with tempfile.NamedTemporaryFile("r", prefix="rootman-bench-") as summary:
        execute("strace", "-f", "-qq", "-c", "-U", "calls,name", "-o", summary.name, *command)
        for line in summary:
            words = line.split()
            if words[-1:] == ["total"]:
                return int(words[0])
    raise RuntimeError("strace printed no total")


@contextmanager
def settled(filesystem: LoopFilesystem) -> Iterator[list[int]]:
    """Count the bytes that the context makes the kernel write to the disk.

    The filesystem is frozen and thawed before and after, so that everything written
    in the context, journal and the blocks in their place, is counted, and nothing
    else. The list gets the number when the context ends.
    """
    _flush(filesystem.path)
    time.sleep(0.2)
    before, written = _sectors(filesystem.device), list[int]()
    yield written
    _flush(filesystem.path)
    written.append((_sectors(filesystem.device) - before) * SECTOR)


def _flush(path: Path) -> None:
    """Have everything written to its place, the journal's content too."""
    run("sync", "-f", str(path))
    run("fsfreeze", "--freeze", str(path))
    run("fsfreeze", "--unfreeze", str(path))


def _sectors(device: str) -> int:
    stat = Path("/sys/class/block", Path(device).name, "stat").read_text()
    return int(stat.split()[_SECTORS_WRITTEN])


class _Sampler:
    """Samples the proportional set size of a process and its descendants, summed."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Return the largest sum seen, in bytes."""
        self._done.set()
        self._thread.join()
        return self._peak

    def _run(self) -> None:
        while not self._done.wait(_SAMPLE_EVERY):
            # Without the launcher itself.
            self._peak = max(self._peak, sum(map(_pss, _descendants(self._pid))))


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield int(child)
            yield from _descendants(int(child))


def _pss(pid: int) -> int:
    """Return the proportional set size in bytes, 0 for a process that has ended meanwhile."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
