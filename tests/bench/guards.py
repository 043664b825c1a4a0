"""The guard against other ways to protect hardlinked trees, each against plain ext4.

Every peer shows the tree ``one``, whose files ``other`` shares, and does the same work on it,
each time on a fresh copy of the image. Out of scope: whether a peer protects anything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from tests.bench.images import digest_of_sources
from tests.bench.measure import execute, sync
from tests.bench.rounds import Side
from tests.bench.table import Row
from tests.bench.trees import TreeSpec, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.bench.images import Images
    from tests.bench.sections import Bench

_SPEC: Final = TreeSpec(entries=25_000, changed=0)
_PATIENCE: Final = 10  # seconds
_STREAM_MIB: Final = 256
_BROKEN_MIB: Final = 100
_PYTHON: Final = "import asyncio, email.message, http.client, json, sqlite3, unittest"
_CREATE: Final = """
import os, sys
for directory in range(10):
    path = f"{sys.argv[1]}/created{directory}"
    os.mkdir(path)
    for file in range(1000):
        with open(f"{path}/{file}", "wb") as new:
            new.write(b"content")
"""
_FIRST_WRITE: Final = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
os.pwrite(fd, b"changed", 0)
"""

PLAIN: Final = "ext4"
GUARD: Final = "guard"
RIVAL: Final = "fuse-overlayfs"
COLD_READS: Final = ("cold find -ls", "cold tar", "cold python", "cold read")
FIRST_WRITE: Final = "first write to 100 MiB"
_COLD_LIMIT: Final = 2.0
_BREAK_LIMIT: Final = 1.1


@dataclass(frozen=True, slots=True)
class Peer:
    """A way to mount: ``command`` gets the directory with the trees, and the mount point."""

    name: str
    program: str
    command: Callable[[Path, Path], tuple[str | Path, ...]]


def peers(rootman: Path) -> tuple[Peer, ...]:
    """Return all there are, with the command ``rootman``."""

    def layers(home: Path) -> str:
        return f"lowerdir={home}/one,upperdir={home}/upper,workdir={home}/work"

    return (
        Peer(GUARD, str(rootman), lambda home, at: (rootman, "mount", "--tree", home / "one", at)),
        Peer(
            "overlayfs",
            "mount",
            lambda home, at: ("mount", "-t", "overlay", "none", "-o", layers(home), at),
        ),
        Peer(RIVAL, RIVAL, lambda home, at: (RIVAL, "-o", layers(home), at)),
        Peer(
            "unionfs-fuse",
            "unionfs",
            lambda home, at: ("unionfs", "-o", "cow", f"{home}/upper=RW:{home}/one=RO", at),
        ),
        Peer(
            "mergerfs",
            "mergerfs",
            lambda home, at: ("mergerfs", "-o", "link_cow=true,minfreespace=0", home / "one", at),
        ),
        Peer(
            "rofiles-fuse",
            "rofiles-fuse",
            lambda home, at: ("rofiles-fuse", "--copyup", home / "one", at),
        ),
    )


def guard(bench: Bench) -> Iterator[Row]:
    """Compare the guard and its peers with plain ext4, and the guard with fuse-overlayfs."""
    image = _image(bench.images)
    there = [peer for peer in peers(bench.rootman) if shutil.which(peer.program)]
    sides = {PLAIN: Side(image, _plain)}
    sides |= {peer.name: Side(image, partial(_mounted, peer)) for peer in there}
    found = {name: samples.parts for name, samples in bench.measure(sides).items()}
    for work in found[PLAIN]:
        yield from _rows(work, {name: parts[work] for name, parts in found.items()})


def _rows(work: str, seconds: Mapping[str, list[float]]) -> Iterator[Row]:
    ours, plain = seconds[GUARD], seconds[PLAIN]
    limit = {FIRST_WRITE: _BREAK_LIMIT}.get(work, _COLD_LIMIT if work in COLD_READS else None)
    against = "cp --reflink=auto" if work == FIRST_WRITE else PLAIN
    yield Row(f"{work}: guard / {against}", ours, plain, target=limit)
    for name, theirs in seconds.items():
        if name == RIVAL:
            yield Row(f"  guard / {name}", ours, theirs, target=1.0)
        if name not in (GUARD, PLAIN):
            yield Row(f"  {name} / {against}", theirs, plain)


