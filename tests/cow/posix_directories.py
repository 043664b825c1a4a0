"""Conformance cases: reading directories, counting links, inode numbers, handles, inotify."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING

from tests.cow.seeing import case, outcome
from tests.cow.syscalls import Stream, check, handle_of, libc, open_handle

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cow.seeing import See

_MANY = 3000
_EVENTS = 0x00000FFF


def _fill(path: str, count: int) -> None:
    os.mkdir(path)
    for number in range(count):
        os.close(os.open(f"{path}/{number:04}", os.O_CREAT))


@case
def many_names(see: See) -> None:
    _fill("many", _MANY)
    listed = os.listdir("many")
    see.value("all, once", (len(listed), len(set(listed))))
    for number in range(0, _MANY, 2):
        os.unlink(f"many/{number:04}")
    see.value("half", sorted(os.listdir("many")))


@case
def places_in_a_directory(see: See) -> None:
    """telldir, seekdir and rewinddir: from a place on come the same names as before."""
    _fill("many", 700)
    stream = Stream("many")
    told = []
    order = []
    for name in stream:
        order.append(name)
        told.append(stream.tell())
    for at in (0, 1, 2, 350, 600, 701):
        stream.seek(told[at])
        see.value(f"from {at}", list(stream) == order[at + 1 :])
    stream.rewind()
    see.value("again", list(stream) == order)
    see.value("names", sorted(order))
    os.unlink("many/0007")
    os.mkdir("many/new")
    stream.rewind()
    see.value("rewound", sorted(stream))
    stream.close()


@case
def reading_while_it_changes(see: See) -> None:
    """What is there all the time comes once, whatever else comes and goes."""
    _fill("many", 900)
    stream = Stream("many")
    found = [stream.read() for _ in range(100)]
    kept = {f"{number:04}" for number in range(0, 900, 3)}
    for number in range(900):
        if number % 3:
            os.unlink(f"many/{number:04}")
            os.close(os.open(f"many/new{number}", os.O_CREAT))
    found += list(stream)
    see.value("kept", sorted(name for name in found if name in kept))
    stream.close()
    see.value("after", sorted(os.listdir("many")))


@case
def removal_of_everything_read(see: See) -> None:
    """As ``rm -r`` does it: what is read is removed before the next is."""
    _fill("many", 1500)
    stream = Stream("many")
    for name in stream:
        if name not in (".", ".."):
            os.unlink(f"many/{name}")
    stream.close()
    see("rmdir", os.rmdir, "many")


@case
def kinds_in_a_listing(see: See) -> None:
    with os.scandir(".") as found:
        see.value(
            "kinds",
            sorted((e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in found),
        )
    with os.scandir(".") as found:
        see.value("numbers", all(e.inode() == os.lstat(e.name).st_ino for e in found))
    stream = Stream("dir")
    see.value("dots", sorted(stream))
    stream.close()


@case
def attributes_by_a_listing(see: See) -> None:
    """What a listing tells of its entries is of now, whatever an earlier one told."""
    fd = os.open("dir/inner", os.O_RDWR)
    os.write(fd, b"broken")
    changes: tuple[tuple[str, Callable[[], object]], ...] = (
        ("write", lambda: os.pwrite(fd, b"far", 9000)),
        ("truncate", lambda: os.ftruncate(fd, 3)),
        ("chmod", lambda: os.fchmod(fd, 0o640)),
        ("link", lambda: os.link("dir/inner", "dir/linked")),
        ("unlink", lambda: os.unlink("dir/inner")),
    )
    for label, change in changes:
        os.listdir("dir")
        change()
        with os.scandir("dir") as found:
            entries = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in found)
        see.value(label, [(name, s.st_size, s.st_nlink, oct(s.st_mode)) for name, s in entries])


@case
def links_of_directories(see: See) -> None:
    def links() -> list[int]:
        return [os.stat(one).st_nlink for one in (".", "dir", "empty", "open")]

    see.value("at first", links())
    os.mkdir("dir/a")
    os.mkdir("dir/b")
    see.value("made", links())
    os.rename("dir/a", "empty/a")
    see.value("moved", links())
    os.rename("dir/b", "empty/a")
    see.value("replaced", links())
    os.rmdir("empty/a")
    see.value("removed", links())
    see.value("size", os.stat("dir").st_size)


@case
def inode_numbers(see: See) -> None:
    """A number stays through every change, and no two files have one."""
    watched = ["file", "pair", "dir/pair", "mine", "link", "fifo", "null", "dir", "dir/inner"]
    before = {name: os.lstat(name).st_ino for name in watched}
    for name in watched:
        os.chown(name, 5, 5, follow_symlinks=False)
    for name in ("file", "pair", "mine"):
        with open(name, "ab") as file:
            file.write(b"more")
    for number in range(100):
        os.close(os.open(f"new{number}", os.O_CREAT))
    os.rename("dir", "moved")
    after = {name: os.lstat(name.replace("dir", "moved")).st_ino for name in watched}
    see.value("stable", before == after)
    every = [os.lstat(f"{top}/{one}").st_ino for top, ds, fs in os.walk(".") for one in (*ds, *fs)]
    see.value("of one group", len(every) - len(set(every)))
    see.value("devices", len({os.lstat(name).st_dev for name in os.listdir(".")}))


@case
def numbers_of_removed_files(see: See) -> None:
    """While a file is open nobody else gets its number."""
    fds = []
    for number in range(50):
        fds.append(os.open(f"f{number}", os.O_CREAT | os.O_RDWR))
        os.unlink(f"f{number}")
    held = {os.fstat(fd).st_ino for fd in fds}
    os.chmod("file", 0o600)
    os.chmod("mine", 0o600)
    for number in range(50):
        os.close(os.open(f"g{number}", os.O_CREAT))
    others = {os.stat(name).st_ino for name in os.listdir(".") if os.path.exists(name)}
    see.value("held", len(held))
    see.value("both", held & others)


@case
def file_handles(see: See) -> None:
    mount = os.open(".", os.O_RDONLY)
    handles = {name: handle_of(name) for name in ("file", "dir", "dir/inner", "pair", "link")}
    for name, handle in handles.items():
        flags = os.O_PATH if name == "link" else os.O_RDONLY
        fd = outcome(open_handle, mount, handle, flags)
        if isinstance(fd, int):
            same = os.fstat(fd).st_ino == os.stat(name, follow_symlinks=False).st_ino
            see.value(name, (same, oct(os.fstat(fd).st_mode)))
            os.close(fd)
        else:
            see.value(name, fd)
    fd = open_handle(mount, handles["file"], os.O_RDWR)
    os.pwrite(fd, b"BY HANDLE", 0)
    os.close(fd)
    with open("file", "rb") as file:
        see.value("written", file.read())
    os.unlink("file")
    with open("file", "wb") as file:
        file.write(b"another")
    found = outcome(open_handle, mount, handles["file"], os.O_RDONLY)
    # Until the kernel has let go of it, the mount opens what was removed; never another.
    see.value("gone", found == "ESTALE" or os.read(int(str(found)), 99) == b"BY HANDLEntent\n")
    os.rename("dir", "elsewhere")
    fd = open_handle(mount, handles["dir/inner"], os.O_RDONLY)
    see.value("moved", os.read(fd, 99))
    os.close(fd)


@case
def notices(see: See) -> None:
    """What inotify tells of a directory and of a file in it."""
    watch = check(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    for path in (b".", b"dir"):
        check(libc.inotify_add_watch(watch, path, ctypes.c_uint32(_EVENTS)))
    changes: tuple[Callable[[], object], ...] = (
        lambda: os.close(os.open("new", os.O_CREAT | os.O_WRONLY)),
        lambda: os.chmod("file", 0o600),
        lambda: os.truncate("file", 3),
        lambda: os.rename("new", "dir/new"),
        lambda: os.link("mine", "linked"),
        lambda: os.unlink("linked"),
        lambda: os.setxattr("mine", "user.x", b"1"),
        lambda: os.mkdir("sub"),
        lambda: os.rmdir("sub"),
        lambda: os.rename("dir/new", "file"),
        _write_some,
    )
    for change in changes:
        change()
    see.value("events", _events(os.read(watch, 1 << 16)))
    os.close(watch)


def _write_some() -> None:
    with open("mine", "r+b", buffering=0) as file:
        file.write(b"some")
        file.read()


def _events(data: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    at = 0
    while at < len(data):
        which, mask, _, size = struct.unpack_from("iIII", data, at)
        found.append((which, mask, data[at + 16 : at + 16 + size].rstrip(b"\0")))
        at += 16 + size
    return found
