"""What needs no reboot: the changes of a release, and what is here, go in; a verdict comes out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rootman.comparison import Change
from rootman.live.planning import LivePlan, Offer, Waiting, judge, offers, settle_groups
from rootman.manifest import Entry, format_line, path_field
from rootman.merge.paths import ConfigPaths

if TYPE_CHECKING:
    from rootman.live.planning import Judgement

CONFIG = ConfigPaths.of(["/etc"])
HASHES = ["0" * 64, "1" * 64, "2" * 64]


def file(path: str, content: int = 0, *, mode: int = 0o644, time: int = 0) -> Entry:
    return Entry(
        path.encode(), "file", mode, 0, 0, time, size=9, sha256=HASHES[content], nlink=1, inode=0
    )


def folder(path: str, *, mode: int = 0o755, time: int = 0) -> Entry:
    return Entry(path.encode(), "dir", mode, 0, 0, time)


def change(old: Entry | None, new: Entry | None) -> Change:
    path = (old or new or file("")).path
    return Change(
        path_field(path),
        format_line(old) if old is not None else None,
        format_line(new) if new is not None else None,
        0,
        0,
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, file("usr/a"), "new"),
        (None, folder("usr/a"), "new"),
        (None, file("etc/a"), "new"),
        (file("etc/a"), file("etc/a", 1), "config"),
        (file("etc/a"), file("etc/a", mode=0o600), "config"),
        (file("etc/a"), None, "removed by the release"),
        (file("etc/a"), folder("etc/a"), "another type"),
        (folder("etc/a"), file("etc/a"), "another type"),
        (folder("etc/a"), folder("etc/a", mode=0o700), "changed by the release"),
        (file("usr/a"), file("usr/a", 1), "changed by the release"),
        (file("usr/a"), None, "removed by the release"),
        (None, file("boot/a"), "a kernel, or what comes with it"),
        (None, file("lib/modules/7/a"), "a kernel, or what comes with it"),
        (file("usr/lib/modules/7/a"), None, "a kernel, or what comes with it"),
        (None, file("usr/lib/modules-load.d"), "new"),
        (file("usr/a"), file("usr/a", time=1), None),
        (folder("usr/a"), folder("usr/a", time=1), None),
    ],
)
def test_what_can_be_said_of_a_change_without_a_look(
    old: Entry | None, new: Entry | None, expected: str | None
) -> None:
    """AL-1."""
    changes = offers([change(old, new)], CONFIG)
    found = [one.kind if isinstance(one, Offer) else one.why for one in changes]

    assert found == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("base", "here", "expected"),
    [
        (None, None, "apply"),
        (None, 1, "there"),
        (None, 2, "something else is there"),
        (0, 0, "apply"),
        (0, 1, "there"),
        (0, 2, "changed here"),
        (0, None, "removed here"),
    ],
)
def test_what_becomes_of_a_path_by_what_is_there(
    base: int | None, here: int | None, expected: Judgement
) -> None:
    """AL-2: local changes win, and twice is once."""
    sides = [None if one is None else file("etc/a", one, time=one) for one in (base, here)]

    assert judge(Offer(b"etc/a", file("etc/a", 1), sides[0]), sides[1]) == expected


def test_names_of_one_file_come_together_or_wait() -> None:
    """AL-3."""
    pair = [replace(file(f"usr/{name}"), nlink=2, inode=5) for name in "ab"]
    alone = replace(file("usr/c"), nlink=2, inode=6)
    come, there, waits = (Offer(one.path, one) for one in (*pair, alone))
    plan = LivePlan(applied=[come, waits], there=[there])

    settle_groups(plan)

    assert plan.applied == [come]
    assert plan.waiting == [Waiting(b"usr/c", "other names of the file are here already")]


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("etc/systemd/system/a.service", "a.service"),
        ("usr/lib/systemd/system/b.timer", "b.timer"),
        ("lib/systemd/user/c.socket", "c.socket"),
        ("etc/systemd/system/d.service.d/more.conf", "d.service"),
        ("etc/systemd/system/multi-user.target.wants/e.service", "e.service"),
        ("etc/systemd/journald.conf", None),
        ("usr/share/systemd/system/f.service", None),
    ],
)
def test_units_are_named(path: str, unit: str | None) -> None:
    """AL-5."""
    plan = LivePlan(applied=[Offer(path.encode(), file(path))])

    assert plan.units == (() if unit is None else (unit,))