def _image(images: Images) -> Path:
    return images.made(
        "guard",
        _fill,
        made_from=digest_of_sources("tests/bench/trees.py", "tests/bench/guards.py"),
        size_mib=4096,
    )


def _fill(path: Path) -> None:
    tree = path / "one"
    write_tree(str(tree), _SPEC, 1)
    git = (
        "git",
        "-C",
        tree,
        "-c",
        "user.name=bench",
        "-c",
        "user.email=bench@localhost",
        "-c",
        "gc.auto=0",
    )
    execute(*git, "init", "--quiet")
    execute(*git, "add", ".")
    execute(*git, "commit", "--quiet", "--message", "all")
    execute("cp", "-a", "/usr/lib/python3.11", tree / "python3.11")
    execute("rm", "-rf", tree / "python3.11/config-3.11-x86_64-linux-gnu")
    (tree / ".gitignore").write_text("/python3.11\n/stream\n/large\n/created*\n/.gitignore\n")
    for name, size in (("stream", _STREAM_MIB), ("large", _BROKEN_MIB)):
        execute("dd", "if=/dev/urandom", f"of={tree / name}", "bs=1M", f"count={size}")
    for name in ("upper", "work"):
        (path / name).mkdir()
    execute("cp", "-al", tree, path / "other")


def _plain(home: Path) -> Mapping[str, float]:
    found = _work(home / "one")
    sync(home)
    # What a careful user does instead of a break.
    copied = execute("cp", "--reflink=auto", home / "one/large", home / "one/large.new")
    return {**found, FIRST_WRITE: copied.seconds}


def _mounted(peer: Peer, home: Path) -> Mapping[str, float]:
    with _mount(peer, home) as tree:
        found = _work(tree)
        sync(home)
        changed = execute("python3", "-IS", "-c", _FIRST_WRITE, tree / "large")
        started = execute("python3", "-IS", "-c", "pass")
        return {**found, FIRST_WRITE: changed.seconds - started.seconds}


@contextmanager
def _mount(peer: Peer, home: Path) -> Iterator[Path]:
    at = home / "mnt"
    at.mkdir()
    # Some go on to write to what they were given as output, and never close it.
    command = [str(word) for word in peer.command(home, at)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield at
    finally:
        execute("umount", at)
        _wait_for_the_end(at)


def _wait_for_the_end(at: Path) -> None:
    """Wait for who served the mount, and ask those that stay to end."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if str(at) in process.cmdline() and process.pid != os.getpid():
                process.terminate()
                process.wait(_PATIENCE)


def _work(tree: Path) -> Mapping[str, float]:
    """Return the seconds of each kind of work; those named cold begin with empty caches."""
    find = ("find", tree, "-ls")
    # Through a pipe: tar reads no files if it sees that its output is /dev/null.
    tar = f"tar -cf - --exclude=./stream --exclude=./large -C '{tree}' . | cat >/dev/null"
    status = ("git", "-C", tree, "status", "--porcelain")
    python = ("env", f"PYTHONPATH={tree}/python3.11", "python3", "-S", "-B", "-c", _PYTHON)
    read = ("dd", f"if={tree}/stream", "of=/dev/null", "bs=1M")
    execute(*status)  # takes note of inodes and times as they are here
    found: dict[str, float] = {}
    for name, command in (
        ("find -ls", find), ("tar", ("sh", "-c", tar)), ("git status", status),
        ("python", python), ("read", read),
    ):  # fmt: skip
        _empty_caches(tree)
        found[f"cold {name}"] = execute(*command).seconds
        found[f"warm {name}"] = execute(*command).seconds
    found["create 10,000 files"] = execute("python3", "-IS", "-c", _CREATE, tree).seconds
    return found


def _empty_caches(tree: Path) -> None:
    sync(tree)
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
    time.sleep(0.2)
