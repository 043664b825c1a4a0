"""Conformance cases: symbolic links, hard links, and files without any."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.cow.seeing import USER, case

if TYPE_CHECKING:
    from tests.cow.seeing import See


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


@case
def symlinks_mean_what_the_caller_means(see: See) -> None:
    """Absolute targets begin at the root of who follows, ``..`` where the symlink is."""
    os.symlink("/etc/passwd", "absolute")
    see("absolute", lambda: os.stat("absolute").st_ino == os.stat("/etc/passwd").st_ino)
    os.symlink("../file", "dir/up")
    see("up", _read, "dir/up")
    os.symlink("../../../../../../../../../../../../etc/hostname", "far")
    see("far", lambda: os.stat("far").st_ino == os.stat("/etc/hostname").st_ino)
    os.symlink("dir/../dir/./inner", "crooked")
    see("crooked", _read, "crooked")
    os.symlink("dir", "to-dir")
    see("through", _read, "to-dir/inner")
    see("parent", _read, "to-dir/../file")
    see("no target", os.symlink, "", "nothing")


@case
def chains_of_symlinks(see: See) -> None:
    for count in (39, 40, 41):
        os.mkdir(f"c{count}")
        os.symlink("../file", f"c{count}/0")
        for one in range(1, count):
            os.symlink(str(one - 1), f"c{count}/{one}")
        see(f"{count}", _read, f"c{count}/{count - 1}")
    os.symlink("two", "one")
    os.symlink("one", "two")
    see("circle", _read, "one")
    see("below", _read, "one/x")
    see("create", lambda: os.open("one", os.O_CREAT | os.O_WRONLY))
    see("exclusive", lambda: os.open("one", os.O_CREAT | os.O_EXCL | os.O_WRONLY))


@case
def writing_through_a_symlink(see: See) -> None:
    _write("link", b"through\n")
    see.value("file", _read("file"))
    os.symlink("new", "to-new")
    _write("to-new", b"made\n")
    see.value("new", _read("new"))
    os.chmod("link", 0o600)
    see.value("mode", oct(os.stat("file").st_mode))
    itself = os.open("link", os.O_PATH | os.O_NOFOLLOW)
    see("mode of a symlink", os.chmod, f"/proc/self/fd/{itself}", 0o600)
    os.utime("link", (5, 6), follow_symlinks=False)
    os.chown("link", USER, USER, follow_symlinks=False)
    status = os.lstat("link")
    see.value("link", (status.st_mtime, status.st_uid, status.st_size, oct(status.st_mode)))
    see.value("target", (os.stat("file").st_uid, os.readlink("link")))
    see("xattr", lambda: os.setxattr("link", "user.x", b"1", follow_symlinks=False))
    see("trusted", lambda: os.setxattr("link", "trusted.x", b"1", follow_symlinks=False))
    see("list", lambda: sorted(os.listxattr("link", follow_symlinks=False)))


@case
def hard_links_are_one_file(see: See) -> None:
    names = ["pair", "dir/pair"]

    def all_of() -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for name in names:
            status = os.lstat(name)
            found.append((status.st_nlink, oct(status.st_mode), status.st_size, _read(name)))
        return found

    see.value("at first", all_of())
    os.link("pair", "third")
    names.append("third")
    see.value("linked", all_of())
    _write("third", b"one content\n")
    os.chmod("dir/pair", 0o600)
    see.value("changed", all_of())
    os.rename("pair", "dir/moved")
    names[0] = "dir/moved"
    see.value("moved", all_of())
    see.value("one", len({os.stat(name).st_ino for name in names}))
    os.rename("dir", "renamed")
    names[:] = ["renamed/moved", "renamed/pair", "third"]
    os.truncate("third", 3)
    see.value("directory moved", all_of())
    os.rename("renamed/moved", "third")
    see.value("of one file", all_of())
    os.unlink("renamed/moved")
    os.unlink("third")
    names[:] = ["renamed/pair"]
    _write("renamed/pair", b"last\n")
    see.value("last", all_of())


@case
def links_to_other_kinds(see: See) -> None:
    for kind in ("link", "dangling", "fifo", "null", "dir"):
        see(f"{kind}", lambda kind=kind: os.link(kind, f"{kind}2", follow_symlinks=False))
        status = os.lstat(kind)
        if kind != "dir":
            see.value(f"{kind} is", (status.st_nlink, oct(status.st_mode), status.st_rdev))
    see.value("link2", os.readlink("link2"))
    see("follow", lambda: os.link("link", "followed", follow_symlinks=True))
    see("followed", lambda: os.lstat("followed").st_nlink)


@case
def unlinked_while_open(see: See) -> None:
    for name in ("file", "pair", "mine"):
        fd, reader = os.open(name, os.O_RDWR), os.open(name, os.O_RDONLY)
        os.unlink(name)
        see.value(f"{name} nlink", os.fstat(fd).st_nlink)
        see.value(f"{name} old", os.pread(reader, 99, 0))
        os.pwrite(fd, b"NEW", 2)
        see.value(f"{name} new", os.pread(reader, 99, 0))
        os.ftruncate(fd, 4)
        os.fchmod(fd, 0o601)
        os.fchown(fd, USER, USER)
        os.utime(fd, (7, 8))
        os.setxattr(fd, "user.x", b"1")
        status = os.fstat(reader)
        see.value(
            f"{name} is",
            (status.st_size, oct(status.st_mode), status.st_uid, status.st_mtime, status.st_nlink),
        )
        see.value(f"{name} xattrs", sorted(os.listxattr(reader)))
        see(f"{name} gone", os.stat, name)
        _write(name, b"another\n")
        see.value(f"{name} other", (_read(name), os.pread(fd, 99, 0)))
        see(
            f"{name} linked again",
            lambda fd=fd: os.link(f"/proc/self/fd/{fd}", "back", follow_symlinks=True),
        )
        os.fsync(fd)
        os.close(fd)
        os.close(reader)


@case
def unlinked_while_open_for_reading_alone(see: See) -> None:
    fd = os.open("file", os.O_RDONLY)
    os.unlink("file")
    see.value("content", os.pread(fd, 99, 0))
    see("reopened", lambda: os.pwrite(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), b"X", 0))
    see.value("after", os.pread(fd, 99, 0))
    see("truncated", os.truncate, f"/proc/self/fd/{fd}", 2)
    see.value("at last", os.pread(fd, 99, 0))


@case
def renamed_over_while_open(see: See) -> None:
    for victim in ("file", "dir/pair"):
        _write("new", b"new content\n")
        fd = os.open(victim, os.O_RDWR)
        os.rename("new", victim)
        see.value(f"{victim} nlink", os.fstat(fd).st_nlink)
        os.pwrite(fd, b"OLD", 0)
        see.value(f"{victim} both", (os.pread(fd, 99, 0), _read(victim)))
        os.close(fd)
    see.value("pair", (_read("pair"), os.stat("pair").st_nlink))


@case
def unlinked_of_other_kinds(see: See) -> None:
    for name in ("link", "fifo", "null"):
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW)
        os.unlink(name)
        path = f"/proc/self/fd/{fd}"
        see.value(f"{name} nlink", os.fstat(fd).st_nlink)
        see(f"{name} chmod", os.chmod, path, 0o640)
        see(f"{name} utime", os.utime, path, (7, 8))
        status = os.fstat(fd)
        see.value(f"{name} is", (oct(status.st_mode), status.st_mtime))
        if name == "link":
            see("readlink", lambda fd=fd: os.readlink("", dir_fd=fd))
        os.close(fd)
