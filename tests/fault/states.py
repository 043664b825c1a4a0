"""What may be on the disk after a fault: the named states of the specification, checked.

Everything here returns a list of violations, each a line with the id of the claim that
does not hold; none is the good answer. That they are found is what the tests of the
mutants show. Out of scope: making the faults.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import zstandard

from rootman.names import StageKind
from rootman.recovery import plan_recovery
from rootman.release import parse_release
from tests.builders import Facts, Snapshot, differences, published, snapshot
from tests.numbers import number

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from rootman.names import TreeNumber
    from rootman.state import StoreState
    from tests.numbers import Number
    from tests.stores import Lab

Name = Literal["settled", "litter", "staged", "recorded", "sealed", "orphaned", "leaving", "spares"]
Names = frozenset[Name]

_OBJECT: Final = re.compile(r"[0-9a-f]{64}")
_OTHERS: Final = re.compile(
    r"([0-9a-f]{64}(\.zst|-([0-9a-f]{64}|empty)\.pack)?|release\.json|made)\.part"
)
"""What is on its way into ``objects``, and is not used."""


class Shape(NamedTuple):
    """Which trees the links name, and all complete ones."""

    current: TreeNumber | None
    previous: TreeNumber | None
    trees: frozenset[TreeNumber]

    @property
    def links(self) -> tuple[TreeNumber | None, TreeNumber | None]:
        return self.current, self.previous


def shape(current: Number | None, previous: Number | None, *trees: Number) -> Shape:
    return Shape(
        None if current is None else number(current),
        None if previous is None else number(previous),
        frozenset(map(number, trees)),
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What trees must be: as they were published, and, of those that were there, as they were.

    ``merged`` are those with local configuration, as they are to be with it.
    """

    wanted: Mapping[TreeNumber, Snapshot]
    before: Mapping[TreeNumber, Snapshot]
    merged: Mapping[TreeNumber, Snapshot] = field(default_factory=dict)

    def but(self, changing: Number) -> Known:
        """Return the same with the tree ``changing`` allowed to change."""
        kept = {one: it for one, it in self.before.items() if one != number(changing)}
        return Known(self.wanted, kept, self.merged)


def shape_of(state: StoreState) -> Shape:
    return Shape(state.current, state.previous, frozenset(tree.number for tree in state.trees))


def names_of(state: StoreState) -> Names:
    """Return the names, of spec/40-transitions.md, of the state that the store is in (TR-1)."""
    names: set[Name] = {"litter"} if state.litter else set()
    explained: set[TreeNumber] = set()
    for stage in state.stages:
        tree = stage.name.number
        if stage.name.kind in (StageKind.BUILDING, StageKind.FALLBACK):
            sealed = state.sealed(tree) is not None
            if sealed and not stage.has_root:
                names.add("sealed")
            else:
                names.add("recorded" if tree in state.orphans else "staged")
            explained.add(tree)
        elif stage.name.kind is not StageKind.SPARE:
            names.add("leaving")
            explained.add(tree)
    spares = [stage for stage in state.stages if stage.name.kind is StageKind.SPARE]
    if len(spares) > 1 or any(not (one.has_root and one.has_meta) for one in spares):
        names.add("spares")
    if set(state.orphans) - explained:
        names.add("orphaned")
    return frozenset(names or {"settled"})


def violations(
    lab: Lab,
    known: Known,
    *,
    shapes: Collection[Shape],
    names: Collection[Names],
    except_for: Number = 0,
    thorough: bool = True,
) -> list[str]:
    """Return what of S1, S2, S5 and TR-1 does not hold in the store as it is.

    Tree ``except_for`` may be different from what was published. What is as it was
    before is only compared with its seal record when it is to be ``thorough``.
    """
    state = lab.scan()
    found = [*_link_violations(lab, state), *_trial_violations(state, known)]
    if shape_of(state) not in shapes:
        found.append(f"TR-1: {shape_of(state)} is none of {sorted(map(str, shapes))}")
    if names_of(state) not in names:
        found.append(f"TR-1: {sorted(names_of(state))} ({state.stages}, {state.orphans})")
    for tree in state.trees:
        if tree.seal is None:
            found.append(f"S1: {tree.name} has its name and no seal record")
        elif tree.number != number(except_for):
            found.extend(tree_violations(lab, tree.number, known, thorough=thorough))
    return found


def _link_violations(lab: Lab, state: StoreState) -> Iterator[str]:
    for name in state.problems:
        yield f"S2: {name}"
    for link in ("current", "previous"):
        path = lab.store / link
        if not os.path.lexists(path):
            continue  # whether it may be missing the shape says
        target = os.readlink(path)
        if "/" in target:
            yield f"S2: {link} -> {target} is not relative"
        elif not (lab.store / target).is_dir():
            yield f"S2: {link} -> {target} leads nowhere"


def _trial_violations(state: StoreState, known: Known) -> Iterator[str]:
    """Yield the links to a tree that is new and not on trial, where there is a boot state."""
    for tree in (state.current, state.previous):
        if state.boot is None or tree is None or tree in known.before:
            continue
        if state.boot.pending != state.name_of(tree):
            yield f"BT-10: a link leads to {tree}, and the boot state is {state.boot}"


