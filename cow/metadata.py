"""Requests about what an inode has beside its content: attributes and extended attributes."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pyfuse3
from pyfuse3 import FUSEError

from cow.answers import Requests, answered

if TYPE_CHECKING:
    from pyfuse3 import EntryAttributes

    from cow.nodes import Node

_ACCESS_LIST: Final = b"system.posix_acl_access"
_ACCESS_LISTS: Final = (_ACCESS_LIST, b"system.posix_acl_default")
_FIELDS: Final = tuple(
    f"update_{one}" for one in ("size", "mode", "uid", "gid", "atime", "mtime", "ctime")
)
_CAPABILITY: Final = b"security.capability"


def _may_setgid(ctx: pyfuse3.RequestContext, gid: int) -> bool:
    """Return whether the caller is in the group; one who is gone already is in his first alone."""
    if ctx.uid == 0 or ctx.gid == gid:
        return True
    with suppress(OSError):
        return gid in pyfuse3.get_sup_groups(ctx.pid)
    return False


class MetadataRequests(Requests):
    """What FUSE asks of metadata, with truncation, which it counts among that."""

    @answered
    def getattr(self, number: int, _: object) -> EntryAttributes:
        """stat(2)."""
        node = self.tree.node(number)
        return node.facts or self.attributes(node, self.tree.stat(node))

    @answered
    async def setattr(
        self,
        number: int,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        _: object,
        ctx: pyfuse3.RequestContext,
    ) -> EntryAttributes:
        """truncate(2), chown(2), chmod(2), utimensat(2): each changes what later ones set.

        A request to set nothing is chown(2) of nothing, which dates the inode, or comes
        before a write that takes setgid away where the kernel's FUSE knows no rule for it,
        or a capability, which the kernel asks for besides.
        """
        node = self.tree.node(number)
        keep = attr.st_size if fields.update_size else None
        nothing = not any(getattr(fields, one) for one in _FIELDS)
        if nothing and node.writer < 0:
            self._refuse_stranger(node, ctx)
        await self.breaker.make_private(node, keep=keep)
        node.changed()
        if fields.update_size:
            self._truncate(node, attr.st_size)
        if fields.update_uid or fields.update_gid:
            uid = attr.st_uid if fields.update_uid else -1
            gid = attr.st_gid if fields.update_gid else -1
            dir_fd, name, follow = self.tree.where(node)
            os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=follow)
        if fields.update_size or nothing:
            self._strip(node, ctx)
        if fields.update_mode:
            self._set_mode(node, attr.st_mode, ctx)
        if fields.update_atime or fields.update_mtime or nothing:
            self._set_times(node, attr, fields)
        return self.attributes(node, self.tree.stat(node))

    def _truncate(self, node: Node, size: int) -> None:
        if node.writer >= 0:
            os.ftruncate(node.writer, size)
            return
        fd = self.tree.open(node, os.O_WRONLY)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    def _strip(self, node: Node, ctx: pyfuse3.RequestContext) -> None:
        """Take setuid and setgid away when content changes, as inode(7) says."""
        if ctx.uid == 0 or not node.strips:
            return
        status = self.tree.stat(node)
        mode = status.st_mode
        gone = stat.S_ISUID
        if mode & stat.S_IXGRP or not _may_setgid(ctx, status.st_gid):
            gone |= stat.S_ISGID
        if mode & gone:
            self._chmod(node, stat.S_IMODE(mode & ~gone))

    def _refuse_stranger(self, node: Node, ctx: pyfuse3.RequestContext) -> None:
        """Refuse chown(2) of nothing to who is not the owner, where it would take setgid away."""
        status = self.tree.stat(node)
        mode = status.st_mode
        if ctx.uid in (0, status.st_uid) or stat.S_ISDIR(mode) or not mode & stat.S_ISGID:
            return
        if not _may_setgid(ctx, status.st_gid):
            raise FUSEError(errno.EPERM)

    def _set_mode(self, node: Node, mode: int, ctx: pyfuse3.RequestContext) -> None:
        """chmod(2), where setgid needs the group: a write by a stranger asks for this, too."""
        if mode & stat.S_ISGID and not _may_setgid(ctx, self.tree.stat(node).st_gid):
            mode &= ~stat.S_ISGID
        self._chmod(node, stat.S_IMODE(mode))

    def _chmod(self, node: Node, mode: int) -> None:
        fd = self.tree.open(node, os.O_PATH)
        try:
            os.chmod(b"/proc/self/fd/%d" % fd, mode)  # a symlink has no mode: EOPNOTSUPP
        finally:
            os.close(fd)

    def _set_times(self, node: Node, attr: EntryAttributes, fields: pyfuse3.SetattrFields) -> None:
        now = self.tree.stat(node)
        times = (
            attr.st_atime_ns if fields.update_atime else now.st_atime_ns,
            attr.st_mtime_ns if fields.update_mtime else now.st_mtime_ns,
        )
        dir_fd, name, follow = self.tree.where(node)
        os.utime(name, ns=times, dir_fd=dir_fd, follow_symlinks=follow)

    @answered
    def statfs(self, _: object) -> pyfuse3.StatvfsData:
        """statvfs(3) of the filesystem below."""
        below = os.fstatvfs(self.tree.root_fd)
        found = pyfuse3.StatvfsData()
        for field in ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail"):
            setattr(found, f"f_{field}", getattr(below, f"f_{field}"))
        found.f_namemax = below.f_namemax
        return found

    @answered
    def getxattr(self, number: int, name: bytes, _: object) -> bytes:
        """getxattr(2)."""
        node = self.tree.node(number)
        if name == _CAPABILITY and node.plain:
            raise FUSEError(errno.ENODATA)  # before each write the kernel asks for it
        where = self.tree.where(node)
        try:
            return os.getxattr(where.path, name, follow_symlinks=where.follow)
        except OSError as error:
            node.plain |= name == _CAPABILITY and error.errno == errno.ENODATA
            raise

    @answered
    def listxattr(self, number: int, ctx: pyfuse3.RequestContext) -> list[bytes]:
        """listxattr(2); who is not root is shown no trusted ones."""
        where = self.tree.where(self.tree.node(number))
        names = os.listxattr(where.path, follow_symlinks=where.follow)
        return [os.fsencode(one) for one in names if ctx.uid == 0 or not one.startswith("trusted.")]

    @answered
    async def setxattr(
        self, number: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        """setxattr(2); an access control list is a mode, and setgid needs the group."""
        node = self.tree.node(number)
        await self.breaker.make_private(node)
        node.changed()
        node.plain = False
        where = self.tree.where(node)
        os.setxattr(where.path, name, value, follow_symlinks=where.follow)
        if name == _ACCESS_LIST and node.strips:
            self._set_mode(node, self.tree.stat(node).st_mode, ctx)

    @answered
    async def removexattr(self, number: int, name: bytes, _: object) -> None:
        """removexattr(2); where there is none nothing is broken."""
        node = self.tree.node(number)
        where = self.tree.where(node)
        try:
            os.getxattr(where.path, name, follow_symlinks=where.follow)
        except OSError as error:
            if error.errno == errno.ENODATA and name in _ACCESS_LISTS:
                return  # setting the access control list to none, which it is
            raise
        await self.breaker.make_private(node)
        node.changed()
        where = self.tree.where(node)
        os.removexattr(where.path, name, follow_symlinks=where.follow)
