"""Conformance cases: the flags of open(2), and descriptors that are opened again."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
from itertools import combinations
from typing import TYPE_CHECKING

from tests.cow.seeing import USER, as_user, case, outcome

if TYPE_CHECKING:
    from tests.cow.seeing import See

_FLAGS = (
    os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_PATH,
    os.O_NOATIME, os.O_SYNC,
)  # fmt: skip


def _open(path: str, flags: int) -> tuple[int, int]:
    fd = os.open(path, flags | os.O_NONBLOCK, 0o666)
    try:
        return os.fstat(fd).st_size, os.fstat(fd).st_nlink
    finally:
        os.close(fd)


@case
def every_two_flags(see: See) -> None:
    for access in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        for one, other in combinations(_FLAGS, 2):
            for path in ("file", "dir", "link", "dangling", "loop", "fifo", "null", "new", "dir/"):
                label = f"{access} {one:o} {other:o} {path}"
                see(label, _open, path, access | one | other)
                for made in ("new", "nowhere"):
                    if os.path.lexists(made):
                        see.value(f"{label} made {made}", oct(os.lstat(made).st_mode))
                        os.unlink(made)
    see.value("left", sorted(os.listdir(".")))


@case
def appending_from_two(see: See) -> None:
    one = os.open("file", os.O_WRONLY | os.O_APPEND)
    other = os.open("file", os.O_RDWR | os.O_APPEND)
    for at in range(20):
        os.write((one, other)[at % 2], b"%d\n" % at)
    os.pwrite(one, b"at the end all the same\n", 0)
    os.lseek(other, 0, os.SEEK_SET)
    os.write(other, b"end\n")
    see.value("place", os.lseek(other, 0, os.SEEK_CUR))
    see.value("content", os.pread(other, 999, 0))
    os.ftruncate(one, 5)
    os.write(other, b"after\n")
    see.value("cut", os.pread(other, 999, 0))


@case
def created_without_the_right_to_write(see: See) -> None:
    """The mode of a new file is for later: who makes it may write."""

    def work() -> tuple[object, ...]:
        fd = os.open("open/new", os.O_CREAT | os.O_WRONLY, 0o000)
        found = os.write(fd, b"written")
        os.ftruncate(fd, 3)
        again = outcome(_open, "open/new", os.O_WRONLY)
        return found, os.fstat(fd).st_size, again

    see.value("by a user", as_user(USER, work))


@case
def access_of_the_descriptor(see: See) -> None:
    reader, writer = os.open("file", os.O_RDONLY), os.open("file", os.O_WRONLY)
    see("write to read", os.write, reader, b"x")
    see("read to write", os.read, writer, 1)
    see("cut off", os.ftruncate, reader, 1)
    path = os.open("file", os.O_PATH)
    for call in (os.fchmod, os.ftruncate):
        see(f"{call.__name__} of a path", call, path, 0)
    see("read of a path", os.read, path, 1)
    see("negative", os.ftruncate, writer, -1)
    see("stat of a path", lambda: os.fstat(path).st_size)


@case
def paths_that_are_kept(see: See) -> None:
    """A path descriptor leads to its file wherever that goes, by /proc/self/fd."""
    fd = os.open("file", os.O_PATH)
    at = os.open("dir", os.O_PATH)
    os.rename("file", "dir/moved")
    os.rename("dir", "gone")
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        see(f"again {flags:o}", _open, f"/proc/self/fd/{fd}", flags)
    see("inner", lambda: os.stat("inner", dir_fd=at).st_size)
    see("name", lambda: os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
    see("chmod", os.chmod, f"/proc/self/fd/{fd}", 0o600)
    see("link", lambda: os.link(f"/proc/self/fd/{fd}", "again", follow_symlinks=True))
    see.value("is", (oct(os.fstat(fd).st_mode), os.fstat(fd).st_nlink))


@case
def reopened_descriptors(see: See) -> None:
    reader = os.open("file", os.O_RDONLY)
    writer = os.open(f"/proc/self/fd/{reader}", os.O_RDWR)
    os.pwrite(writer, b"SEEN", 0)
    see.value("reader", os.pread(reader, 99, 0))
    os.close(os.open(f"/proc/self/fd/{reader}", os.O_WRONLY | os.O_TRUNC))
    see.value("cut", os.pread(reader, 99, 0))
    see.by(USER, "by a user", _open, f"/proc/self/fd/{reader}", os.O_RDWR)


@case
def direct(see: See) -> None:
    """O_DIRECT of whole pages, against what is cached of the same file."""
    fd = os.open("file", os.O_RDWR | os.O_DIRECT)
    page = mmap.mmap(-1, 8192)
    page[:] = b"d" * 8192
    see.value("written", os.pwrite(fd, page, 0))
    cached = os.open("file", os.O_RDWR)
    see.value("cached", os.pread(cached, 9999, 0) == b"d" * 8192)
    os.pwrite(cached, b"c" * 100, 4000)
    os.fsync(cached)
    see.value("read", os.preadv(fd, [page], 0))
    see.value("both", page[3990:4110])
    os.ftruncate(fd, 5000)
    see.value("to the end", os.preadv(fd, [page], 4096))
    see.value("beyond", os.preadv(fd, [page], 8192))


@case
def synchronous(see: See) -> None:
    for flag in (os.O_SYNC, os.O_DSYNC):
        fd = os.open("file", os.O_RDWR | flag)
        see.value(f"{flag:o}", os.write(fd, b"synced"))
        see(f"fsync {flag:o}", os.fsync, fd)
        see(f"fdatasync {flag:o}", os.fdatasync, fd)
        os.close(fd)
    reader, directory = os.open("mine", os.O_RDONLY), os.open("dir", os.O_RDONLY)
    for label, fd in (("reader", reader), ("directory", directory)):
        see(f"fsync of a {label}", os.fsync, fd)
        see(f"fdatasync of a {label}", os.fdatasync, fd)
    see("path", os.fsync, os.open("file", os.O_PATH))


@case
def running_programs_are_not_written(see: See) -> None:
    """ETXTBSY both ways, and a program can be replaced under another name meanwhile."""
    with open("/usr/bin/sleep", "rb") as source, open("tool", "wb") as target:
        target.write(source.read())
        see("run while written", _run, "./tool")
    running = subprocess.Popen(("./tool", "60"))
    try:
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            see(f"write while run {flags:o}", _open_blocking, "tool", flags)
        see("truncate while run", os.truncate, "tool", 0)
        see("read while run", _open_blocking, "tool", os.O_RDONLY)
        see("chmod while run", os.chmod, "tool", 0o700)
        os.rename("file", "tool")
        see("replaced", lambda: os.stat("tool").st_size)
        see.value("runs", running.poll())
    finally:
        running.kill()
        running.wait()


def _open_blocking(path: str, flags: int) -> None:
    os.close(os.open(path, flags))


def _run(path: str) -> str | int:
    try:
        return subprocess.run((path, "0"), check=False).returncode
    except OSError as error:
        return errno.errorcode[error.errno or 0]


@case
def unnamed_files(see: See) -> None:
    see("O_TMPFILE", lambda: os.close(os.open("dir", os.O_TMPFILE | os.O_RDWR)))
