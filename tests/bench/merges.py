"""The second merge of configuration, at a shutdown that others keep the processors from.

An ``/etc`` of 2,000 files in 200 directories, of which an upgrade changed 20 and whoever uses
the device 20 others: one before the upgrade, the rest after it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.bench.images import digest_of_sources
from tests.bench.measure import execute, sync
from tests.bench.recipes import REPOSITORY, STORE
from tests.bench.rounds import Side
from tests.bench.table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.bench.sections import Bench

_DIRECTORIES: Final = 200
_FILES: Final = 10
_CHANGED: Final = 20
_SIZE: Final = 1800
_LIMIT: Final = 1.0
_BUSY: Final = "while True: pass"
# What runs is said by the kernel command line; this one only the command sees.
_AS_BOOTED: Final = 'mount --bind "$0" /proc/cmdline && exec "$@"'


def merge(bench: Bench) -> Iterator[Row]:
    """Measure the second merge under load, and compare it with a copy of all of ``/etc``."""
    image = bench.images.made(
        "merge",
        lambda path: _fill(path, bench.rootman),
        made_from=digest_of_sources("tests/bench/merges.py", "rootman/**/*.py"),
        same=bench.same_store,
        size_mib=512,
    )

    def ours(path: Path) -> Mapping[str, float]:
        command = (bench.rootman, "--rootfs", path / STORE, "boot", "finish")
        setting = ("unshare", "--mount", "sh", "-c", _AS_BOOTED, path / "cmdline")
        with _load():
            done = execute(*setting, *command)
        if f"{_CHANGED} changes kept" not in done.output:
            raise RuntimeError(f"nothing was merged: {done.output}")
        return {"process": done.seconds}

    def theirs(path: Path) -> Mapping[str, float]:
        etc = path / STORE / "olpc.2/etc"
        with _load():
            copied = execute("cp", "-a", etc, path / STORE / "copy").seconds
            return {"process": copied + sync(path)}

    samples = bench.measure({"merge": Side(image, ours), "cp -a": Side(image, theirs)})
    one, other = samples["merge"].parts["process"], samples["cp -a"].parts["process"]
    yield Row("second merge, 2,000 files, 20 changes, under load", one, target=_LIMIT)
    yield Row("  process / cp -a of /etc, sync -f", one, other)
    written = samples["merge"].written, samples["cp -a"].written
    yield Row("  MiB written", *written, unit="MiB")


@contextmanager
def _load() -> Iterator[None]:
    """Keep every processor busy."""
    command = (sys.executable, "-IS", "-c", _BUSY)
    busy = [subprocess.Popen(command) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _fill(path: Path, rootman: Path) -> None:
    tree, store = path / "tree", path / STORE
    for directory in range(_DIRECTORIES):
        (tree / f"etc/{directory}").mkdir(parents=True)
        for number in range(_FILES):
            _write(tree / f"etc/{directory}/{number}", "sealed")
    execute(*_publish(rootman, path, 1))
    for number in range(_CHANGED):
        _write(tree / f"etc/{number * 5}/0", "new")
    execute(*_publish(rootman, path, 2))
    releases = path / REPOSITORY / "releases"
    execute(rootman, "--rootfs", store, "init")
    execute(rootman, "--rootfs", store, "upgrade", releases / "1.json")
    _change(store, range(1))
    execute(rootman, "--rootfs", store, "upgrade", releases / "2.json")
    _change(store, range(1, _CHANGED))
    (path / "cmdline").write_text("rootman.tree=olpc.1\n")


def _publish(rootman: Path, path: Path, version: int) -> tuple[str | Path, ...]:
    command = (rootman, "publish", path / "tree", path / REPOSITORY, "--version", str(version))
    return (*command, "--config", "/etc", "--no-packs")


def _change(store: Path, numbers: range) -> None:
    """Change a file in each of some directories, by a new inode as the guard does."""
    for number in numbers:
        target = store / f"olpc.1/etc/{number * 7}/1"
        _write(target.with_suffix(".new"), "local")
        target.with_suffix(".new").rename(target)


def _write(path: Path, word: str) -> None:
    path.write_text(f"{path.name} {word}\n" * (_SIZE // 12))
