"""The sections of the bench: each measures, and returns rows of the table."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.bench.boots import boot
from tests.bench.guards import guard
from tests.bench.measure import count_calls, execute, footprint, interpreter, sync
from tests.bench.merges import merge
from tests.bench.recipes import STORE, Recipes
from tests.bench.rounds import Samples, Side, measure
from tests.bench.table import Row
from tests.bench.trees import TreeSpec
from tests.bench.wire import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.bench.images import Images
    from tests.bench.measure import Footprint

TREE: Final = TreeSpec(entries=100_000, changed=200)
PACKAGES: Final = TreeSpec(entries=100_000, changed=200, whole_packages=True)
SMALL: Final = TreeSpec(entries=100_000, changed=200, tiny=True)
LARGE: Final = TreeSpec(entries=1_000_000, changed=2_000, tiny=True)

_STATUS_RUNS: Final = 20
_MIB: Final = 1 << 20
_MEMORY_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class Bench:
    """What all sections need: where images are, how many rounds, and the command."""

    images: Images
    rounds: int
    rootman: Path
    quick: bool = False
    warm: bool = False
    same_store: bool = False

    def recipes(self, spec: TreeSpec) -> Recipes:
        """Return how the images with trees of this kind are made."""
        return Recipes(self.images, spec, self.rootman, self.same_store)

    def measure(self, sides: Mapping[str, Side]) -> dict[str, Samples]:
        """Measure all ``sides`` in interleaved rounds."""
        return measure(self.images, sides, self.rounds, warm=self.warm)


def clone(bench: Bench) -> Iterator[Row]:
    """Compare the first clone of a tree with ``cp -al``."""
    image = bench.recipes(TREE).store()

    def ours(path: Path) -> Mapping[str, float]:
        store = path / STORE
        module = ("-m", "tests.bench.cloning")
        done = execute(sys.executable, *module, store, "2", store / "clone")
        flushed = done.seconds + sync(path)
        return {"process": done.seconds, "call": float(done.output), "with sync": flushed}

    def theirs(path: Path) -> Mapping[str, float]:
        store = path / STORE
        done = execute("cp", "-al", store / "olpc.2", store / "clone")
        return {"process": done.seconds, "with sync": done.seconds + sync(path)}

    samples = bench.measure({"clone": Side(image, ours), "cp -al": Side(image, theirs)})
    one, other = samples["clone"].parts, samples["cp -al"].parts
    yield Row("clone: process / cp -al", one["process"], other["process"], target=0.6)
    yield Row("  without the start of Python", one["call"], other["process"])
    yield Row("  process / cp -al, both with sync -f", one["with sync"], other["with sync"])
    yield Row("  MiB written", samples["clone"].written, samples["cp -al"].written, unit="MiB")


_CP_ALL: Final = "cp -al, rsync of the tree"
_CP_KNOWN: Final = "cp -al, rsync of the files"
_OSTREE: Final = "ostree, published {}"


def upgrade(bench: Bench, *, against_cp: bool = True, against_ostree: bool = True) -> Iterator[Row]:
    """Compare an upgrade with 200 changed files with other ways to have both trees."""
    recipes = bench.recipes(TREE)
    sides = {"upgrade": Side(recipes.store(), partial(_upgrade, recipes))}
    if against_cp:
        trees = recipes.trees()
        sides[_CP_ALL] = Side(trees, _clone_and_compare)
        sides[_CP_KNOWN] = Side(trees, _clone_and_copy)
    if against_ostree and shutil.which("ostree") is not None:
        for mode in ("bare", "archive"):
            sides[_OSTREE.format(mode)] = Side(recipes.ostree(mode), _ostree)
    samples = bench.measure(sides)
    ours = samples["upgrade"]
    for name, target in ((_CP_ALL, 0.1), (_CP_KNOWN, 0.1)):
        if name in samples:
            yield from _compared(ours, name, samples[name], target, 0.05)
    for mode in ("bare", "archive"):
        name = _OSTREE.format(mode)
        if name in samples:
            yield from _compared(ours, name, samples[name], 0.2, None)
    if against_cp and shutil.which("strace") is not None:
        yield _calls(bench, sides)


def packages(bench: Bench) -> Iterator[Row]:
    """Compare an upgrade of 20 packages of 10 files, as most upgrades are: not 200 places."""
    recipes = bench.recipes(PACKAGES)
    sides = {
        "upgrade": Side(recipes.store(), partial(_upgrade, recipes)),
        _CP_ALL: Side(recipes.trees(), _clone_and_compare),
    }
    samples = bench.measure(sides)
    name = f"{_CP_ALL}, 20 packages"
    yield from _compared(samples["upgrade"], name, samples[_CP_ALL], 0.1, 0.05)


def _compared(
    ours: Samples, name: str, theirs: Samples, target: float, written: float | None
) -> Iterator[Row]:
    seconds = (ours.parts["process"], theirs.parts["process"])
    yield Row(f"upgrade / {name}", *seconds, target=target)
    yield Row("  MiB written", ours.written, theirs.written, unit="MiB", target=written)


def _upgrade(recipes: Recipes, path: Path) -> Mapping[str, float]:
    return {"process": execute(*recipes.upgrade(path, 3)).seconds}


def _clone_and_compare(path: Path) -> Mapping[str, float]:
    """Find the changes as one does who has only two trees."""
    cloned = execute("cp", "-al", path / "old", path / "clone").seconds
    changed = execute("rsync", "-a", "--delete", f"{path}/new/", f"{path}/clone/").seconds
    flushed = sync(path)
    return {"process": cloned + changed + flushed, "clone": cloned, "rsync": changed}


def _clone_and_copy(path: Path) -> Mapping[str, float]:
    """Copy the changed files, as one could who knew which they are."""
    cloned = execute("cp", "-al", path / "old", path / "clone").seconds
    known = f"--files-from={path}/changes"
    changed = execute("rsync", "-a", known, f"{path}/new/", f"{path}/clone/").seconds
    flushed = sync(path)
    return {"process": cloned + changed + flushed, "clone": cloned, "rsync": changed}


def _ostree(path: Path) -> Mapping[str, float]:
    device = f"--repo={path}/device"
    pulled = execute("ostree", device, "pull-local", path / "published", "os/3").seconds
    target = path / "deploy" / "3"
    checked_out = execute("ostree", device, "checkout", "-H", "os/3", target).seconds
    total = pulled + checked_out + sync(path)
    return {"process": total, "pull": pulled, "checkout": checked_out}


def _calls(bench: Bench, sides: Mapping[str, Side]) -> Row:
    """Count system calls, which no other process on the machine can disturb."""
    with bench.images.fresh(sides["upgrade"].image) as filesystem:
        ours = count_calls(*bench.recipes(TREE).upgrade(filesystem.path, 3))
    with bench.images.fresh(sides[_CP_ALL].image) as filesystem:
        path = filesystem.path
        theirs = count_calls("cp", "-al", path / "old", path / "clone")
        theirs += count_calls("rsync", "-a", "--delete", f"{path}/new/", f"{path}/clone/")
    return Row(f"upgrade / {_CP_ALL}: system calls", [ours], [theirs], unit="calls")


def status(bench: Bench) -> Iterator[Row]:
    """Compare ``rootman status`` with the start of the Python that runs it."""
    recipes = bench.recipes(TREE)
    ours, theirs = list[float](), list[float]()
    python = interpreter(bench.rootman)
    with bench.images.fresh(recipes.store()) as filesystem:
        command = (bench.rootman, "--rootfs", filesystem.path / STORE, "status")
        first = execute(*command).seconds
        execute(python, "-c", "pass")
        for _ in range(_STATUS_RUNS):
            ours.append(execute(*command).seconds)
            theirs.append(execute(python, "-c", "pass").seconds)
    yield Row("status / python3 -c pass", ours, theirs, target=5)
    yield Row("  the first status of a store", [first])


def memory(bench: Bench) -> Iterator[Row]:
    """Measure an installation and upgrades of a small tree and of one ten times as large."""
    small = [_install_and_upgrade(bench, SMALL)]
    large = [] if bench.quick else [_install_and_upgrade(bench, LARGE)]
    # Before and after: what else the machine does may have changed meanwhile.
    small.append(_install_and_upgrade(bench, SMALL))
    yield from _memory_rows(SMALL, small)
    if not large:
        return
    yield from _memory_rows(LARGE, large)
    for what, target in (("upgrade", 1.3), ("first upgrade", None), ("installation", None)):
        yield Row(
            f"{what}: time per entry, 1,000,000 / 100,000",
            [_per_entry(LARGE, one[what]) for one in large],
            [_per_entry(SMALL, one[what]) for one in small],
            unit="us",
            target=target,
        )


def _install_and_upgrade(bench: Bench, spec: TreeSpec) -> dict[str, Footprint]:
    recipes = bench.recipes(spec)
    with bench.images.fresh(recipes.repository()) as filesystem:
        path = filesystem.path
        execute(bench.rootman, "--rootfs", path / STORE, "init")
        found: dict[str, Footprint] = {}
        for what, version in (("installation", 1), ("first upgrade", 2), ("upgrade", 3)):
            sync(path)
            found[what] = footprint(*recipes.upgrade(path, version))
            done = found[what]
            print(
                f"  {spec.entries:,} entries: {what}: {done.seconds:.2f} s,"
                f" max RSS {done.max_rss / _MIB:.0f} MiB, PSS {done.peak_pss / _MIB:.0f} MiB",
                flush=True,
            )
    return found


def _memory_rows(spec: TreeSpec, found: Sequence[Mapping[str, Footprint]]) -> Iterator[Row]:
    limit = _MEMORY_LIMIT if spec == LARGE else None
    for what in ("upgrade", "first upgrade", "installation"):
        done = [one[what] for one in found]
        rss = [one.max_rss / _MIB for one in done]
        pss = [one.peak_pss / _MIB for one in done]
        yield Row(f"{what} of {spec.entries:,} entries", [one.seconds for one in done])
        yield Row("  largest RSS of a process", rss, unit="MiB", target=limit)
        yield Row("  peak PSS of all processes", pss, unit="MiB", target=limit)


def _per_entry(spec: TreeSpec, done: Footprint) -> float:
    """Return microseconds."""
    return done.seconds / spec.entries * 1e6


SECTIONS: Final[dict[str, Callable[[Bench], Iterator[Row]]]] = {
    "clone": clone,
    "upgrade": partial(upgrade, against_ostree=False),
    "packages": packages,
    "ostree": partial(upgrade, against_cp=False),
    "status": status,
    "memory": memory,
    "guard": guard,
    "boot": boot,
    "merge": merge,
    "wire": wire,
}
