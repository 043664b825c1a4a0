"""Conformance cases: who may do what."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from tests.cow.seeing import GROUP, OTHER, SECOND_GROUP, USER, as_user, case
from tests.cow.syscalls import UTIME_NOW, UTIME_OMIT, acl, renameat2, utimensat

if TYPE_CHECKING:
    from tests.cow.seeing import See


_DEFAULT = acl(("u::", 7), ("g::", 7), ("u", OTHER, 7), ("m", 7), ("o", 5))


def _open(path: str, flags: int, mode: int = 0o666) -> None:
    os.close(os.open(path, flags, mode))


def _mode(path: str) -> str:
    return oct(os.lstat(path).st_mode)


def _owner(path: str) -> tuple[int, int, str]:
    status = os.lstat(path)
    return status.st_uid, status.st_gid, oct(status.st_mode)


def _accesses(path: str) -> list[bool]:
    return [os.access(path, kind) for kind in (os.R_OK, os.W_OK, os.X_OK)]


@case
def every_mode_is_obeyed(see: See) -> None:
    for bits in range(8):
        for mode in {bits << 6, bits << 3, bits}:
            os.chmod("mine", mode)
            for uid, groups in ((USER, ()), (OTHER, (USER,)), (OTHER, ())):
                label = f"{mode:o} {uid} {groups}"
                see.by(uid, label, _accesses, "mine", groups=groups)


@case
def opening_by_others(see: See) -> None:
    for mode in (0o000, 0o400, 0o200, 0o600, 0o040, 0o060, 0o004, 0o006, 0o644, 0o777):
        os.chmod("mine", mode)
        for uid in (USER, OTHER):
            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
                see.by(uid, f"{mode:o} {uid} {flags:o}", _open, "mine", flags)


@case
def supplementary_groups(see: See) -> None:
    os.chown("file", 0, GROUP)
    os.chmod("file", 0o660)
    for groups in ((), (GROUP,), (SECOND_GROUP,), (SECOND_GROUP, GROUP)):
        see.by(OTHER, f"write {groups}", _open, "file", os.O_RDWR, groups=groups)
    os.chown("dir", 0, GROUP)
    os.chmod("dir", 0o770)
    for groups in ((), (GROUP,)):
        see.by(OTHER, f"create {groups}", _open, "dir/n", os.O_CREAT | os.O_EXCL, groups=groups)
        see.by(OTHER, f"list {groups}", os.listdir, "dir", groups=groups)
        see.by(OTHER, f"unlink {groups}", os.unlink, "dir/n", groups=groups)


@case
def changing_the_mode(see: See) -> None:
    for uid in (USER, OTHER):
        for path in ("mine", "file", "link", "open"):
            see.by(uid, f"{uid} {path}", os.chmod, path, 0o640)
            see.value(f"{uid} {path} is", _mode(path))


@case
def setgid_needs_the_group(see: See) -> None:
    """Whoever is not in the group of a file cannot set its setgid bit."""
    os.chown("mine", USER, GROUP)
    os.chown("open", USER, GROUP)
    for path in ("mine", "open"):
        for groups in ((), (GROUP,), (SECOND_GROUP,)):
            see.by(USER, f"{path} {groups}", os.chmod, path, 0o6755, groups=groups)
            see.value(f"{path} {groups} is", _mode(path))


@case
def an_acl_takes_setgid_from_who_is_not_in_the_group(see: See) -> None:
    for groups in ((), (GROUP,)):
        os.chown("mine", USER, GROUP)
        os.chmod("mine", 0o2755)
        value = acl(("u::", 7), ("g::", 5), ("u", OTHER, 6), ("m", 7), ("o", 5))
        args = ("mine", "system.posix_acl_access", value)
        see.by(USER, f"setxattr {groups}", os.setxattr, *args, groups=groups)
        see.value(f"mode {groups}", _mode("mine"))


@case
def changing_the_owner(see: See) -> None:
    tries = ((USER, USER), (OTHER, -1), (-1, GROUP), (-1, SECOND_GROUP), (USER, GROUP))
    for mode in (0o644, 0o6755, 0o2745, 0o2765):
        for uid, gid in tries:
            for who, groups in ((USER, (GROUP,)), (OTHER, (GROUP,)), (0, ())):
                os.chown("mine", USER, USER)
                os.chmod("mine", mode)
                label = f"{mode:o} {uid} {gid} by {who}"
                see.by(who, label, os.chown, "mine", uid, gid, groups=groups)
                see.value(f"{label} is", _owner("mine"))


@case
def changing_no_owner(see: See) -> None:
    for mode in (0o644, 0o2745, 0o2765, 0o6755):
        for who in (0, USER, OTHER):
            os.chmod("mine", mode)
            see.by(who, f"{mode:o} by {who}", os.chown, "mine", -1, -1)
            see.value(f"{mode:o} by {who} is", _owner("mine"))


@case
def changing_the_owner_of_other_kinds(see: See) -> None:
    for path in ("link", "fifo", "null", "dir", "dangling"):
        see(f"{path} by root", lambda path=path: os.lchown(path, USER, GROUP))
        see.value(f"{path} is", _owner(path))
        see.by(OTHER, f"{path} by other", os.lchown, path, OTHER, OTHER)
        see.by(USER, f"{path} to group", os.lchown, path, -1, SECOND_GROUP, groups=(SECOND_GROUP,))
        see.value(f"{path} is at last", _owner(path))
    os.chmod("dir", 0o6755)
    os.chown("dir", USER, GROUP)
    see.value("dir keeps", _mode("dir"))


@case
def in_setgid_directories(see: See) -> None:
    os.chown("open", USER, GROUP)
    os.chmod("open", 0o2777)
    for who, groups in ((0, ()), (OTHER, ()), (OTHER, (GROUP,))):
        tag = f"{who}{len(groups)}"
        see.by(who, f"file {tag}", _open, f"open/f{tag}", os.O_CREAT, 0o2775, groups=groups)
        see.by(who, f"dir {tag}", os.mkdir, f"open/d{tag}", 0o775, groups=groups)
        see.by(who, f"fifo {tag}", os.mkfifo, f"open/p{tag}", 0o2775, groups=groups)
        see.by(who, f"symlink {tag}", os.symlink, "x", f"open/l{tag}", groups=groups)
        for kind in "fdpl":
            see.value(f"{kind} {tag} is", _owner(f"open/{kind}{tag}"))


@case
def in_ordinary_directories(see: See) -> None:
    for who in (0, USER):
        see.by(who, f"file {who}", _open, f"open/f{who}", os.O_CREAT | os.O_WRONLY, 0o6777)
        see.by(who, f"dir {who}", os.mkdir, f"open/d{who}", 0o3777)
        see.by(who, f"fifo {who}", os.mkfifo, f"open/p{who}", 0o6666)
        see.by(who, f"symlink {who}", os.symlink, "x", f"open/l{who}")
        for kind in "fdpl":
            see.value(f"{kind} {who} is", _owner(f"open/{kind}{who}"))


@case
def in_sticky_directories(see: See) -> None:
    os.chmod("open", 0o1777)
    os.chown("open", 0, 0)
    for name in ("a", "b", "c", "d"):
        as_user(USER, partial(_open, f"open/{name}", os.O_CREAT))
    see.by(OTHER, "unlink", os.unlink, "open/a")
    see.by(OTHER, "rename away", os.rename, "open/a", "open/z")
    see.by(OTHER, "own", _open, "open/mine", os.O_CREAT)
    see.by(OTHER, "rename over", os.rename, "open/mine", "open/b")
    see.by(OTHER, "exchange", renameat2, "open/mine", "open/b", 2)
    see.by(OTHER, "link", os.link, "open/mine", "open/further")
    see.by(USER, "unlink by owner", os.unlink, "open/a")
    os.chown("open", OTHER, OTHER)
    see.by(OTHER, "unlink by owner of directory", os.unlink, "open/c")
    see("unlink by root", os.unlink, "open/d")
    see.value("names", sorted(os.listdir("open")))


@case
def umask(see: See) -> None:
    for mask in (0o000, 0o022, 0o027, 0o077, 0o777):
        os.umask(mask)
        _open(f"f{mask}", os.O_CREAT, 0o6777)
        os.mkdir(f"d{mask}", 0o1777)
        os.mkfifo(f"p{mask}", 0o666)
        os.mknod(f"n{mask}", stat.S_IFREG | 0o666)
        for kind in "fdpn":
            see.value(f"{kind} {mask:o}", _mode(f"{kind}{mask}"))


def _acls(path: str) -> dict[str, bytes]:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


@case
def default_acls(see: See) -> None:
    """What is made in a directory with a default list gets it."""
    os.umask(0)
    os.setxattr("open", "system.posix_acl_default", _DEFAULT)
    for mode in (0o777, 0o666, 0o640, 0o000):
        _open(f"open/f{mode}", os.O_CREAT, mode)
        os.mkdir(f"open/d{mode}", mode)
        os.mkfifo(f"open/p{mode}", mode)
        os.symlink("x", f"open/l{mode}")
        for kind in "fdpl":
            see.value(f"{kind} {mode:o}", _mode(f"open/{kind}{mode}"))
            see.value(f"{kind} {mode:o} lists", _acls(f"open/{kind}{mode}"))


@case
def default_acls_and_umask(see: See) -> None:
    """A default list takes the place of the umask."""
    os.umask(0o027)
    os.setxattr("open", "system.posix_acl_default", _DEFAULT)
    _open("open/f", os.O_CREAT, 0o666)
    os.mkdir("open/d", 0o777)
    for kind in "fd":
        see.value(kind, _mode(f"open/{kind}"))


@case
def acls_grant_and_deny(see: See) -> None:
    value = acl(("u::", 6), ("g::", 0), ("u", OTHER, 6), ("g", GROUP, 4), ("m", 6), ("o", 0))
    os.setxattr("file", "system.posix_acl_access", value)
    see.value("mode", _mode("file"))
    for flags in (os.O_RDONLY, os.O_RDWR):
        see.by(OTHER, f"named user {flags}", _open, "file", flags)
        see.by(USER, f"stranger {flags}", _open, "file", flags)
        see.by(USER, f"named group {flags}", _open, "file", flags, groups=(GROUP,))
    os.chmod("file", 0o640)  # the mask
    see.value("masked", os.getxattr("file", "system.posix_acl_access"))
    see.by(OTHER, "masked user", _open, "file", os.O_RDWR)
    see("remove", os.removexattr, "file", "system.posix_acl_access")
    see.value("left", _acls("file"))
    see.by(OTHER, "no list", _open, "file", os.O_RDONLY)
    see.by(OTHER, "set by other", os.setxattr, "file", "system.posix_acl_access", value)
    see("default on a file", os.setxattr, "file", "system.posix_acl_default", value)
    see("invalid", os.setxattr, "file", "system.posix_acl_access", value[:-3])
    see(
        "minimal",
        os.setxattr,
        "file",
        "system.posix_acl_access",
        acl(("u::", 7), ("g::", 5), ("o", 1)),
    )
    see.value("at last", (_mode("file"), _acls("file")))


@case
def setting_times(see: See) -> None:
    os.chmod("mine", 0o666)
    past, now, omit = (77, 5), (0, UTIME_NOW), (0, UTIME_OMIT)
    for who in (USER, OTHER):
        for label, times in (
            ("now", (now, now)), ("past", (past, past)), ("omit", (omit, omit)),
            ("mixed", (now, omit)), ("atime", (past, omit)), ("mtime", (omit, past)),
        ):  # fmt: skip
            see.by(who, f"{who} {label}", utimensat, "mine", *times)
    os.chmod("mine", 0o644)
    see.by(OTHER, "now without the right to write", utimensat, "mine", now, now)
    see.by(OTHER, "omit without any right", utimensat, "mine", omit, omit)


@case
def names_need_the_directory(see: See) -> None:
    os.chmod("dir", 0o755)
    for label, work in (
        ("create", lambda: _open("dir/n", os.O_CREAT)),
        ("mkdir", lambda: os.mkdir("dir/n")),
        ("unlink", lambda: os.unlink("dir/inner")),
        ("rename", lambda: os.rename("dir/inner", "open/n")),
        ("link", lambda: os.link("mine", "dir/n")),
        ("rmdir", lambda: os.rmdir("empty")),
        ("symlink", lambda: os.symlink("x", "dir/n")),
    ):
        see.by(USER, label, work)
    for mode in (0o444, 0o111, 0o000):
        os.chmod("dir", mode)
        see.by(USER, f"list {mode:o}", lambda: sorted(os.listdir("dir")))
        see.by(USER, f"lookup {mode:o}", lambda: os.stat("dir/inner").st_size)
        see.by(USER, f"missing {mode:o}", lambda: os.stat("dir/missing").st_size)


@case
def what_is_searched_was_allowed_before(see: See) -> None:
    """Nothing that the kernel remembers of a directory outlives a change of its mode."""
    path = "open/deep/er"
    os.makedirs(path)
    _open(f"{path}/f", os.O_CREAT)
    see.by(OTHER, "before", lambda: os.stat(f"{path}/f").st_size)
    os.chmod("open/deep", 0o700)
    see.by(OTHER, "closed", lambda: os.stat(f"{path}/f").st_size)
    os.chmod("open/deep", 0o755)
    see.by(OTHER, "opened", lambda: os.stat(f"{path}/f").st_size)
