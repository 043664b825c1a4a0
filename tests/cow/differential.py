"""Random operations on two directories that should be alike, and the trees they leave.

In scope: what an operation is, doing it on one side, what a side then looks like. Out of
scope: the two sides (``test_differential``).
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from tests.cow.seeing import PAST, outcome
from tests.cow.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, acl, renameat2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Operation = tuple[Any, ...]
"""Who does it, the name of a method of ``Side``, and what it is given."""

_SLOTS: Final = 3
_STRANGER: Final = 4201
_RECENT: Final = PAST + 10**17
"""Times from here on are not of ``furnish`` or of utime(2), but of when it happened."""

_FILES: Final = ("a", "a2", "b", "d/b", "d/e/a", "d/e/again", "again", "w/a", "l", "up/a")
_PATHS: Final = (
    *_FILES, *_FILES, "b/", "c", "d", "d/a", "d/e", "d/e/f", "d/e/f/up", "d/n", "ld", "ld/b", "p",
    "n", "n/x", "none/x", "up", "w", "w/b", "w/n", "self",
)  # fmt: skip
_NEW: Final = ("n", "d/n", "d/e/n", "w/n", "w/b", "void/n", "ld/n", "up/n", "a", "w/a", "none/n")
_FOLDERS: Final = ("void", "n", "d/n", "w/n", "d/e/f", "w", "d", "up", "ld", "a", "none", ".")
_FLAGS: Final = (
    os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_PATH,
)  # fmt: skip
_LISTS: Final = (
    acl(("u::", 6), ("g::", 4), ("u", _STRANGER, 6), ("m", 6), ("o", 0)),
    acl(("u::", 7), ("g::", 5), ("o", 5)),
    b"broken",
)


def furnish(home: Path) -> None:
    """Make the tree that operations begin with: groups, symlinks, directories in directories."""
    (home / "d" / "e" / "f").mkdir(parents=True)
    (home / "w").mkdir()
    (home / "void").mkdir()
    for number, name in enumerate(("a", "b", "d/b", "d/e/a", "w/a")):
        (home / name).write_bytes(b"%d sealed\n" % number * (1 + 700 * number))
        os.chmod(home / name, 0o644)
    os.link(home / "a", home / "a2")
    os.link(home / "d" / "b", home / "d" / "e" / "again")
    os.link(home / "d" / "b", home / "again")
    (home / "l").symlink_to("a")
    (home / "ld").symlink_to("d")
    (home / "d" / "e" / "f" / "up").symlink_to("../../../w")
    (home / "up").symlink_to("d/e/f/up")
    (home / "self").symlink_to("self")
    os.mkfifo(home / "p")
    os.setxattr(home / "a", "user.x", b"sealed")
    for name in ("w", "w/a", "d/e/a"):
        os.chown(home / name, _STRANGER, _STRANGER)
    for name in (".", "d", "d/e", "d/e/f", "void", "p"):
        os.chmod(home / name, 0o755)
    os.chmod(home / "d" / "e" / "a", 0o6755)
    os.chmod(home / "w", 0o1777)
    for path in (*home.rglob("*"), home):
        os.utime(path, ns=(PAST, PAST), follow_symlinks=False)


def _operations() -> st.SearchStrategy[Operation]:
    new, folder = st.sampled_from(_NEW), st.sampled_from(_FOLDERS)
    path, slot = st.sampled_from(_PATHS), st.integers(0, _SLOTS - 1)
    flags = st.builds(
        lambda access, some: access | sum(some),
        st.sampled_from((os.O_RDONLY, os.O_WRONLY, os.O_RDWR)),
        st.sets(st.sampled_from(_FLAGS), max_size=2),
    )
    place = st.sampled_from((0, 1, 9, 4095, 4096, 10_000))
    size = st.sampled_from((0, 1, 8, 4096, 9000))
    mode = st.sampled_from((0o644, 0o600, 0o755, 0o000, 0o6777, 0o2745, 0o1777))
    owner = st.sampled_from((-1, 0, _STRANGER))
    data = st.sampled_from((b"", b"x", b"some words", b"large " * 1500))
    time = st.sampled_from((0, 5 * 10**9 + 7, PAST - 1, None))
    attribute = st.sampled_from(("user.x", "user.y", "trusted.x"))
    kinds: dict[str, tuple[st.SearchStrategy[Any], ...]] = {
        "close": (slot,),  # the first is what others shrink to
        "open": (path, flags, mode, slot),
        "read": (slot, size),
        "pread": (slot, place, size),
        "write": (slot, data),
        "pwrite": (slot, place, data),
        "store": (slot, place),
        "ftruncate": (slot, size),
        "fchmod": (slot, mode),
        "fsync": (slot,),
        "fstat": (slot,),
        "truncate": (path, size),
        "mkdir": (new, mode),
        "rmdir": (folder,),
        "unlink": (path,),
        "rename": (path, path, st.sampled_from((0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE))),
        "link": (path, new),
        "move": (path, new),
        "turn": (folder, folder),
        "symlink": (st.sampled_from(("a", "d", "../b", "none")), new),
        "mkfifo": (new, mode),
        "chmod": (path, mode),
        "chown": (path, owner, owner, st.booleans()),
        "utime": (path, time, time, st.booleans()),
        "setxattr": (path, attribute, data, st.sampled_from((0, 1, 2))),
        "removexattr": (path, attribute),
        "setfacl": (path, st.sampled_from(_LISTS), st.booleans()),
        "listdir": (folder,),
        "stat": (path, st.booleans()),
        "cat": (path,),
    }
    who = st.sampled_from((0, 0, 0, _STRANGER))
    wanted = (*kinds, "open", "open", "unlink", "rename", "link")
    return st.one_of(*(st.tuples(who, st.just(kind), *kinds[kind]) for kind in wanted))


def _openings() -> st.SearchStrategy[list[Operation]]:
    """Return what opens every slot: much happens to files that are open."""
    access = st.sampled_from((*(os.O_RDONLY,) * 5, os.O_RDWR, os.O_WRONLY | os.O_APPEND))
    each = (
        st.tuples(st.just(0), st.just("open"), st.sampled_from(_FILES), access, st.just(0), one)
        for one in map(st.just, range(_SLOTS))
    )
    return st.tuples(*each).map(list)


def programs() -> st.SearchStrategy[list[Operation]]:
    """Return operations that are done one after the other."""
    return st.builds(list.__add__, _openings(), st.lists(_operations(), min_size=20, max_size=45))


@contextmanager
def _acting_as(uid: int) -> Iterator[None]:
    mask = os.umask(0)  # what a umask does beside a default list is a limit (posix_limits)
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.umask(mask)


def _looks(status: os.stat_result) -> tuple[object, ...]:
    mtime: object = "recent" if status.st_mtime_ns > _RECENT else status.st_mtime_ns
    if stat.S_ISFIFO(status.st_mode):
        mtime = "of no matter"  # what goes through it dates it on ext4 alone (posix_limits)
    return (
        oct(status.st_mode), status.st_nlink, status.st_uid, status.st_gid, status.st_size, mtime,
    )  # fmt: skip


class Side:
    """One of two directories, with the files that are open in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._open: dict[int, int] = {}

    def do(self, operation: Operation) -> object:
        """Return how an operation ends: what it finds, or an errno."""
        who, kind, *given = operation
        with _acting_as(who):
            return outcome(getattr(self, "_open_" if kind == "open" else f"_{kind}"), *given)

    def close_all(self) -> None:
        """Close what is open, which a mount that ends needs."""
        for slot in list(self._open):
            with suppress(OSError):  # of a mount that was killed
                self._close(slot)

    def _at(self, path: str) -> str:
        return f"{self.home}/{path}"

    def _fd(self, slot: int) -> int:
        if slot not in self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._open[slot]

    def __getattr__(self, name: str) -> Callable[..., object]:
        """Return a call of ``os`` on a path, or on an open file."""
        call = getattr(os, name.removeprefix("_"))
        if name in ("_read", "_pread", "_write", "_ftruncate", "_fchmod", "_fsync"):
            return lambda slot, *given: call(self._fd(slot), *given)
        return lambda path, *given: call(self._at(path), *given)

    def _open_(self, path: str, flags: int, mode: int, slot: int) -> tuple[object, ...]:
        fd = os.open(self._at(path), flags | os.O_NONBLOCK, mode)
        self._close(slot)
        self._open[slot] = fd
        return _looks(os.fstat(fd))

    def _close(self, slot: int) -> None:
        fd = self._open.pop(slot, -1)
        if fd >= 0:
            os.close(fd)

    def _pwrite(self, slot: int, place: int, data: bytes) -> int:
        return os.pwrite(self._fd(slot), data, place)

    def _pread(self, slot: int, place: int, size: int) -> bytes:
        return os.pread(self._fd(slot), size, place)

    def _store(self, slot: int, place: int) -> bytes | None:
        """Write to memory that the file is mapped to."""
        fd = self._fd(slot)
        size = os.fstat(fd).st_size
        if place >= size or not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with mmap.mmap(fd, size) as memory:
            memory[place : place + 1] = b"M"
            memory.flush()
            return memory[:20]

    def _fstat(self, slot: int) -> tuple[object, ...]:
        return _looks(os.fstat(self._fd(slot)))

    def _stat(self, path: str, follow: bool) -> tuple[object, ...]:  # noqa: FBT001 - drawn
        return _looks(os.stat(self._at(path), follow_symlinks=follow))

    def _rename(self, one: str, other: str, flags: int) -> None:
        renameat2(self._at(one), self._at(other), flags)

    def _move(self, one: str, other: str) -> None:
        os.rename(self._at(one), self._at(other))

    _turn = _move

    def _link(self, one: str, other: str) -> None:
        os.link(self._at(one), self._at(other), follow_symlinks=False)

    def _symlink(self, target: str, path: str) -> None:
        os.symlink(target, self._at(path))

    def _chown(self, path: str, uid: int, gid: int, follow: bool) -> None:  # noqa: FBT001 - drawn
        os.chown(self._at(path), uid, gid, follow_symlinks=follow)

    def _utime(self, path: str, atime: int | None, mtime: int | None, follow: bool) -> None:  # noqa: FBT001 - drawn
        times = None if atime is None or mtime is None else (atime, mtime)
        if times is None:
            os.utime(self._at(path), follow_symlinks=follow)
        else:
            os.utime(self._at(path), ns=times, follow_symlinks=follow)

    def _setfacl(self, path: str, value: bytes, default: bool) -> None:  # noqa: FBT001 - drawn
        which = "default" if default else "access"
        os.setxattr(self._at(path), f"system.posix_acl_{which}", value)

    def _listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(self._at(path)))

    def _cat(self, path: str) -> bytes:
        fd = os.open(self._at(path), os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(fd, 1 << 20)
        finally:
            os.close(fd)


def picture(home: Path, *, links: bool) -> dict[str, tuple[object, ...]]:
    """Return everything of a tree but access times: with ``links``, how many each file has.

    Names of one file are told by the first of them.
    """
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for path in sorted([home, *home.rglob("*")]):
        status = path.lstat()
        name = str(path.relative_to(home))
        content = b""
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.fsencode(os.readlink(path))
        attributes = {
            one: os.getxattr(path, one, follow_symlinks=False)
            for one in os.listxattr(path, follow_symlinks=False)
        }
        looks = _looks(status)
        if not links and not stat.S_ISDIR(status.st_mode):
            looks = (looks[0], *looks[2:])
        found[name] = (*looks, first.setdefault(status.st_ino, name), content, attributes)
    return found
