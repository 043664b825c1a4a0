"""The order in which a command may change the disk, checked on a recorded trace. Pure.

What a power cut leaves depends on what was durable when it came, which no test on a
running machine sees. So the rules of S1 to S3 are checked on the sequence of calls.
Paths are relative to the store; what is not in it (a repository) is not looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

STAGING: Final = ".rootman/staging/"
TREES: Final = ".rootman/trees"
_NUMBER: Final = r"[1-9][0-9]*(?:\.[1-9][0-9]*)?"
_TREE: Final = re.compile(rf"[a-z0-9_-]+\.({_NUMBER})")
_STAGE: Final = re.compile(rf"(building|spare|retired|deleting|repair|merging)\.({_NUMBER})")
_LINKS: Final = ("current", "previous")
_SYNCS: Final = frozenset({"fsync", "syncfs", "freeze_thaw"})
_RENAMES: Final = frozenset({"rename", "move"})
_METADATA: Final = frozenset({"chown", "chmod", "set_time", "set_xattr", "remove_xattr"})
_REMOVES: Final = frozenset({"unlink", "rmdir"})


@dataclass(frozen=True, slots=True)
class Event:
    """One call: ``paths`` as in ``faulty.Call``, ``text`` the target of a new symlink."""

    op: str
    paths: tuple[str, ...]
    text: str = ""

    def __str__(self) -> str:
        return f"{self.op}({', '.join(self.paths)})"


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule, by its name in ``RULES``, and the event that breaks it."""

    rule: str
    index: int
    event: str


RULES: Final = {
    "sync before name": "S3: what is renamed to its place is durable before",
    "record before name": "S1: the seal record is there, durably, before the tree's name",
    "fsync after name": "S3: fsync of the directory follows a change of its names",
    "freeze after name": "S3: freezing and thawing follows, before anything else changes",
    "durable before link": "S2: a link leads to a tree only when the tree's name is durable",
    "switch before deletion": "S3: nothing is retired or deleted before the switch is durable",
    "name gone before change": "S1: a tree loses its name, durably, before a file in it changes",
    "rename over link": "S2: a link changes by a rename over it or by an exchange",
    "previous first": "S2: current changes by the exchange, or when previous is the old one",
    "no litter": "ST-11: no temporary name is left",
}


def check(
    trace: Iterable[Event], *, changing: int = 0, current: str = "", previous: str = ""
) -> list[Violation]:
    """Return the violations in ``trace``; ``current`` and ``previous`` is where they lead before.

    The tree ``changing`` may be changed under its name.
    """
    checker = _Checker(changing=changing, links={"current": current, "previous": previous})
    for event in trace:
        checker.take(event)
    return checker.finish()


