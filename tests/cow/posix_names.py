"""Conformance cases: making and removing names, and which errno comes first."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from tests.cow.seeing import USER, case, outcome
from tests.cow.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, renameat2

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cow.seeing import See

_PLACES = (
    "file", "dir", "empty", "link", "dangling", "loop", "fifo", "null", "missing", "file/x",
    "dir/missing/x", "loop/x", "dangling/x", "link/x", "file/", "dir/", "missing/", "dir/.",
    "dir/..", ".", "..", "", "link/", "dir/inner",
)  # fmt: skip


def _open(path: str, flags: int, mode: int = 0o666) -> None:
    os.close(os.open(path, flags, mode))


@case
def errno_of_one_name(see: See) -> None:
    calls: tuple[tuple[str, Callable[[str], object]], ...] = (
        ("mkdir", os.mkdir), ("rmdir", os.rmdir), ("mkfifo", os.mkfifo),
        ("symlink", lambda path: os.symlink("target", path)),
        ("create", lambda path: _open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
        ("open", lambda path: _open(path, os.O_RDONLY | os.O_NONBLOCK)),
        ("write", lambda path: _open(path, os.O_WRONLY | os.O_NONBLOCK)),
        ("directory", lambda path: _open(path, os.O_DIRECTORY)),
        ("nofollow", lambda path: _open(path, os.O_NOFOLLOW | os.O_NONBLOCK)),
        ("truncate", lambda path: os.truncate(path, 5)),
        ("readlink", os.readlink),
        ("chmod", lambda path: os.chmod(path, 0o755)),
        ("listdir", lambda path: sorted(os.listdir(path)) and None),
        ("unlink", os.unlink),
    )  # fmt: skip
    for label, call in calls:
        for place in _PLACES:
            if place in (".", "..") and label == "chmod":
                continue
            os.makedirs("work", exist_ok=True)
            see(f"{label} {place!r}", call, place)


def _scene(name: str) -> None:
    """Make what a call on two names may find, in a directory of its own."""
    os.makedirs(f"{name}/full/below")
    for other in ("void", "void2"):
        os.mkdir(f"{name}/{other}")
    for other in ("a", "b"):
        with open(f"{name}/{other}", "w", encoding="ascii") as file:
            file.write(other)
    os.link(f"{name}/a", f"{name}/a2")
    os.symlink("a", f"{name}/s")
    os.symlink("void", f"{name}/sd")
    os.symlink("gone", f"{name}/sg")
    os.symlink("self", f"{name}/self")
    os.mkfifo(f"{name}/p")


_TWO = (
    "a", "a2", "b", "full", "full/below", "void", "s", "sd", "sg", "self", "p", "new", "no/x",
    "a/x", "self/x", "full/below/new", ".", "..", "void/", "new/", "a/", "sd/",
)  # fmt: skip


def _after(name: str) -> list[tuple[str, str, int]]:
    found = []
    for top, directories, files in os.walk(name):
        for one in (*directories, *files):
            status = os.lstat(f"{top}/{one}")
            found.append((f"{top}/{one}", oct(status.st_mode), status.st_nlink))
    return sorted(found)


def _on_two_names(see: See, call: Callable[[str, str], None]) -> None:
    """Note what the call does on every pair of names."""
    made = 0
    _scene(f"scene{made}")
    for one in _TWO:
        for other in _TWO:
            home = f"scene{made}"
            found = outcome(call, f"{home}/{one}", f"{home}/{other}")
            see.value(f"{one} {other}", found)
            if found is None:  # it may have changed the scene
                see.value(f"{one} {other} leaves", _after(home))
                made += 1
                _scene(f"scene{made}")


@case
def rename_of_two_names(see: See) -> None:
    _on_two_names(see, os.rename)


@case
def rename_that_replaces_nothing(see: See) -> None:
    _on_two_names(see, lambda one, other: renameat2(one, other, RENAME_NOREPLACE))


@case
def rename_that_exchanges(see: See) -> None:
    _on_two_names(see, lambda one, other: renameat2(one, other, RENAME_EXCHANGE))


@case
def link_of_two_names(see: See) -> None:
    _on_two_names(see, lambda one, other: os.link(one, other, follow_symlinks=False))


@case
def rename_with_flags(see: See) -> None:
    see("both", renameat2, "file", "mine", RENAME_NOREPLACE | RENAME_EXCHANGE)
    see("unknown", renameat2, "file", "mine", 8)


@case
def whiteouts(see: See) -> None:
    see("rename", renameat2, "mine", "new", RENAME_WHITEOUT)
    see.value("left", oct(stat.S_IFMT(os.lstat("mine").st_mode)))


@case
def other_filesystems(see: See) -> None:
    see("link out", os.link, "file", "/dev/rootman-never")
    see("link in", os.link, "/proc/self/status", "new")
    see("rename out", os.rename, "file", "/dev/rootman-never")
    see("rename in", os.rename, "/dev/null", "new")


@case
def long_names(see: See) -> None:
    for size in (255, 256, 1024, 1025, 4095, 4096):
        name = "n" * size
        see(f"create {size}", _open, name, os.O_CREAT | os.O_EXCL)
        see(f"stat {size}", lambda name=name: os.stat(name).st_size)
        see(f"link {size}", os.link, "mine", "l" * size)
        see(f"mkdir {size}", os.mkdir, "d" * size)
        see(f"symlink {size}", os.symlink, "t", "s" * size)
        see(f"target {size}", os.symlink, "t" * size, f"target{size}")
        see(f"read {size}", os.readlink, f"target{size}")
        see(f"rename {size}", os.rename, name, "r" * size)
        see(f"fifo {size}", os.mkfifo, "p" * size)
        see(f"unlink {size}", os.unlink, "r" * size)
    see.value("utf-8", sorted(os.listdir(b"."))[:3])
    for odd in (b"\xff\xfe", b"a\nb", b" ", b"\\", b"*", "\u00e9".encode(), b"...", b"-x"):
        see(f"odd {odd!r}", _open_bytes, odd)
    see.value("listed", sorted(os.listdir(b".")))


def _open_bytes(path: bytes) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL))


@case
def paths_longer_than_path_max(see: See) -> None:
    """Names deeper than a path can say are reached by steps, renamed as one, and removed."""
    here = os.open(".", os.O_RDONLY)
    name = "d" * 250
    for _ in range(20):
        os.mkdir(name)
        os.chdir(name)
    with open("deep", "w", encoding="ascii") as file:
        file.write("deep\n")
    os.link("deep", "deeper")
    os.chmod("deep", 0o600)
    see.value("nlink", os.stat("deeper").st_nlink)
    see("cwd", lambda: len(os.getcwd()) > 5000)
    at = os.open(".", os.O_RDONLY)
    os.fchdir(here)
    os.rename(name, "top")
    see.value("kept", sorted(os.listdir(at)))
    os.rename("deep", "deepest", src_dir_fd=at, dst_dir_fd=at)
    os.rename("deepest", "out", src_dir_fd=at)
    with open("out", encoding="ascii") as file:
        see.value("content", file.read())
    os.link("mine", "in", dst_dir_fd=at)
    see.value("mine", os.stat("mine").st_nlink)
    see("too long", os.stat, "top/" + f"{name}/" * 19)
    os.rename("top", "dir/top")
    see.value("after", sorted(os.listdir(at)))
    see.value("through", os.stat("in", dir_fd=at).st_nlink)
    for fd in (here, at):
        os.close(fd)


@case
def every_kind_of_node(see: See) -> None:
    kinds = {
        "regular": stat.S_IFREG, "fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK,
        "char": stat.S_IFCHR, "block": stat.S_IFBLK, "directory": stat.S_IFDIR,
        "symlink": stat.S_IFLNK, "none": 0,
    }  # fmt: skip
    for who in (0, USER):
        for name, kind in kinds.items():
            path = f"open/{name}{who}"
            for device in (0, os.makedev(1, 5), os.makedev(300, 70000)):
                see.by(who, f"{name} {who} {device}", os.mknod, path, kind | 0o640, device)
                found = outcome(os.lstat, path)
                if isinstance(found, os.stat_result):
                    see.value(
                        f"{name} {who} {device} is",
                        (oct(found.st_mode), found.st_rdev, found.st_nlink, found.st_uid),
                    )
                    os.unlink(path)


@case
def removed_directories(see: See) -> None:
    """What stands in a directory that is gone gets ENOENT, and what is open of it stays."""
    os.mkdir("gone")
    fd = os.open("gone", os.O_RDONLY)
    os.rmdir("gone")
    see("list", os.listdir, fd)
    see("stat", lambda: os.fstat(fd).st_nlink)
    see("chmod", os.fchmod, fd, 0o700)
    see("mode", lambda: oct(os.fstat(fd).st_mode))
    see("create", lambda: os.close(os.open("x", os.O_CREAT, dir_fd=fd)))
    see("mkdir", lambda: os.mkdir("x", dir_fd=fd))
    see("link", lambda: os.link("file", "x", dst_dir_fd=fd))
    see("rename", lambda: os.rename("file", "x", dst_dir_fd=fd))
    see("lookup", lambda: os.stat("x", dir_fd=fd))
    see("parent", lambda: os.stat("..", dir_fd=fd).st_mode)
    see("fsync", os.fsync, fd)
    see("again", os.mkdir, "gone")
    see("other", lambda: os.stat("gone").st_ino != os.fstat(fd).st_ino)
    os.fchdir(fd)
    see("cwd", os.getcwd)
    see("here", os.listdir, ".")
    os.chdir("..") if os.path.exists("..") else None
    os.close(fd)


@case
def removal_of_the_directory_one_is_in(see: See) -> None:
    os.chdir("empty")
    see("dot", os.rmdir, ".")
    see("by the way above", os.rmdir, "../empty")
    see("parent", os.listdir, "..")
