"""What the operations of the matrix are made of: system calls on the names in a cell.

Each makes a function that takes the cell. What that returns is compared, so it returns what
a program would see.
"""

from __future__ import annotations

import mmap
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from tests.builders import TIME
from tests.cow.cells import GROUP, HOLE, OTHER_GROUP, OWNER
from tests.cow.syscalls import AT_SYMLINK_FOLLOW, fallocate, linkat
from tests.fault.faulty import Forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cow.cells import Cell

    Action = Callable[[Cell], object]
    OnDescriptor = Callable[[int], object]

NOW: Final = "now"
LATER_THAN_SET: Final = TIME + 10**16
"""Every time that is set here is before this, the present is after it."""


def moment(nanoseconds: int) -> int | str:
    """Return a time as it is compared: the present is another in each tree."""
    return NOW if nanoseconds > LATER_THAN_SET else nanoseconds


@contextmanager
def opened(path: str, flags: int, mode: int = 0o666) -> Iterator[int]:
    """Open, and close at the end."""
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def state(fd: int) -> tuple[object, ...]:
    """Return what a program sees of a file that it has open to read, and not in a cache."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    status = os.fstat(fd)
    names = sorted(os.listxattr(fd))
    return (
        oct(status.st_mode), status.st_uid, status.st_gid, status.st_size, status.st_nlink,
        moment(status.st_mtime_ns), os.pread(fd, 1 << 20, 0),
        [(name, os.getxattr(fd, name)) for name in names],
    )  # fmt: skip


def by_descriptor(flags: int, *acts: OnDescriptor, via: str = "subject") -> Action:
    """Open what is called ``via``, and do ``acts`` with the descriptor."""

    def act(at: Cell) -> object:
        with opened(getattr(at, via), flags) as fd:
            return [one(fd) for one in acts]

    return act


def by_older_descriptor(*acts: OnDescriptor) -> Action:
    """Open to read and write, have another tree link the file, and only then act."""

    def act(at: Cell) -> object:
        with opened(at.subject, os.O_RDWR) as fd:
            os.pwrite(fd, b"before", 0)
            at.share()
            return [one(fd) for one in acts]

    return act


def seen_by_readers(change: Action) -> Action:
    """Change, and return what descriptors see that were opened to read before."""

    def act(at: Cell) -> object:
        with opened(at.subject, os.O_RDONLY) as fd, opened(at.other_name, os.O_RDONLY) as other:
            os.pread(fd, 10, 0)
            change(at)
            return state(fd), state(other)

    return act


def after_unlink(flags: int, *acts: OnDescriptor) -> Action:
    """Open, unlink, then act; return what the descriptor sees after that."""

    def act(at: Cell) -> object:
        with opened(at.subject, flags) as fd:
            os.unlink(at.subject)
            done = [one(fd) for one in acts]
            return done, state(fd)

    return act


def unprivileged(action: Action, uid: int = OWNER) -> Action:
    """Act as a user, who has two groups, in a process of its own."""

    def act(at: Cell) -> object:
        def in_child() -> object:
            os.setgroups([GROUP, OTHER_GROUP])
            os.setresgid(GROUP, GROUP, GROUP)
            os.setresuid(uid, uid, uid)
            return attempt(action, at)

        outcome = Forked(in_child).surely()
        assert isinstance(outcome, tuple)
        if outcome[0] == "error":
            raise OSError(outcome[1], os.strerror(outcome[1]))
        return outcome[1]

    return act


def attempt(action: Action, at: Cell) -> tuple[str, object]:
    """Return how an operation ends: ``("done", what it returned)`` or ``("error", errno)``."""
    try:
        return "done", action(at)
    except OSError as error:
        return "error", error.errno


def in_turn(*actions: Action) -> Action:
    """Do one after the other."""
    return lambda at: [action(at) for action in actions]


# --- with a descriptor ------------------------------------------------------------------


def write(data: bytes, offset: int = 0) -> OnDescriptor:
    return lambda fd: os.pwrite(fd, data, offset)


def append(fd: int) -> int:
    """write(2), for which O_APPEND decides where."""
    return os.write(fd, b"appended")


def cut(size: int) -> OnDescriptor:
    return lambda fd: os.ftruncate(fd, size)


def reopen(fd: int) -> None:
    """Write through a second descriptor of the same open file, got without a name."""
    with opened(f"/proc/self/fd/{fd}", os.O_RDWR) as again:
        os.pwrite(again, b"reopened", 3)


def reopen_and_cut(fd: int) -> None:
    """Cut off what has no name, without asking to write."""
    with opened(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_TRUNC):
        pass


def write_direct(fd: int) -> int:
    """pwritev(2) of a whole page, as O_DIRECT demands."""
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        page[:] = b"D" * mmap.PAGESIZE
        return os.pwritev(fd, [page], HOLE)


def write_through_map(fd: int) -> None:
    """Store to a shared mapping, and msync(2)."""
    with mmap.mmap(fd, mmap.PAGESIZE) as shared:
        shared[100:106] = b"mapped"
        shared.flush()


def map_and_strip(fd: int) -> None:
    """As the mount does it: what was mapped arrives as a write, which takes capabilities away."""
    write_through_map(fd)
    with suppress(OSError):  # it had none
        os.removexattr(fd, "security.capability")


def write_to_private_map(fd: int) -> bytes:
    """Store to a private mapping, which changes no file."""
    with mmap.mmap(fd, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE) as private:
        private[100:106] = b"mapped"
        return private[98:108]


def utime_by(fd: int) -> tuple[object, ...]:
    """futimens(2); return the access time, too, which is compared nowhere else."""
    os.utime(fd, ns=(TIME - 77, TIME - 99))
    return moment(os.fstat(fd).st_atime_ns), moment(os.fstat(fd).st_mtime_ns)


def fallocating(mode: int) -> Action:
    """fallocate(2) of one block, which every mode takes."""
    return by_descriptor(os.O_RDWR, lambda fd: fallocate(fd, mode, HOLE, 4096))


# --- from another file ------------------------------------------------------------------


def from_source(move: Callable[[int, int], object]) -> Action:
    """Have the kernel move content: ``move`` gets descriptors of the source and the subject."""

    def act(at: Cell) -> object:
        with opened(at.source, os.O_RDONLY) as source, opened(at.subject, os.O_RDWR) as target:
            return move(source, target)

    return act


def splice(source: int, target: int) -> int:
    """splice(2), through the pipe that it needs."""
    reading, writing = os.pipe()
    try:
        count = os.splice(source, writing, 4096)
        return os.splice(reading, target, count)
    finally:
        os.close(reading)
        os.close(writing)


# --- by name ----------------------------------------------------------------------------


def chmod_by_path_descriptor(at: Cell) -> None:
    """chmod(2) of a descriptor that can neither read nor write; never of a symlink's target."""
    with opened(at.subject, os.O_PATH | os.O_NOFOLLOW) as fd:
        os.chmod(f"/proc/self/fd/{fd}", 0o600)


