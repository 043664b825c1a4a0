"""A command on a real filesystem, every write and every flush of its disk in a log.

Beside it another process may call fsync, so that the journal is committed at moments
that rootman does not choose. Out of scope: what could be lost (``recording``, ``cuts``).
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import contextmanager, nullcontext
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from cli.main import run as run_command
from rootman.fsops import RealFs
from rootman.names import CURRENT
from tests.crash.disk import Disk
from tests.crash.recording import Recording, split_epochs
from tests.crash.writelog import read_log
from tests.fault.faulty import Forked
from tests.filesystems import run
from tests.loopdevices import mount, unmount
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rootman.fsops import Name
    from tests.crash.configurations import Configuration
    from tests.crash.scenarios import CrashScenario
    from tests.fault.mutants import Mutant

_PACES: Final = (None, 0.01, 0.002, 0.005, 0.0)
"""Seconds between the fsyncs of another process, on average; None is no such process."""


def record(
    home: Path,
    configuration: Configuration,
    scenario: CrashScenario,
    seed: int,
    *,
    mutant: Mutant | None = None,
) -> Recording:
    """Make a filesystem in ``home`` and record the scenario's command on it.

    Of ``seed`` comes what else goes on meanwhile. No two recordings are the same.

    Raises:
        AssertionError: the command failed.
    """
    disk = Disk(home, configuration.size)
    mounted = home / "mnt"
    mounted.mkdir(exist_ok=True)
    try:
        configuration.make(disk.loop.path)
        mount(disk.loop.path, mounted, configuration.kind, configuration.options)
        try:
            told = _live(disk, Lab(mounted), scenario, seed, mutant)
        finally:
            unmount(mounted)
        if configuration.kind == "btrfs":
            # Else the kernel takes the disk of a copy, which is older, for a mistake.
            run("btrfs", "device", "scan", "--forget", disk.loop.path)
    finally:
        disk.close()
    base, epochs = split_epochs(read_log(disk.log), configuration.marks_at)
    return Recording(
        configuration.name, scenario.name, seed, configuration.size, base, epochs, told
    )


def _live(
    disk: Disk, lab: Lab, scenario: CrashScenario, seed: int, mutant: Mutant | None
) -> object:
    scenario.prepare(lab)
    told = scenario.learn(lab)
    with _noise(lab.home / "noise", seed):
        disk.mark("begun")
        code, said = Forked(partial(_command, disk, lab, scenario, mutant)).surely()
        if code:
            raise AssertionError(f"{scenario.name}: exit code {code}: {said}")
        disk.mark("done")
    return told


def _command(
    disk: Disk, lab: Lab, scenario: CrashScenario, mutant: Mutant | None
) -> tuple[int, str]:
    """Run the command line in this process, which is there for nothing else."""
    output = os.memfd_create("output")
    sys.stdout.flush()
    sys.stderr.flush()
    for fd in (1, 2):
        os.dup2(output, fd)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    exchange = RealFs.exchange

    def marked(self: RealFs, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
        if source == CURRENT:
            disk.mark("switching")
        exchange(self, source, target, source_fd=source_fd, target_fd=target_fd)

    RealFs.exchange = marked  # type: ignore[method-assign]
    scenario.begin()
    with mutant.in_command() if mutant else nullcontext():
        code = run_command(["--rootfs", str(lab.store), *scenario.arguments(lab)])
    sys.stdout.flush()
    sys.stderr.flush()
    return code, os.pread(output, 4096, 0).decode()


@contextmanager
def _noise(path: Path, seed: int) -> Iterator[None]:
    """Have another process fsync a file of its own meanwhile, at a pace that ``seed`` says.

    So the journal is committed at moments that rootman does not choose.
    """
    pace = _PACES[seed % len(_PACES)]
    if pace is None:
        yield
        return
    stop, stopping = os.pipe()
    process = Forked(partial(_fsync_until, stop, stopping, path, Random(seed), pace))
    os.close(stop)
    try:
        yield
    finally:
        os.close(stopping)
        process.result()


def _fsync_until(stop: int, stopping: int, path: Path, random: Random, pace: float) -> None:
    os.close(stopping)
    with path.open("ab", buffering=0) as file:
        while not select.select([stop], [], [], random.random() * 2 * pace)[0]:
            file.write(bytes(100))
            os.fsync(file.fileno())
