"""An upgrade over HTTP against other ways to bring a new tree to a device.

Pairs of real trees, real servers, and a link that counts, once as fast as loopback
and once as slow as a bad line. Each peer begins with the old tree in place, on a fresh
copy of its image, and ends when the new one is complete and durable: for most that is
when its last command and a sync of the filesystem have ended. That of rootman goes on
when the new tree is in use and durable, and makes the seed of the next upgrade; counted
is from the start of the process to that switch, and a row of its own has it to its end.
"""

from __future__ import annotations

import lzma
import os
import stat
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.bench.link import Shape, link
from tests.bench.measure import execute, footprint, sync
from tests.bench.peers import AGAIN, CASYNC, CLAMPED, OSTREE, PULL, ROOTMAN, RSYNC, Peers
from tests.bench.table import Row
from tests.debian_trees import next_trees, update_trees

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.peers import Command, Peer
    from tests.bench.sections import Bench
    from tests.debian_trees import Trees

_SLOW: Final = Shape(rate=2e6, round_trip=0.1)
_SLOW_ROUNDS: Final = 3
_LOOK_EVERY: Final = 0.002  # seconds
_MIB: Final = 1 << 20
_MEMORY: Final = 64 * _MIB
_SLOW_LIMIT: Final = 1.25  # times the ratio of bytes
_SWUPD: Final = "bsdiff and xz of each file"


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often a step is measured: for rootman and OSTree, and for each of the others."""

    rivals: int
    others: int

    def of(self, name: str) -> int:
        """Return the rounds of one peer."""
        return self.rivals if name in (ROOTMAN, OSTREE) else self.others


@dataclass(slots=True)
class Found:
    """What the rounds of one peer gave: seconds of each step, and MiB over the wire.

    ``ended`` are those of ``fast`` to the end of the process, whatever it did last.
    """

    prepare: list[float] = field(default_factory=list)
    fast: list[float] = field(default_factory=list)
    slow: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    carried: list[float] = field(default_factory=list)


def wire(bench: Bench) -> Iterator[Row]:
    """Compare an upgrade over HTTP with other tools, on one pair of trees or two."""
    often = Rounds(bench.rounds, min(bench.rounds, 3))
    slowly = Rounds(min(bench.rounds, _SLOW_ROUNDS), 0)
    everyone = (ROOTMAN, CLAMPED, AGAIN, OSTREE, PULL, CASYNC, RSYNC)
    yield from Comparison(bench, update_trees(), everyone, often, slowly).rows()
    if not bench.quick:
        # 100 MB take seven minutes on the slow link: only those two whose ratio is asked for.
        several = (ROOTMAN, OSTREE, CASYNC, RSYNC)
        yield from Comparison(bench, next_trees(), several, Rounds(2, 1), Rounds(1, 0)).rows()


class Comparison:
    """All peers on one pair of trees."""

    def __init__(
        self, bench: Bench, trees: Trees, names: Sequence[str], fast: Rounds, slow: Rounds
    ) -> None:
        self._images = bench.images
        self._trees = trees
        self._fast, self._slow = fast, slow
        self._peers = Peers(bench.images, trees, bench.rootman).made(*names)
        self._found = {name: Found() for name in self._peers}
        self._ports: dict[str, int] = {}

    def rows(self) -> Iterator[Row]:
        """Measure, and return the rows of the table."""
        with ExitStack() as stack:
            served: dict[Path, int] = {}
            for name, peer in self._peers.items():
                if peer.served not in served:
                    served[peer.served] = self._serve(stack, name, peer)
                self._ports[name] = served[peer.served]
            for name, port, number in self._turns(self._fast):
                took, carried = self._download(name, port, None, check=not number)
                self._found[name].fast.append(took.switched)
                self._found[name].ended.append(took.ended)
                self._found[name].carried.append(carried)
            for name, port, _ in self._turns(self._slow):
                self._found[name].slow.append(self._download(name, port, _SLOW)[0].switched)
            memory = self._memory()
        yield from self._compared()
        yield from memory
        yield from self._others()

    def _turns(self, rounds: Rounds) -> Iterator[tuple[str, int, int]]:
        """Yield each peer, its port and the number of the round, all in turn."""
        for number in range(max(rounds.rivals, rounds.others)):
            for name, port in self._ports.items():
                if number < rounds.of(name):
                    yield name, port, number

    def _serve(self, stack: ExitStack, name: str, peer: Peer) -> int:
        """Have a server with what the peer asks for; return its port."""
        found = self._found[name].prepare
        for _ in range(self._slow.of(name) - 1):
            with self._images.fresh(peer.served) as filesystem:
                found.append(_prepared(name, peer, filesystem.path))
        served = stack.enter_context(self._images.fresh(peer.served)).path
        found.append(_prepared(name, peer, served))
        return stack.enter_context(peer.serve(served))

    def _download(
        self, name: str, port: int, shape: Shape | None, *, check: bool = False
    ) -> tuple[Took, float]:
        """Return the seconds and the MiB that it took."""
        peer = self._peers[name]
        with self._images.fresh(peer.device) as device, link(port, shape) as relay:
            commands = peer.download(device.path, relay.port)
            took = _took(peer, device.path, commands)
            carried = relay.carried() / _MIB
            if check:
                _check(self._trees.second, device.path / peer.result)
        how = "loopback" if shape is None else "slow"
        seconds = f"{took.switched:.3f} s ({took.ended:.3f} s to its end)"
        print(f"  {name}, {how}: {seconds}, {carried:.3f} MiB", flush=True)
        return took, carried

    def _memory(self) -> tuple[Row, ...]:
        peer, port = self._peers[ROOTMAN], self._ports[ROOTMAN]
        with self._images.fresh(peer.device) as device:
            (command,) = peer.download(device.path, port)
            done = footprint(*command)
        limit = _MEMORY + 2 * _largest(self._trees.second)
        rss, pss = [done.max_rss / _MIB], [done.peak_pss / _MIB]
        return (
            Row("  max RSS / 64 MiB + 2 x largest file", rss, [limit / _MIB], "MiB", 1.0),
            Row("  peak PSS of all processes", pss, unit="MiB"),
        )

    def _compared(self) -> Iterator[Row]:
        """Compare with OSTree, which the targets are about."""
        ours, theirs = self._found[ROOTMAN], self._found[OSTREE]
        what = self._trees.origin
        carried = Row(f"{what}: bytes / {OSTREE}", ours.carried, theirs.carried, "MiB", 0.65)
        yield carried
        yield Row("  loopback / apply, checkout -H", ours.fast, theirs.fast, target=0.6)
        if clamped := self._found.get(CLAMPED):
            yield Row("  loopback, times clamped / the same", clamped.fast, theirs.fast, target=0.6)
            yield Row("    and the seed of the next", clamped.ended, theirs.ended)
        if again := self._found.get(AGAIN):
            yield Row("  loopback, from that seed / the same", again.fast, theirs.fast, target=0.6)
        most = round(_SLOW_LIMIT * (carried.ratio or 0), 3)
        yield Row("  2 Mbit/s, 100 ms / the same", ours.slow, theirs.slow, target=most)
        yield Row("  make the pack / the delta", ours.prepare, theirs.prepare, target=1.0)

    def _others(self) -> Iterator[Row]:
        ours = self._found[ROOTMAN]
        for name, found in self._found.items():
            if name in (ROOTMAN, CLAMPED, AGAIN, OSTREE):
                continue
            yield Row(f"  bytes / {name}", ours.carried, found.carried, "MiB")
            yield Row("    loopback", ours.fast, found.fast)
        swupd = _file_by_file(self._images.cache, self._trees) / _MIB
        yield Row(f"  bytes / {_SWUPD}", ours.carried, [swupd], "MiB")


class Took(NamedTuple):
    """Seconds from the start of the commands: to the switch, and to their end and a sync."""

    switched: float
    ended: float


def _took(peer: Peer, device: Path, commands: Sequence[Command]) -> Took:
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: [execute(*command) for command in commands])
        while not running.done() and not (peer.is_switched and peer.is_switched(device)):
            time.sleep(_LOOK_EVERY)
        switched = time.monotonic() - began
        running.result()
    sync(device)
    ended = time.monotonic() - began
    return Took(switched if peer.is_switched else ended, ended)


def _prepared(name: str, peer: Peer, path: Path) -> float:
    """Return the seconds that it took."""
    began = time.monotonic()
    peer.prepare(path)
    sync(path)
    seconds = time.monotonic() - began
    print(f"  {name}, on the server: {seconds:.3f} s", flush=True)
    return seconds


def _check(tree: Path, found: Path) -> None:
    """See to it that what a peer made is the tree, but for times.

    Raises:
        RuntimeError: it is another.
    """
    compare = ("rsync", "-rlpgoDn", "--checksum", "--delete", "--out-format=%i %n")
    if different := execute(*compare, f"{tree}/", f"{found}/").output:
        raise RuntimeError(f"{found}: {different.splitlines()[0]} and more is not as published")


def _largest(tree: Path) -> int:
    """Return the bytes of the largest file."""
    return max(_sizes(tree).values())


def _sizes(tree: Path) -> dict[Path, int]:
    """Return the files with content and their bytes."""
    names = (Path(folder, name) for folder, _, names in os.walk(tree) for name in names)
    status = {path: path.lstat() for path in names}
    return {path: one.st_size for path, one in status.items() if stat.S_ISREG(one.st_mode)}


def _file_by_file(cache: Path, trees: Trees) -> int:
    """Return how many bytes swupd would send at best: a delta or the content of each file.

    swupd compares a file with the one of its path by bsdiff and compresses what comes
    out by xz, or the content where that is less. It takes minutes, and is kept.
    """
    kept = cache / f"swupd-{trees.first.parent.name}"
    if not kept.exists():
        with ProcessPoolExecutor() as pool:
            sizes = pool.map(_delta_size, *zip(*_changed(trees), strict=True), chunksize=16)
            kept.write_text(f"{sum(sizes)}\n")
    return int(kept.read_text())


def _changed(trees: Trees) -> list[tuple[Path, Path]]:
    """Return the old path and the new one of each content that the old tree has not."""
    known = {_digest(path) for path in _sizes(trees.first)}
    found = list[tuple[Path, Path]]()
    for path in sorted(_sizes(trees.second)):
        if (digest := _digest(path)) not in known:
            known.add(digest)
            found.append((trees.first / path.relative_to(trees.second), path))
    return found


def _digest(path: Path) -> bytes:
    return sha256(path.read_bytes()).digest()


def _delta_size(old: Path, new: Path) -> int:
    """Return the bytes of a file as they would be sent."""
    from bsdiff4 import core

    content = new.read_bytes()
    sent = [len(lzma.compress(content))]
    if old.is_file() and not old.is_symlink():
        sent.append(len(lzma.compress(b"".join(core.diff(old.read_bytes(), content)))))
    return min(sent)
