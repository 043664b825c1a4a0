"""The operations of the matrix: everything that changes a file, or nearly does, by system call.

A literal table. Out of scope: in which situation and of which kind the subject is
(``cells``), and what must be true afterwards (``matrix``).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.builders import TIME
from tests.cow.actions import (
    after_unlink,
    append,
    by_descriptor,
    by_older_descriptor,
    chmod_by_path_descriptor,
    chown_by_path_descriptor,
    cut,
    fallocating,
    from_source,
    in_turn,
    link_of_descriptor,
    map_and_strip,
    rename_while_open,
    reopen,
    reopen_and_cut,
    replace_as_editors_do,
    seen_by_readers,
    splice,
    times,
    unprivileged,
    untimed,
    utime,
    utime_by,
    write,
    write_direct,
    write_through_map,
    write_to_private_map,
)
from tests.cow.cells import (
    DEVICE,
    FIFO,
    FILE,
    FILES,
    FRIEND,
    GROUP,
    KINDS,
    MODE,
    OTHER_GROUP,
    OWNER,
    PLAIN,
    SYMLINK,
    acl,
    capability,
)
from tests.cow.syscalls import (
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    FALLOC_COLLAPSE_RANGE,
    FALLOC_INSERT_RANGE,
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_ZERO_RANGE,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
    UTIME_NOW,
    UTIME_OMIT,
    fchmodat2,
    file_setattr,
    linkat,
    renameat2,
    sync_file_range,
    utimensat,
)

if TYPE_CHECKING:
    from tests.cow.actions import Action

_FICLONE: Final = 0x40049409
_FICLONERANGE: Final = 0x4020940D
_FS_IOC_SETFLAGS: Final = 0x40086602
_FS_IOC_FSSETXATTR: Final = 0x401C5820
_EXT4_IOC_SETVERSION: Final = 0x40086604
_NODUMP: Final = 0x40
_FSX_NODUMP: Final = 0x80

_READ: Final = os.O_RDONLY
_WRITE: Final = os.O_WRONLY
_BOTH: Final = os.O_RDWR
_ACL: Final = "system.posix_acl_access"
_CAPABILITY: Final = "security.capability"
_NEW_ACL: Final = acl(friend=6, group=4, mask=7, other=0)
_TIMES: Final = ((1_500_000_000, 1), (1_500_000_000, 2))


@dataclass(frozen=True, slots=True)
class Operation:
    """``act`` is done in a cell of each of ``kinds``.

    ``refused`` is the errno of the mount where ext4 does it. ``keeps`` says that no inode
    is changed, so that none may be copied. ``on_plain`` is what the mount is known to do
    instead, in the words of ext4.
    """

    name: str
    act: Action
    kinds: tuple[str, ...] = FILES
    refused: int = 0
    keeps: bool = False
    on_plain: Action | None = None

    def __str__(self) -> str:
        return self.name


_NOT_SYMLINK: Final = (*FILES, FIFO, DEVICE)

OPENING: Final = (
    Operation("open O_RDONLY", by_descriptor(_READ), keeps=True),
    Operation("open O_WRONLY", by_descriptor(_WRITE)),
    Operation("open O_RDWR", by_descriptor(_BOTH)),
    Operation("open O_RDONLY|O_TRUNC", by_descriptor(_READ | os.O_TRUNC)),
    Operation("open O_WRONLY|O_TRUNC", by_descriptor(_WRITE | os.O_TRUNC, write(b"new"))),
    Operation("open O_RDWR|O_TRUNC", by_descriptor(_BOTH | os.O_TRUNC)),
    Operation("open O_CREAT", by_descriptor(_WRITE | os.O_CREAT, write(b"created"))),
    Operation("open O_CREAT|O_EXCL", by_descriptor(_WRITE | os.O_CREAT | os.O_EXCL),
              KINDS, keeps=True),
    Operation("open O_TRUNC through a symlink",
              by_descriptor(_WRITE | os.O_TRUNC, write(b"cut"), via="link")),
    Operation("open O_TRUNC of a symlink to it",
              by_descriptor(_WRITE | os.O_TRUNC, write(b"cut")), (SYMLINK,)),
    Operation("open O_TRUNC|O_NOFOLLOW of a symlink",
              by_descriptor(_WRITE | os.O_TRUNC | os.O_NOFOLLOW, via="link"), keeps=True),
    Operation("open O_TRUNC by the owner", unprivileged(by_descriptor(_WRITE | os.O_TRUNC))),
    Operation("open O_WRONLY by one who may not",
              unprivileged(by_descriptor(_WRITE), uid=FRIEND), keeps=True),
    Operation("open O_TRUNC of no regular file",
              by_descriptor(_BOTH | os.O_TRUNC | os.O_NONBLOCK), (FIFO, DEVICE), keeps=True),
)  # fmt: skip

WRITING: Final = (
    Operation("write", by_descriptor(_WRITE, write(b"written", 17_000))),
    Operation("write into a hole", by_descriptor(_WRITE, write(b"written", 5_000))),
    Operation("write past the end", by_descriptor(_WRITE, write(b"written", 50_000))),
    Operation("write O_APPEND", by_descriptor(_WRITE | os.O_APPEND, append)),
    Operation("write O_DSYNC", by_descriptor(_WRITE | os.O_DSYNC, write(b"durable"))),
    Operation("write O_DIRECT", by_descriptor(_BOTH | os.O_DIRECT, write_direct)),
    Operation("write through a symlink", by_descriptor(_WRITE, write(b"written"), via="link")),
    Operation("write by the other name", by_descriptor(_WRITE, write(b"it"), via="other_name")),
    Operation("write by the owner", unprivileged(by_descriptor(_WRITE, write(b"written")))),
    Operation("write by an older descriptor", by_older_descriptor(write(b"written"))),
    Operation("read after a write by an older descriptor",
              seen_by_readers(by_older_descriptor(write(b"written", 3)))),
    Operation("pwritev", by_descriptor(_WRITE, lambda fd: os.pwritev(fd, [b"a", b"b"], 9))),
    Operation("writev", by_descriptor(_WRITE, lambda fd: os.writev(fd, [b"a", b"b"]))),
    Operation("mmap MAP_SHARED", by_descriptor(_BOTH, write_through_map),
              on_plain=by_descriptor(_BOTH, map_and_strip)),
    Operation("mmap MAP_SHARED by an older descriptor", by_older_descriptor(write_through_map)),
    Operation("mmap MAP_PRIVATE", by_descriptor(_READ, write_to_private_map), keeps=True),
    Operation("copy_file_range",
              from_source(lambda s, t: os.copy_file_range(s, t, 5000, 100, 16_500))),
    Operation("sendfile", from_source(lambda s, t: os.sendfile(t, s, 10, 5000))),
    Operation("splice", from_source(splice)),
    Operation("posix_fallocate", by_descriptor(_BOTH, lambda fd: os.posix_fallocate(fd, 0, 9000))),
    Operation("sync_file_range", by_descriptor(_BOTH, write(b"w"), sync_file_range)),
    Operation("fsync, fdatasync", by_descriptor(_BOTH, write(b"w"), os.fsync, os.fdatasync)),
    Operation("read after a write by another",
              seen_by_readers(by_descriptor(_WRITE, write(b"written", 10)))),
    Operation("read after O_TRUNC by another",
              seen_by_readers(by_descriptor(_READ | os.O_TRUNC))),
    Operation("read after a write through a map",
              seen_by_readers(by_descriptor(_BOTH, write_through_map)),
              on_plain=seen_by_readers(by_descriptor(_BOTH, map_and_strip))),
    # Only the kernel knows of it, and FUSE has no word for it.
    Operation("write to a fifo", by_descriptor(_BOTH | os.O_NONBLOCK, append), (FIFO,),
              on_plain=untimed(by_descriptor(_BOTH | os.O_NONBLOCK, append))),
    Operation("write to a device", by_descriptor(_WRITE, append), (DEVICE,)),
)  # fmt: skip

CUTTING: Final = (
    Operation("truncate to less", lambda at: os.truncate(at.subject, 17_001), (*FILES, SYMLINK)),
    Operation("truncate to nothing", lambda at: os.truncate(at.subject, 0)),
    Operation("truncate to more", lambda at: os.truncate(at.subject, 60_000)),
    Operation("truncate to its size",
              lambda at: os.truncate(at.subject, os.stat(at.subject).st_size)),
    Operation("truncate through a symlink", lambda at: os.truncate(at.link, 5)),
    Operation("truncate by the owner", unprivileged(lambda at: os.truncate(at.subject, 16_500))),
    Operation("truncate of no regular file",
              lambda at: os.truncate(at.subject, 0), (FIFO, DEVICE), keeps=True),
    Operation("ftruncate", by_descriptor(_BOTH, cut(16_500))),
    Operation("ftruncate by a reader", by_descriptor(_READ, cut(5)), keeps=True),
    Operation("ftruncate by an older descriptor", by_older_descriptor(cut(16_390))),
    Operation("read after truncate", seen_by_readers(lambda at: os.truncate(at.subject, 7))),
)  # fmt: skip

ATTRIBUTES: Final = (
    Operation("chmod", lambda at: os.chmod(at.subject, 0o4640), KINDS),
    Operation("chmod to its mode", lambda at: os.chmod(at.subject, MODE)),
    Operation("chmod through a symlink", lambda at: os.chmod(at.link, 0o600), _NOT_SYMLINK),
    Operation("chmod by the owner", unprivileged(lambda at: os.chmod(at.subject, 0o2640))),
    Operation("chmod by one who may not",
              unprivileged(lambda at: os.chmod(at.subject, 0o640), uid=FRIEND),
              _NOT_SYMLINK, keeps=True),
    Operation("fchmod", by_descriptor(_READ, lambda fd: os.fchmod(fd, 0o600))),
    Operation("fchmod by an older descriptor",
              by_older_descriptor(lambda fd: os.fchmod(fd, 0o604))),
    Operation("fchmodat2 AT_SYMLINK_NOFOLLOW",
              lambda at: fchmodat2(at.subject, 0o600, AT_SYMLINK_NOFOLLOW), KINDS),
    Operation("chmod of an O_PATH descriptor", chmod_by_path_descriptor, KINDS),
    Operation("fstat by a reader after chmod",
              seen_by_readers(lambda at: os.chmod(at.subject, 0o4600))),
    Operation("chown", lambda at: os.chown(at.subject, 11, 12), KINDS),
    Operation("chown of the user", lambda at: os.chown(at.subject, 11, -1), KINDS),
    Operation("chown of the group", lambda at: os.chown(at.subject, -1, 12), KINDS),
    Operation("chown of neither", lambda at: os.chown(at.subject, -1, -1), KINDS),
    Operation("chown to its owner", lambda at: os.chown(at.subject, OWNER, GROUP)),
    Operation("chown through a symlink", lambda at: os.chown(at.link, 11, 12)),
    Operation("chown by the owner",
              unprivileged(lambda at: os.chown(at.subject, -1, OTHER_GROUP)), (*FILES, FIFO)),
    Operation("chown by one who may not",
              unprivileged(lambda at: os.lchown(at.subject, -1, 0)), KINDS, keeps=True),
    Operation("lchown", lambda at: os.lchown(at.subject, 13, 14), KINDS),
    Operation("fchown", by_descriptor(_READ, lambda fd: os.fchown(fd, 15, 16))),
    Operation("fchown by an older descriptor",
              by_older_descriptor(lambda fd: os.fchown(fd, 15, 16))),
    Operation("chown of an O_PATH descriptor", chown_by_path_descriptor, KINDS),
    Operation("utimensat", utime(follow=True), KINDS),
    Operation("utimensat AT_SYMLINK_NOFOLLOW", utime(follow=False), KINDS),
    Operation("utimensat through a symlink",
              lambda at: os.utime(at.link, ns=(TIME - 1, TIME - 2))),
    Operation("utimensat UTIME_NOW", in_turn(
        lambda at: os.utime(at.subject), lambda at: times(at.subject)), _NOT_SYMLINK),
    Operation("utimensat UTIME_OMIT of the access",
              lambda at: utimensat(at.subject, (0, UTIME_OMIT), _TIMES[1]), KINDS),
    Operation("utimensat UTIME_OMIT of the modification",
              in_turn(lambda at: utimensat(at.subject, _TIMES[0], (0, UTIME_OMIT)),
                      lambda at: times(at.subject)), _NOT_SYMLINK),
    Operation("utimensat UTIME_OMIT of both",
              lambda at: utimensat(at.subject, (0, UTIME_OMIT), (0, UTIME_OMIT)),
              KINDS, keeps=True),
    Operation("utimensat UTIME_NOW and a time",
              lambda at: utimensat(at.subject, _TIMES[0], (0, UTIME_NOW))),
    Operation("utimensat by the owner", unprivileged(utime(follow=False)), KINDS),
    Operation("futimens", by_descriptor(_READ, utime_by)),
    Operation("futimens by an older descriptor", by_older_descriptor(utime_by)),
)  # fmt: skip

EXTENDED: Final = (
    Operation("setxattr", lambda at: os.setxattr(at.subject, "user.new", b"1"), KINDS),
    Operation("setxattr trusted", lambda at: os.setxattr(at.subject, "trusted.n", b"1"), KINDS),
    Operation("setxattr through a symlink", lambda at: os.setxattr(at.link, "user.n", b"1")),
    Operation("setxattr XATTR_REPLACE",
              lambda at: os.setxattr(at.subject, "user.kept", b"2", os.XATTR_REPLACE)),
    Operation("setxattr XATTR_REPLACE of what is absent",
              lambda at: os.setxattr(at.subject, "user.no", b"2", os.XATTR_REPLACE), keeps=True),
    Operation("setxattr XATTR_CREATE",
              lambda at: os.setxattr(at.subject, "user.new", b"", os.XATTR_CREATE)),
    Operation("setxattr XATTR_CREATE of what is there",
              lambda at: os.setxattr(at.subject, "user.kept", b"", os.XATTR_CREATE),
              (FILE,), keeps=True),
    Operation("setxattr of too much",
              lambda at: os.setxattr(at.subject, "user.large", bytes(60_000))),
    Operation("setxattr by one who may not",
              unprivileged(lambda at: os.setxattr(at.subject, "user.kept", b"2"), uid=FRIEND),
              _NOT_SYMLINK, keeps=True),
    Operation("lsetxattr", lambda at: os.setxattr(at.subject, "trusted.kept", b"replaced",
                                                  follow_symlinks=False), KINDS),
    Operation("fsetxattr", by_descriptor(_READ, lambda fd: os.setxattr(fd, "user.new", b"1"))),
    Operation("fsetxattr by an older descriptor",
              by_older_descriptor(lambda fd: os.setxattr(fd, "user.new", b"1"))),
    Operation("removexattr", lambda at: os.removexattr(at.subject, "user.kept")),
    Operation("removexattr of what is absent",
              lambda at: os.removexattr(at.subject, "trusted.no", follow_symlinks=False),
              KINDS, keeps=True),
    Operation("removexattr through a symlink", lambda at: os.removexattr(at.link, "user.kept")),
    Operation("lremovexattr",
              lambda at: os.removexattr(at.subject, "trusted.kept", follow_symlinks=False), KINDS),
    Operation("fremovexattr",
              by_descriptor(_READ, lambda fd: os.removexattr(fd, "user.kept"))),
    Operation("set an access control list",
              lambda at: os.setxattr(at.subject, _ACL, _NEW_ACL), KINDS),
    Operation("set an access control list by the owner",
              unprivileged(lambda at: os.setxattr(at.subject, _ACL, _NEW_ACL)), _NOT_SYMLINK),
    Operation("set an access control list by one who may not",
              unprivileged(lambda at: os.setxattr(at.subject, _ACL, _NEW_ACL), uid=FRIEND),
              keeps=True),
    Operation("set a default access control list", lambda at: os.setxattr(
        at.subject, "system.posix_acl_default", _NEW_ACL), keeps=True),
    Operation("remove the access control list",
              lambda at: os.removexattr(at.subject, _ACL), _NOT_SYMLINK),
    Operation("set a capability",
              lambda at: os.setxattr(at.subject, _CAPABILITY, capability(12)), _NOT_SYMLINK),
    Operation("write, set a capability, then write", in_turn(
        by_descriptor(_WRITE, write(b"1")),
        lambda at: os.setxattr(at.subject, _CAPABILITY, capability(12)),
        by_descriptor(_WRITE, write(b"2")))),
    Operation("remove the capability", lambda at: os.removexattr(at.subject, _CAPABILITY)),
    Operation("fgetxattr by a reader after setxattr",
              seen_by_readers(lambda at: os.setxattr(at.subject, "user.new", b"1"))),
)  # fmt: skip

NAMES: Final = (
    Operation("link", lambda at: os.link(at.subject, at.fresh, follow_symlinks=False), KINDS),
    Operation("link of the other name", lambda at: os.link(at.other_name, at.fresh_below)),
    Operation("link over a name", lambda at: os.link(at.subject, at.victim, follow_symlinks=False),
              KINDS, keeps=True),
    Operation("linkat AT_SYMLINK_FOLLOW", lambda at: linkat(at.link, at.fresh, AT_SYMLINK_FOLLOW)),
    Operation("linkat of a descriptor", link_of_descriptor, KINDS),
    Operation("link, then write by the new name", in_turn(
        lambda at: os.link(at.subject, at.fresh),
        by_descriptor(_WRITE, write(b"by the new name"), via="fresh"))),
    Operation("link, then unlink the first", in_turn(
        lambda at: os.link(at.subject, at.fresh), lambda at: os.unlink(at.subject),
        lambda at: os.chmod(at.fresh, 0o600))),
    Operation("rename", lambda at: os.rename(at.subject, at.fresh), KINDS, keeps=True),
    Operation("rename into another directory",
              lambda at: os.rename(at.subject, at.fresh_below), KINDS, keeps=True),
    Operation("rename over", lambda at: os.rename(at.subject, at.victim), KINDS, keeps=True),
    Operation("rename over its other name",
              lambda at: os.rename(at.subject, at.other_name), KINDS, keeps=True),
    Operation("rename over, then change", in_turn(
        lambda at: os.rename(at.victim, at.subject), lambda at: os.lchown(at.subject, 3, 4)),
        KINDS),
    Operation("rename, then write", in_turn(
        lambda at: os.rename(at.subject, at.fresh_below),
        by_descriptor(_WRITE, write(b"moved"), via="fresh_below"))),
    Operation("rename what is open, then write", rename_while_open),
    Operation("rename a new file over", replace_as_editors_do),
    Operation("renameat2 RENAME_NOREPLACE",
              lambda at: renameat2(at.subject, at.fresh, RENAME_NOREPLACE), KINDS, keeps=True),
    Operation("renameat2 RENAME_NOREPLACE over a name",
              lambda at: renameat2(at.subject, at.victim, RENAME_NOREPLACE), KINDS, keeps=True),
    Operation("renameat2 RENAME_EXCHANGE",
              lambda at: renameat2(at.subject, at.source, RENAME_EXCHANGE), KINDS, keeps=True),
    Operation("renameat2 RENAME_EXCHANGE, then change", in_turn(
        lambda at: renameat2(at.subject, at.victim, RENAME_EXCHANGE),
        lambda at: os.lchown(at.subject, 3, 4)), KINDS),
    Operation("unlink", lambda at: os.unlink(at.subject), KINDS, keeps=True),
    Operation("unlink of the other name", lambda at: os.unlink(at.other_name), KINDS, keeps=True),
    Operation("unlink one, then change the other", in_turn(
        lambda at: os.link(at.subject, at.fresh, follow_symlinks=False),
        lambda at: os.unlink(at.subject), lambda at: os.lchown(at.fresh, 3, 4)), KINDS),
    Operation("rmdir", lambda at: os.rmdir(at.subject), KINDS, keeps=True),
    Operation("mknod over a name", lambda at: os.mknod(at.subject), KINDS, keeps=True),
    Operation("mkdir over a name", lambda at: os.mkdir(at.subject), KINDS, keeps=True),
    Operation("symlink over a name", lambda at: os.symlink("x", at.subject), KINDS, keeps=True),
)  # fmt: skip

UNLINKED: Final = (
    Operation("unlinked, read", after_unlink(_READ), keeps=True),
    Operation("unlinked, write", after_unlink(_BOTH, write(b"written"))),
    Operation("unlinked, ftruncate", after_unlink(_BOTH, cut(100))),
    Operation("unlinked, fchmod", after_unlink(_READ, lambda fd: os.fchmod(fd, 0o600))),
    Operation("unlinked, fchown", after_unlink(_READ, lambda fd: os.fchown(fd, 8, 9))),
    Operation("unlinked, futimens", after_unlink(_READ, utime_by)),
    Operation(
        "unlinked, fsetxattr", after_unlink(_READ, lambda fd: os.setxattr(fd, "user.new", b"1"))
    ),
    Operation(
        "unlinked, fremovexattr", after_unlink(_READ, lambda fd: os.removexattr(fd, "user.kept"))
    ),
    Operation("unlinked, opened again to write", after_unlink(_READ, reopen)),
    Operation("unlinked, opened again to cut off", after_unlink(_READ, reopen_and_cut)),
    Operation("unlinked, mapped", after_unlink(_BOTH, write_through_map),
              on_plain=after_unlink(_BOTH, map_and_strip)),
)  # fmt: skip

# What the guard does not know. The first fallocate(2) of a mount takes capabilities away
# before it is refused, so it is tried where there are none.
REFUSED: Final = (
    Operation("fallocate", fallocating(0), (PLAIN,), refused=errno.EOPNOTSUPP),
    Operation("fallocate KEEP_SIZE", fallocating(FALLOC_KEEP_SIZE), (PLAIN,),
              refused=errno.EOPNOTSUPP),
    Operation("fallocate PUNCH_HOLE", fallocating(FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE), (PLAIN,),
              refused=errno.EOPNOTSUPP),
    Operation("fallocate ZERO_RANGE", fallocating(FALLOC_ZERO_RANGE), (PLAIN,),
              refused=errno.EOPNOTSUPP),
    Operation("fallocate COLLAPSE_RANGE", fallocating(FALLOC_COLLAPSE_RANGE), (PLAIN,),
              refused=errno.EOPNOTSUPP),
    Operation("fallocate INSERT_RANGE", fallocating(FALLOC_INSERT_RANGE), (PLAIN,),
              refused=errno.EOPNOTSUPP),
    Operation("O_TMPFILE", lambda at: os.close(os.open(at.root, os.O_TMPFILE | _BOTH)),
              refused=errno.EOPNOTSUPP, keeps=True),
    Operation("renameat2 RENAME_WHITEOUT",
              lambda at: renameat2(at.subject, at.fresh, RENAME_WHITEOUT), KINDS,
              refused=errno.EINVAL, keeps=True),
    Operation("FICLONE", from_source(lambda s, t: fcntl.ioctl(t, _FICLONE, s)),
              refused=errno.EOPNOTSUPP),
    Operation("FICLONERANGE", from_source(lambda s, t: fcntl.ioctl(
        t, _FICLONERANGE, struct.pack("qQQQ", s, 0, 4096, 0))), refused=errno.EOPNOTSUPP),
    Operation("FS_IOC_SETFLAGS", by_descriptor(_READ, lambda fd: fcntl.ioctl(
        fd, _FS_IOC_SETFLAGS, struct.pack("l", _NODUMP))), refused=errno.ENOTTY, keeps=True),
    Operation("FS_IOC_FSSETXATTR", by_descriptor(_READ, lambda fd: fcntl.ioctl(
        fd, _FS_IOC_FSSETXATTR, struct.pack("I24x", _FSX_NODUMP))),
        refused=errno.ENOTTY, keeps=True),
    Operation("EXT4_IOC_SETVERSION", by_descriptor(_READ, lambda fd: fcntl.ioctl(
        fd, _EXT4_IOC_SETVERSION, struct.pack("l", 7))), refused=errno.ENOTTY, keeps=True),
    Operation("file_setattr", lambda at: file_setattr(at.subject, _FSX_NODUMP), KINDS,
              refused=errno.EOPNOTSUPP, keeps=True),
)  # fmt: skip

OPERATIONS: Final = (
    *OPENING, *WRITING, *CUTTING, *ATTRIBUTES, *EXTENDED, *NAMES, *UNLINKED, *REFUSED,
)  # fmt: skip
BY_NAME: Final = {operation.name: operation for operation in OPERATIONS}