def chown_by_path_descriptor(at: Cell) -> None:
    with opened(at.subject, os.O_PATH | os.O_NOFOLLOW) as fd:
        os.chown(f"/proc/self/fd/{fd}", 21, 22)


def times(path: str) -> tuple[object, ...]:
    status = os.lstat(path)
    return moment(status.st_atime_ns), moment(status.st_mtime_ns)


def utime(*, follow: bool) -> Action:
    def act(at: Cell) -> object:
        os.utime(at.subject, ns=(TIME - 5, TIME - 7), follow_symlinks=follow)
        return times(at.source if follow and os.path.islink(at.subject) else at.subject)

    return act


def untimed(action: Action) -> Action:
    """Act, and give the subject its times back."""

    def act(at: Cell) -> object:
        status = os.lstat(at.subject)
        done = action(at)
        os.utime(at.subject, ns=(status.st_atime_ns, status.st_mtime_ns))
        return done

    return act


def replace_as_editors_do(at: Cell) -> None:
    """Write a new file with the mode and owner of the old, and rename it over that."""
    status = os.stat(at.subject)
    with opened(at.fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
        os.write(fd, b"edited\n")
        os.fchown(fd, status.st_uid, status.st_gid)
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
        os.fsync(fd)
    os.rename(at.fresh, at.subject)


def link_of_descriptor(at: Cell) -> None:
    """Give a further name to what is open, whatever its names are."""
    with opened(at.subject, os.O_PATH | os.O_NOFOLLOW) as fd:
        linkat(f"/proc/self/fd/{fd}", at.fresh, AT_SYMLINK_FOLLOW)


def rename_while_open(at: Cell) -> None:
    with opened(at.subject, os.O_RDWR) as fd:
        os.rename(at.subject, at.fresh_below)
        os.pwrite(fd, b"moved", 0)
        os.fchmod(fd, 0o600)
