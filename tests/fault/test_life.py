"""Long lives: one command after the other, most of them with a fault, and nothing ever lost.

The sweeps of ``test_faults`` begin from a few states; here every state is the beginning
of the next command, with local changes, pins, bundles and adopted trees in between.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from rootman.names import TreeNumber
from rootman.recovery import plan_recovery
from rootman.upgrade import Options
from tests.builders import differences, published, snapshot
from tests.fault.lanes import in_lanes
from tests.fault.scenarios import publish_parts
from tests.fault.states import names_of
from tests.fault.sweep import SETTLED, learn, open_lab, suffer
from tests.fault.trees import VERSIONS
from tests.numbers import number

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rootman.fsops import Fs
    from tests.fault.faulty import Mode
    from tests.fault.lanes import Lane
    from tests.fault.states import Known
    from tests.fault.sweep import Told
    from tests.stores import Lab

    Command = Callable[[Lab, Fs], object]

pytestmark = pytest.mark.loopfs

STEPS: Final = 600
MODES: Final[tuple[Mode, ...]] = ("kill", "kill", "ENOSPC", "EIO", "full", "dead")
ADOPTED: Final = 10  # added to the version of an adopted tree
SOURCES: Final[dict[tuple[str, ...], int]] = {(): 0, ("doc", "more"): 1, ("more",): 2}
"""The revisions of the sources that have what a version is with these bundles."""


def prepare(lab: Lab) -> None:
    for version in VERSIONS:
        sources = ((f"{version}.{at}" if at else version, of) for of, at in SOURCES.items())
        publish_parts(lab, version, *sources)
    lab.init()
    lab.upgrade(1)


def pick(random: Random) -> tuple[str, Command]:
    """Return a command, any with anything."""
    version = random.choice(tuple(VERSIONS))
    any_tree = random.choice((version, version + ADOPTED, f"{version}.{random.randint(1, 4)}"))
    names = random.choice((("doc",), ("more",), ("more", "doc")))
    allow = Options(allow_downgrade=random.random() < 0.5)
    commands: list[tuple[int, str, Command]] = [
        (8, f"upgrade {version}", lambda lab, fs: lab.upgrade(version, fs, allow)),
        (3, "rollback", lambda lab, fs: lab.rollback(fs=fs)),
        (2, f"rollback --to {any_tree}", lambda lab, fs: lab.rollback(any_tree, fs)),
        (2, "prune", lambda lab, fs: lab.prune(keep=random.randint(0, 2), fs=fs)),
        (1, f"prune {any_tree}", lambda lab, fs: lab.prune(any_tree, fs=fs)),
        (1, f"pin {any_tree}", lambda lab, fs: lab.pin(any_tree, fs)),
        (2, f"unpin {any_tree}", lambda lab, fs: lab.pin(any_tree, fs, pinned=False)),
        (2, f"repair {any_tree}", lambda lab, fs: lab.repair(any_tree, fs)),
        (
            1,
            f"adopt {version}",
            lambda lab, fs: lab.init(lab.source(version), version + ADOPTED, fs),
        ),
        (4, f"add {names}", lambda lab, fs: lab.add(*names, fs=fs)),
        (3, f"remove {names}", lambda lab, fs: lab.remove(*names, fs=fs)),
        (2, "status", lambda lab, fs: lab.look(fs)),
    ]
    weights = [weight for weight, _, _ in commands]
    _, name, command = random.choices(commands, weights)[0]
    return name, command


class Life:
    """One store, and what is known of it."""

    def __init__(self, lab: Lab, known: Known, seed: int) -> None:
        self._lab = lab
        self._known = known
        self._random = Random(seed)
        self._changed: set[TreeNumber] = set()
        """Trees with local changes."""
        self.history: list[str] = []
        self.ends: Counter[str] = Counter()

    def step(self) -> list[str]:
        """Do one thing; return what is wrong then."""
        if self._random.random() < 0.2:
            self._change_something()
        name, command = pick(self._random)
        mode, at = (
            self._random.choice(MODES),
            self._random.randint(1, self._random.choice((5, 20, 60, 150))),
        )
        if self._random.random() < 0.3:
            at = 1 << 30
        outcome = suffer(self._lab, command, mode, at)
        self.history.append(f"{name}: {mode} at {at} {outcome.fired}: {outcome.kind}")
        self.history.append(outcome.message)
        self.ends[outcome.kind] += 1
        self.ends[f"{name.split()[0]} {outcome.kind}"] += 1
        if outcome.kind == "done" and name.startswith("repair"):
            self._changed.discard(number(name.split()[1]))
        wrong = [outcome.message] if outcome.kind == "bug" else []
        wrong += self._wrong()
        self._lab.look()
        wrong += [f"recovered: {one}" for one in self._wrong()]
        state = self._lab.scan()
        if names_of(state) != SETTLED or plan_recovery(state):
            wrong.append(f"recovered: TR-2: {state}")
        return wrong

    def _change_something(self) -> None:
        """Replace, add and remove something in a tree, as its user might."""
        trees = [tree.number for tree in self._lab.scan().trees]
        if not trees:
            return
        changed = self._random.choice(trees)
        self._changed.add(changed)
        root = self._lab.tree(changed)
        places = [path for path in root.rglob("*") if not path.is_symlink()]
        place = self._random.choice(places)
        self.history.append(f"local change of {place}")
        if place.is_dir():
            with contextlib.suppress(FileExistsError):
                (place / "local").symlink_to("changes")
        elif self._random.random() < 0.5:
            place.unlink()
        else:
            place.with_name("local.new").write_bytes(b"changed here")
            place.with_name("local.new").rename(place)

    def _wrong(self) -> list[str]:
        state = self._lab.scan()
        self._changed &= {tree.number for tree in state.trees}
        found = [f"S2: {problem}" for problem in state.problems]
        if not os.path.lexists(self._lab.store / "current"):
            found.append("S2: there is no current")
        for tree in state.trees:
            if tree.number in self._changed:
                continue
            others = tree.seal.parts.keys() - {"base"} if tree.seal else ()
            source = TreeNumber(tree.number.version % ADOPTED, SOURCES[tuple(sorted(others))])
            wanted = self._known.wanted[source]
            now = published(snapshot(self._lab.tree(tree.number)))
            found += [f"S1: {tree.name}: {one}" for one in differences(now, wanted)]
            found += [f"S1: {tree.name}: {one}" for one in self._lab.verify(tree.number)]
        return found


def test_long_lives(scratch: Path) -> None:
    """S1 S2 S4 S5 TR-1 TR-2: whatever happens in whatever order."""
    template = learn(scratch, prepare, lambda lab, _: lab.look(), lambda *_: [])

    lives = in_lanes(scratch, template, partial(_live, template.told))

    found = "\n".join(line for wrong, _ in lives for line in wrong)
    assert not found, found
    # That it was a life worth living.
    ends = sum((ends for _, ends in lives), Counter[str]())
    often = ("upgrade done", "add done", "remove done", "prune done", "killed", "failed")
    assert min(ends[one] for one in often) >= 20, ends


def _live(told: Told, lane: Lane, index: int, lanes: int) -> list[tuple[list[str], Counter[str]]]:
    del lanes
    life = Life(open_lab(lane.path), told.known, seed=index)
    for _ in range(STEPS):
        if wrong := life.step():
            return [([f"life {index}:", *life.history[-12:], *wrong[:10]], life.ends)]
    return [([], life.ends)]
