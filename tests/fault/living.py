"""What ``apply-live`` does to a running tree, here a directory, and trials with one fault in it."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from rootman.execute import explained
from rootman.fsops import opened
from rootman.live.applying import ASIDE, Live
from rootman.store import require_tree, scan
from rootman.verify import open_tree
from tests.builders import TIME, directory, file, hardlink, snapshot, symlink
from tests.fault.faulty import Hasty, attempt
from tests.fault.sweep import SETTLED, Told, Trial, outcome_violations, suffer
from tests.numbers import number

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rootman.fsops import Fs
    from rootman.live.planning import LivePlan
    from tests.builders import Facts, Snapshot, Tree
    from tests.fault.faulty import Mode
    from tests.stores import Lab

STEP: Final = "bring it in"

OLD: Final[Tree] = {
    "boot/vmlinuz": file("kernel 1"),
    "etc/changed": file("old default"),
    "etc/edited": file("old default"),
    "etc/deleted": file("old default"),
    "etc/mode": file("the same", 0o644),
    "etc/pair": file("pair"),
    "etc/pair.2": hardlink("etc/pair"),
    "etc/type": file("a file"),
    "etc/gone": file("removed by the release"),
    "usr/bin/tool": file("tool 1", 0o755),
    "usr/lib/modules/1/m.ko": file("module 1"),
    "usr/share/taken": directory(),
}
NEW: Final[Tree] = {
    "boot/vmlinuz": file("kernel 2"),
    "boot/initrd": file("initrd 2"),
    "etc/changed": file("new default", 0o640, gid=7, xattrs={"user.it": b"new"}),
    "etc/edited": file("new default"),
    "etc/deleted": file("new default"),
    "etc/mode": file("the same", 0o600, time=TIME + 1),
    "etc/pair": file("another pair"),
    "etc/pair.2": hardlink("etc/pair"),
    "etc/type": symlink("changed"),
    "etc/new.d/one": file("one"),
    "etc/new.d/two": hardlink("etc/new.d/one"),
    "etc/systemd/system/it.service.d/more.conf": file("[Unit]"),
    "usr/bin/tool": file("tool 2", 0o755),
    "usr/bin/new": file("new tool", 0o4755, hole=8192),
    "usr/bin/tool.2": hardlink("usr/bin/tool"),
    "usr/lib/modules/2/m.ko": file("module 2"),
    "usr/share/empty": file(mode=0o600),
    "usr/share/link": symlink("taken"),
    "usr/share/taken": directory(time=TIME + 2),
    "usr/share/taken/file": file("of the release"),
    "usr/share/taken/dir/inner": file("deep"),
}


def prepare(lab: Lab) -> None:
    """Have version 1 with local changes, which runs, and version 2, which is current."""
    lab.init()
    for version, tree in ((1, OLD), (2, NEW)):
        lab.publish(version, tree, config=("/etc",))
        lab.upgrade(version)
    running = lab.tree(1)
    for name, content in (("etc/edited", "mine"), ("usr/share/taken/file", "mine, too")):
        (running / name).unlink(missing_ok=True)
        (running / name).write_text(content)
    (running / "etc/deleted").unlink()


def live(lab: Lab, fs: Fs, mounted: Collection[bytes] = ()) -> LivePlan:
    """Bring of version 2 into version 1 what needs no reboot."""
    with lab.session(fs) as session, explained(STEP):
        state = scan(session.store)
        old, new = (require_tree(state, number(one)) for one in (1, 2))
        with (
            opened(old.name, dir_fd=session.store.fd) as root,
            open_tree(session.store, old) as (_, running),
            open_tree(session.store, new) as (tree, record),
        ):
            it = Live(session, root, tree, record)
            plan = it.look(running, mounted=mounted)
            it.apply(plan)
    return plan


def live_trial(told: Told, mode: Mode, lab: Lab, at: int) -> Trial:
    """Have one fault: each path of what runs is as it was or whole, and the next run goes on."""
    before, wanted = (snapshot(lab.tree(one)) for one in (1, 2))
    outcome = suffer(lab, live, mode, at)
    wrong = outcome_violations(mode, outcome, STEP)
    wrong += [f"left behind: {one}" for one in halves(snapshot(lab.tree(1)), before, wanted)]
    if snapshot(lab.tree(2)) != wanted:
        wrong.append("S5: left behind: the new tree is not what it was")

    kind, message, _ = attempt(lambda: live(lab, Hasty()))
    if kind != "done":
        wrong.append(f"given again: {message}")
    if content_of(lab) != told.extra:
        wrong.append("AL-4: given again: it does not go on to the same end")
    if snapshot(lab.tree(2)) != wanted:
        wrong.append("S5: given again: the new tree is not what it was")
    return Trial(at, outcome, SETTLED, tuple(wrong))


def halves(now: Snapshot, before: Snapshot, wanted: Snapshot) -> Iterator[str]:
    """Yield the paths of what runs that are neither as they were nor as the release has them."""
    for path in sorted(now.keys() | before.keys()):
        if path.split(b"/")[0] == ASIDE.encode():
            continue
        states = [_loosely(one, path) for one in (before, wanted)]
        if _loosely(now, path) not in states:
            yield f"AL-4: {path!r}: {now.get(path)} is neither {before.get(path)} nor as released"


def _loosely(found: Snapshot, path: bytes) -> Facts | None:
    facts = found.get(path)
    if facts is None:
        return None
    facts = facts._replace(group=(), inode=0, atime=0, blocks=0)
    return facts._replace(mtime=0, size=0) if stat.S_ISDIR(facts.mode) else facts


def content_of(lab: Lab) -> tuple[str, ...]:
    """Return what is in the running tree, but for times and inodes."""
    found = snapshot(lab.tree(1))
    return tuple(repr((path, _loosely(found, path), found[path].group)) for path in sorted(found))
