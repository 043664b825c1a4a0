"""Which changes between the tree that runs and a new one can be had without a reboot. Pure.

That are files that are new, and configuration that is as it was installed. Whatever replaces
or removes something else waits: programs that run may have half of it. Out of scope: looking
at what is there, and doing it (``applying``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from rootman.manifest import field_path, parse_line
from rootman.merge.decision import is_same
from rootman.walk import is_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootman.comparison import Change
    from rootman.manifest import Entry
    from rootman.merge.paths import ConfigPaths

Kind = Literal["new", "config"]
Reason = Literal[
    "a kernel, or what comes with it",
    "changed by the release",
    "removed by the release",
    "another type",
    "other names of the file are here already",
    "not there as the release has it",
]
Kept = Literal[
    "changed here",
    "removed here",
    "something else is there",
    "its directory is not there",
    "another filesystem is mounted there",
]

Judgement = Literal["apply", "there"] | Kept

# What belongs to the kernel that runs, and to no other.
_OF_THE_KERNEL: Final = (b"boot", b"lib/modules", b"usr/lib/modules")
_UNIT: Final = re.compile(
    rb"(?:etc|lib|usr/lib)/systemd/(?:system|user)/(?:.*/)?"
    rb"([^/]+\.(?:service|socket|timer|path|mount|target|slice))(?:\.d/[^/]+\.conf)?"
)


@dataclass(frozen=True, slots=True)
class Offer:
    """A path that may be had now: ``new``, or configuration that was ``base``."""

    path: bytes
    entry: Entry
    base: Entry | None = None

    @property
    def kind(self) -> Kind:
        """Whether nothing was there, or configuration."""
        return "new" if self.base is None else "config"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A path that the running system is not to get, and why: with a reboot it has it."""

    path: bytes
    why: Reason | Kept


@dataclass(slots=True)
class LivePlan:
    """What becomes of each path that differs.

    ``applied`` are to be had now, ``there`` are here already. What is ``waiting`` comes with a
    reboot; ``kept`` is what is otherwise here than where the release came from.
    """

    applied: list[Offer] = field(default_factory=list)
    there: list[Offer] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    kept: list[Waiting] = field(default_factory=list)

    @property
    def units(self) -> tuple[str, ...]:
        """The units of systemd that have a file among what is applied."""
        found = (_UNIT.fullmatch(one.path) for one in self.applied)
        return tuple(sorted({one[1].decode("utf-8", "replace") for one in found if one}))


def offers(changes: Iterable[Change], config: ConfigPaths) -> Iterator[Offer | Waiting]:
    """Yield what becomes of each change, as far as that can be said without a look (AL-1).

    What differs in nothing but times and hardlinks is not told.
    """
    for change in changes:
        path = field_path(change.field)
        old = parse_line(change.old) if change.old is not None else None
        new = parse_line(change.new) if change.new is not None else None
        if is_same(old, new):
            continue
        if is_in(path, _OF_THE_KERNEL):
            yield Waiting(path, "a kernel, or what comes with it")
        elif new is None:
            yield Waiting(path, "removed by the release")
        elif old is None:
            yield Offer(path, new)
        elif not config.covers(path):
            yield Waiting(path, "changed by the release")
        elif "dir" in (old.type, new.type):
            yield Waiting(
                path, "another type" if old.type != new.type else "changed by the release"
            )
        else:
            yield Offer(path, new, old)


def judge(offer: Offer, here: Entry | None) -> Judgement:
    """Return what becomes of an offer where ``here`` is what the running system has (AL-2)."""
    if is_same(here, offer.entry):
        return "there"
    if offer.base is None:
        return "apply" if here is None else "something else is there"
    if here is None:
        return "removed here"
    return "apply" if is_same(here, offer.base) else "changed here"


def settle_groups(plan: LivePlan) -> None:
    """Have wait what is one file with names that do not come along: it would be two (AL-3)."""
    names: dict[int, int] = {}
    for one in (*plan.applied, *plan.there):
        if one.entry.nlink > 1:
            names[one.entry.inode] = names.get(one.entry.inode, 0) + 1

    def is_whole(one: Offer) -> bool:
        return one.entry.nlink == 1 or names[one.entry.inode] == one.entry.nlink

    plan.waiting += [
        Waiting(one.path, "other names of the file are here already")
        for one in plan.applied
        if not is_whole(one)
    ]
    plan.applied = [one for one in plan.applied if is_whole(one)]


def content_size(offered: Sequence[Offer]) -> int:
    """Return how many bytes of content are to be written."""
    return sum(one.entry.size for one in offered)