def tree_violations(lab: Lab, tree: Number, known: Known, *, thorough: bool) -> Iterator[str]:
    """Yield what is wrong with a complete tree: with its content, its seal or its inodes."""
    path, is_local = lab.tree(tree), number(tree) in known.merged
    wanted = known.merged[number(tree)] if is_local else known.wanted[number(tree)]
    before = known.before.get(number(tree))
    found = snapshot(path)
    now = published(found)
    if is_local:
        now, wanted = _timeless(now), _timeless(wanted)
    for line in differences(now, wanted):
        yield f"S1: {path.name} is not what was published: {line}"
    if before is not None:
        for line in differences(found, before):
            yield f"S5: {path.name} is not what it was: {line}"
    if found == before and not thorough:
        return
    for difference in lab.verify(tree):
        if difference.damaged or not is_local:
            yield f"S1: {path.name} is not as sealed: {difference}"


def settled_violations(lab: Lab, known: Known, *, torn: int = 1) -> list[str]:
    """Return what of TR-2, ST-11 and ST-12 does not hold in a store after its recovery.

    ``torn`` is how many downloads may be: a process that dies tears one.
    """
    state = lab.scan()
    found: list[str] = []
    if names_of(state) != {"settled"}:
        found.append(f"TR-2: after recovery {sorted(names_of(state))}: {state}")
    if plan := plan_recovery(state):
        found.append(f"TR-2: a second recovery would {plan}")
    for stage in state.stages:
        spare = lab.control / "staging" / str(stage.name) / "root"
        if stage.name.kind is StageKind.SPARE:
            wrong = differences(published(snapshot(spare)), known.wanted[stage.name.number])
            found.extend(f"ST-11: {stage.name} is no clone: {line}" for line in wrong)
    names = set(os.listdir(lab.control))
    if surplus := names - {
        "trees",
        "staging",
        "objects",
        "boot",
        "state.json",
        "lock",
        "sizes.json",
    }:
        found.append(f"ST-11: {sorted(surplus)} in .rootman")
    found.extend(_object_violations(lab, torn))
    return found


def _object_violations(lab: Lab, allowed: int) -> Iterator[str]:
    torn = 0
    for path in sorted((lab.control / "objects").iterdir()):
        digest = path.name.removesuffix(".zst")
        if path.name == "release.json":
            yield from _download_violations(path)
        elif _OTHERS.fullmatch(path.name):
            continue
        elif _OBJECT.fullmatch(digest) is None:
            yield f"ST-12: {path.name} in objects"
        elif digest != path.name:
            torn += _sha256_of_frames(path) != digest
        elif hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            torn += 1
    if torn > allowed:
        yield f"ST-12: {torn} torn downloads"


def _download_violations(release: Path) -> Iterator[str]:
    """Yield what a release that was downloaded lacks."""
    base = parse_release(release.read_bytes(), "release.json").base
    if not release.with_name(f"{base.manifest}.zst").exists():
        yield "ST-12: a release without its manifest"


def _sha256_of_frames(path: Path) -> str:
    """Return the SHA-256 of what is in a compressed file, none where it is damaged."""
    try:
        content = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    except zstandard.ZstdError:
        return ""
    return hashlib.sha256(content).hexdigest()


def repair_violations(now: Snapshot, before: Snapshot, wanted: Snapshot) -> Iterator[str]:
    """Yield the paths of a tree under repair that are neither as they were nor repaired (TR-16).

    A path where a directory gives way, or comes, may be missing for a moment (decisions/0004),
    and hardlinks are put back one after the other.
    """
    for path in sorted(now.keys() | before.keys() | wanted.keys()):
        states = [_loosely(one, path) for one in (before, wanted)]
        moves = any(one is not None and stat.S_ISDIR(one.mode) for one in states)
        if _loosely(now, path) in states or (moves and path not in now):
            continue
        parent = os.path.dirname(path)
        if path not in now and parent and parent not in now:
            continue
        yield f"TR-16: {path!r}: {now.get(path)} is neither {states[0]} nor {states[1]}"


def merge_violations(now: Snapshot, before: Snapshot, wanted: Snapshot) -> Iterator[str]:
    """Yield what a tree is neither like before its configuration was merged nor after it (MG-18).

    The directory that was exchanged, and the one above, may have another time
    (spec/40-transitions.md).
    """
    left, before, wanted = (_timeless(published(one)) for one in (now, before, wanted))
    if left not in (before, wanted):
        yield "MG-18: neither what it was nor merged:"
        yield from (f"MG-18: it was: {line}" for line in differences(left, before))
        yield from (f"MG-18: merged: {line}" for line in differences(left, wanted))


def _timeless(found: Snapshot) -> Snapshot:
    """Return it without the times of the directories that a merge of ``/etc`` renames in."""
    return {
        path: facts._replace(mtime=0) if path in (b".", b"etc") else facts
        for path, facts in found.items()
    }


def _loosely(found: Snapshot, path: bytes) -> Facts | None:
    facts = found.get(path)
    if facts is None:
        return None
    facts = facts._replace(group=(), inode=0, atime=0, blocks=0)
    return facts._replace(mtime=0, size=0) if stat.S_ISDIR(facts.mode) else facts
