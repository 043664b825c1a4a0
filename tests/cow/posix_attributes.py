"""Conformance cases: times, extended attributes, statvfs."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tests.cow.seeing import OTHER, PAST, USER, case, outcome
from tests.cow.syscalls import RENAME_EXCHANGE, UTIME_NOW, UTIME_OMIT, renameat2, utimensat

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cow.seeing import See

_COARSE = 5  # CLOCK_REALTIME_COARSE, by which filesystems date
_CREATE, _REPLACE = os.XATTR_CREATE, os.XATTR_REPLACE


def _open(path: str, flags: int) -> None:
    os.close(os.open(path, flags, 0o666))


def _append(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def _write_nothing(path: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b"")
    os.close(fd)


_CHANGES: tuple[tuple[str, Callable[[], object]], ...] = (
    ("create", lambda: _open("dir/new", os.O_CREAT | os.O_WRONLY)),
    ("open again", lambda: _open("dir/new", os.O_CREAT | os.O_WRONLY)),
    ("write", lambda: _append("file")),
    ("write nothing", lambda: _write_nothing("file")),
    ("read", lambda: _open("file", os.O_RDONLY)),
    ("truncate", lambda: os.truncate("file", 3)),
    ("truncate to the same", lambda: os.truncate("file", 3)),
    ("cut", lambda: _open("file", os.O_WRONLY | os.O_TRUNC)),
    ("cut what is empty", lambda: _open("file", os.O_WRONLY | os.O_TRUNC)),
    ("chmod", lambda: os.chmod("file", 0o600)),
    ("chmod to the same", lambda: os.chmod("file", 0o600)),
    ("chown", lambda: os.chown("file", USER, USER)),
    ("chown of nothing", lambda: os.chown("file", -1, -1)),
    ("setxattr", lambda: os.setxattr("file", "user.x", b"1")),
    ("removexattr", lambda: os.removexattr("file", "user.x")),
    ("removexattr of none", lambda: outcome(os.removexattr, "mine", "user.none")),
    ("link", lambda: os.link("file", "dir/linked")),
    ("unlink", lambda: os.unlink("dir/linked")),
    ("rename", lambda: os.rename("file", "dir/file")),
    ("rename back", lambda: os.rename("dir/file", "file")),
    ("rename in one directory", lambda: os.rename("dir/new", "dir/newer")),
    ("rename over", lambda: os.rename("dir/newer", "dir/inner")),
    ("rename a directory", lambda: os.rename("empty", "dir/empty")),
    ("exchange", lambda: renameat2("file", "dir/inner", RENAME_EXCHANGE)),
    ("exchange back", lambda: renameat2("file", "dir/inner", RENAME_EXCHANGE)),
    ("mkdir", lambda: os.mkdir("dir/sub")),
    ("rmdir", lambda: os.rmdir("dir/sub")),
    ("symlink", lambda: os.symlink("x", "dir/symlink")),
    ("mkfifo", lambda: os.mkfifo("dir/fifo")),
    ("refused", lambda: outcome(os.rmdir, "dir")),
    ("chown a symlink", lambda: os.lchown("link", USER, USER)),
    ("chmod a fifo", lambda: os.chmod("fifo", 0o600)),
    ("write of a group", lambda: _append("dir/pair")),
    ("unlink of a group", lambda: os.unlink("dir/pair")),
)
_WATCHED = (
    ".", "dir", "dir/empty", "empty", "file", "dir/file", "dir/inner", "mine", "pair", "dir/pair",
    "link", "fifo", "open",
)  # fmt: skip


def _times(path: str) -> tuple[int, int] | None:
    found = outcome(os.lstat, path)
    if not isinstance(found, os.stat_result):
        return None
    return found.st_mtime_ns, found.st_ctime_ns


@case
def what_a_change_dates(see: See) -> None:
    """Which modification and change times a call sets: of the file and of its directories.

    Each was looked at just before, so that ext4 gives the next change another time.
    """
    for label, change in _CHANGES:
        before = {path: _times(path) for path in _WATCHED}
        _next_tick()
        see.value(f"{label} gives", outcome(change))
        moved = {}
        for path, old in before.items():
            new = _times(path)
            if old is not None and new is not None:
                moved[path] = tuple(one != other for one, other in zip(old, new, strict=True))
        see.value(label, {path: which for path, which in moved.items() if any(which)})


def _next_tick() -> None:
    """Wait until the clock of the filesystem has gone on."""
    start = time.clock_gettime_ns(_COARSE)
    while time.clock_gettime_ns(_COARSE) == start:
        pass


@case
def times_are_now(see: See) -> None:
    _next_tick()
    before = time.clock_gettime_ns(_COARSE)
    _append("file")
    os.mkdir("dir/sub")
    os.utime("mine")
    after = time.time_ns()
    for path in ("file", "dir", "mine", "dir/sub"):
        see.value(path, before <= os.stat(path).st_mtime_ns <= after)
    see.value("atime", before <= os.stat("mine").st_atime_ns <= after)


@case
def times_that_are_set(see: See) -> None:
    now, omit = (0, UTIME_NOW), (0, UTIME_OMIT)
    for name in ("file", "dir", "fifo", "pair"):
        for label, atime, mtime in (
            ("both", (11, 1), (12, 2)), ("atime", (21, 999_999_999), omit),
            ("mtime", omit, (31, 3)), ("none", omit, omit), ("before 1970", (-5, 7), (-6, 8)),
            ("now and then", now, (41, 4)), ("late", (15_000_000_000, 5), (4_294_967_296, 0)),
            ("too fine", (1, 1_000_000_000), (1, 0)),
        ):  # fmt: skip
            see(f"{name} {label}", utimensat, name, atime, mtime)
            found = os.stat(name)
            times = tuple(
                "new" if one > PAST and one < 3 * PAST else one
                for one in (found.st_atime_ns, found.st_mtime_ns)
            )
            see.value(f"{name} {label} are", times)
    os.utime("link", ns=(5, 6), follow_symlinks=False)
    see.value("symlink", (os.lstat("link").st_mtime_ns, os.stat("link").st_mtime_ns > 9))
    fd = os.open("file", os.O_RDONLY)
    os.utime(fd, ns=(7, 8))
    see.value("descriptor", os.fstat(fd).st_mtime_ns)


@case
def extended_attributes(see: See) -> None:
    for name in ("user.a", "trusted.a", "security.a", "system.a", "other.a", "a", "user.", "user"):
        for path in ("file", "dir", "link", "fifo", "null"):
            label = f"{name} {path}"
            see(
                f"set {label}",
                lambda p=path, n=name: os.setxattr(p, n, b"1", follow_symlinks=False),
            )
            see(f"get {label}", lambda p=path, n=name: os.getxattr(p, n, follow_symlinks=False))
            see(f"list {label}", lambda p=path: sorted(os.listxattr(p, follow_symlinks=False)))
            see(
                f"remove {label}",
                lambda p=path, n=name: os.removexattr(p, n, follow_symlinks=False),
            )


@case
def attributes_that_were_sealed(see: See) -> None:
    """Each is the first change of its file."""
    see("remove", os.removexattr, "file", "user.mark")
    see("again", os.removexattr, "file", "user.mark")
    see("of none", os.removexattr, "mine", "user.mark")
    see("replace none", os.setxattr, "tool", "user.mark", b"1", _REPLACE)
    see("of a group", os.setxattr, "dir/pair", "user.new", b"1", _CREATE)
    for path in ("file", "mine", "tool", "pair"):
        see.value(path, sorted(os.listxattr(path)))


@case
def making_and_replacing_attributes(see: See) -> None:
    for flags in (_REPLACE, _CREATE, _CREATE, _REPLACE, _CREATE | _REPLACE, 0):
        for path in ("file", "pair", "dir"):
            at = f"{flags} {path} {len(see.seen)}"
            see(f"set {at}", os.setxattr, path, "user.new", b"%d" % flags, flags)
            see(f"get {at}", os.getxattr, path, "user.new")
    for size in (0, 1, 255, 3000, 5000, 65_536, 65_537):
        see(f"value {size}", os.setxattr, "mine", "user.size", b"v" * size)
        see(f"value {size} is", lambda: len(os.getxattr("mine", "user.size")))
    for size in (250, 251, 255, 256):
        see(f"name {size}", os.setxattr, "tool", "user." + "n" * (size - 5), b"1")
    see("bytes", os.setxattr, "tool", b"user.\xff\xfe", b"\0\xff\n")
    see("listed", lambda: sorted(os.listxattr("tool")))
    for number in range(200):
        found = outcome(os.setxattr, "dir", f"user.many{number}", b"x" * 30)
        if found is not None:
            see.value("full", (number, found))
            break
    see.value("pair", sorted(os.listxattr("dir/pair")))


@case
def rights_to_attributes(see: See) -> None:
    for who in (USER, OTHER):
        for name in ("user.mark", "trusted.mark", "security.mark"):
            for path in ("file", "mine"):
                label = f"{who} {name} {path}"
                see.by(who, f"set {label}", os.setxattr, path, name, b"1")
                see.by(who, f"get {label}", os.getxattr, path, name)
                see.by(who, f"remove {label}", os.removexattr, path, name)
    os.setxattr("mine", "trusted.hidden", b"1")
    os.setxattr("mine", "user.shown", b"1")
    see.by(USER, "listed", lambda: sorted(os.listxattr("mine")))
    os.chmod("open", 0o1777)
    see.by(OTHER, "sticky", os.setxattr, "open", "user.x", b"1")
    os.chmod("mine", 0o200)
    see.by(OTHER, "unreadable", os.getxattr, "mine", "user.shown")


@case
def the_filesystem(see: See) -> None:
    found = os.statvfs(".")
    see.value(
        "statvfs",
        (found.f_bsize, found.f_frsize, found.f_blocks, found.f_files, found.f_namemax),
    )
    see.value("free", 0 < found.f_bavail <= found.f_bfree < found.f_blocks)
    see("longest name", os.pathconf, ".", "PC_NAME_MAX")
    see.value("block", os.stat("file").st_blksize)
    before = os.statvfs(".").f_ffree
    with open("large", "wb") as file:
        file.write(b"x" * (8 << 20))
        os.fsync(file.fileno())
    status = os.stat("large")
    see.value("blocks", status.st_blocks)
    see.value("counted", before - os.statvfs(".").f_ffree > 0)