@dataclass(slots=True)
class _Checker:
    changing: int
    links: dict[str, str]
    index: int = 0
    found: list[Violation] = field(default_factory=list)
    dirty: list[str] = field(default_factory=list)
    """Paths that changed since the last syncfs."""
    unsynced: set[str] = field(default_factory=set)
    """Of files among them, those whose own fsync is lacking, too."""
    waits: list[str] = field(default_factory=list)
    """What the last change of names in the store waits for: fsync, then freeze."""
    why: str = ""
    """What that change was: name, link, or gone."""
    fresh: set[str] = field(default_factory=set)
    """Trees whose name is not durable."""
    records: dict[str, bool] = field(default_factory=dict)
    """Records that got their name, and whether that is durable."""
    temporary: dict[str, str] = field(default_factory=dict)
    """Names in staging that are no stages, with the target of a symlink."""

    def take(self, event: Event) -> None:
        if event.op in _SYNCS:
            self._sync(event)
        else:
            self._before_change(event)
            self._change(event)
        self.index += 1

    def finish(self) -> list[Violation]:
        end = Event("end of the trace", ())
        self._expect_nothing_waits(end)
        if self.temporary:
            self._wrong("no litter", Event("left", tuple(self.temporary)))
        return self.found

    def _wrong(self, rule: str, event: Event) -> None:
        self.found.append(Violation(rule, self.index, str(event)))

    def _sync(self, event: Event) -> None:
        path = event.paths[0]
        if event.op in ("syncfs", "freeze_thaw"):
            self.dirty.clear()
            self.unsynced.clear()
        if event.op == "fsync":
            self.unsynced.discard(path)
            if path == TREES:
                self.records = dict.fromkeys(self.records, True)
            if path == "." and self.waits[:1] == ["fsync after name"]:
                self.waits.pop(0)
        if event.op == "freeze_thaw" and self.waits[:1] == ["freeze after name"]:
            self.waits.pop(0)
        if not self.waits:
            self.fresh.clear()

    def _before_change(self, event: Event) -> None:
        """Nothing changes while a name in the store waits to be durable, but its record goes."""
        follows = event.op in _RENAMES and event.paths[0].startswith(f"{TREES}/")
        if not follows:
            self._expect_nothing_waits(event)

    def _expect_nothing_waits(self, event: Event) -> None:
        for rule in self.waits:
            self._wrong(rule, event)
        if self.waits and self.why == "link" and _retires(event):
            self._wrong("switch before deletion", event)
        if self.waits and self.why == "gone" and event.paths:
            self._wrong("name gone before change", event)
        if self.waits and self.why == "name" and _changes_link(event):
            self._wrong("durable before link", event)
        self.waits = []

    def _change(self, event: Event) -> None:
        changed = event.paths[-1]
        for path in event.paths if event.op in _RENAMES | {"exchange"} else (changed,):
            self._check_name(event, path)
        if event.op in _RENAMES:
            self._rename(event)
        elif event.op == "exchange" and changed not in _LINKS:
            self._expect_durable(event.paths[0], changed, event)
        elif event.op == "exchange":
            self.links = {"current": self.links["previous"], "previous": self.links["current"]}
            self._linked(event)
        elif event.op in _REMOVES:
            self.temporary.pop(changed, None)
        elif _is_temporary(changed) and event.op != "write":
            self.temporary[changed] = event.text
        if event.op == "write":
            self.unsynced.add(changed)
        self.dirty.append(changed)

    def _check_name(self, event: Event, path: str) -> None:
        """Refuse what must not be done to a name of the store, or below a tree's name."""
        top, _, below = path.partition("/")
        tree = _TREE.fullmatch(top)
        allowed = _METADATA | ({event.op} if below else set())
        if tree and tree[1] == str(self.changing) and event.op in allowed:
            return
        if tree and (below or event.op != "move"):
            self._wrong("name gone before change", event)
        if path in _LINKS and event.op not in ("rename", "exchange"):
            self._wrong("rename over link", event)

    def _rename(self, event: Event) -> None:
        source, target = event.paths
        text = self.temporary.pop(source, "")
        if target in _LINKS:
            old_is_kept = self.links["previous"] in ("", self.links["current"])
            if target == "current" and not old_is_kept:
                self._wrong("previous first", event)
            self.links[target] = text
            self._linked(event)
            return
        self._expect_durable(source, target, event)
        if target.startswith(f"{TREES}/") and target.count("/") == 2:
            self.records[target] = False
        if (tree := _TREE.fullmatch(target)) is not None:
            if not self.records.get(f"{TREES}/{tree[1]}", False):
                self._wrong("record before name", event)
            self.fresh.add(target)
            self._wait("name")
        elif _TREE.fullmatch(source):
            self._wait("gone")
        if _is_temporary(target):
            self.temporary[target] = text
        self.dirty = [_moved(path, source, target) for path in self.dirty]

    def _expect_durable(self, source: str, target: str, event: Event) -> None:
        """Refuse to give a name outside staging, or that of a spare, to what may be torn."""
        spare = target.startswith(f"{STAGING}spare.")
        if target.startswith(".rootman/objects/") or (target.startswith(STAGING) and not spare):
            return
        changed = [path for path in self.dirty if path == source or path.startswith(f"{source}/")]
        if changed and (changed != [source] * len(changed) or source in self.unsynced):
            self._wrong("sync before name", event)

    def _linked(self, event: Event) -> None:
        for tree in self.links.values():
            if tree in self.fresh:
                self._wrong("durable before link", event)
        self._wait("link")

    def _wait(self, why: str) -> None:
        self.waits = ["fsync after name", "freeze after name"]
        self.why = why


def _retires(event: Event) -> bool:
    """Say whether a tree goes, or a stage is made for it to go to, or anything is removed."""
    goes = event.op in _RENAMES and _TREE.fullmatch(event.paths[0]) is not None
    stage = event.op == "mkdir" and event.paths[0].removeprefix(STAGING).startswith(
        ("retired.", "deleting.")
    )
    return goes or stage or event.op in _REMOVES


def _changes_link(event: Event) -> bool:
    return event.op == "exchange" or (
        event.op in ("rename", "symlink") and (event.paths[-1] in _LINKS or bool(event.text))
    )


def _is_temporary(path: str) -> bool:
    """Say whether a path is a name in staging that is no stage."""
    name = path.removeprefix(STAGING)
    return path.startswith(STAGING) and "/" not in name and _STAGE.fullmatch(name) is None


def _moved(path: str, source: str, target: str) -> str:
    if path == source or path.startswith(f"{source}/"):
        return target + path[len(source) :]
    return path
