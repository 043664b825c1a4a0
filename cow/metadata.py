"""Requests about what an inode has beside its content: attributes and extended attributes."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

import pyfuse3
from pyfuse3 import FUSEError

from cow.answers import SPECIAL, Requests, answered

if TYPE_CHECKING:
    from pyfuse3 import EntryAttributes

    from cow.nodes import Node

_ACLS: Final = (b"system.posix_acl_access", b"system.posix_acl_default")


_CAPABILITY: Final = b"security.capability"


class MetadataRequests(Requests):
    """What FUSE asks of metadata, with truncation, which it counts among that."""

    @answered
    def getattr(self, number: int, _: object) -> EntryAttributes:
        """stat(2)."""
        node = self.tree.node(number)
        return self.attributes(node, self.tree.stat(node))

    @answered
    async def setattr(
        self,
        number: int,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        handle: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> EntryAttributes:
        """truncate(2), chown(2), chmod(2), utimensat(2): each changes what later ones set."""
        node = self.tree.node(number)
        keep = attr.st_size if fields.update_size else None
        await self.breaker.make_private(node, keep=keep)
        node.changed()
        if fields.update_size:
            self._truncate(node, attr.st_size, handle)
            self._strip(node, privileged=ctx.uid == 0)
        where = self.tree.where(node)
        if fields.update_uid or fields.update_gid:
            uid = attr.st_uid if fields.update_uid else -1
            gid = attr.st_gid if fields.update_gid else -1
            dir_fd, name, follow = where
            os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=follow)
        if fields.update_mode:
            self._chmod(node, stat.S_IMODE(attr.st_mode))
        if fields.update_atime or fields.update_mtime:
            self._set_times(node, attr, fields)
        status = self.tree.stat(node)
        node.strips = status.st_mode & SPECIAL != 0
        return self.attributes(node, status)

    def _truncate(self, node: Node, size: int, handle: int | None) -> None:
        fd = handle if handle is not None and handle == node.writer else node.writer
        if fd >= 0:
            os.ftruncate(fd, size)
            return
        fd = self.tree.open(node, os.O_WRONLY)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    def _strip(self, node: Node, *, privileged: bool) -> None:
        """Take setuid and setgid away after a write, as inode(7) says, of a file that has them."""
        if privileged or not node.strips:
            return
        mode = self.tree.stat(node).st_mode
        gone = stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0)
        if mode & gone:
            self._chmod(node, stat.S_IMODE(mode & ~gone))

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
    def listxattr(self, number: int, _: object) -> list[bytes]:
        """listxattr(2)."""
        where = self.tree.where(self.tree.node(number))
        return [os.fsencode(one) for one in os.listxattr(where.path, follow_symlinks=where.follow)]

    @answered
    async def setxattr(self, number: int, name: bytes, value: bytes, _: object) -> None:
        """setxattr(2)."""
        node = self.tree.node(number)
        await self.breaker.make_private(node)
        node.changed()
        node.plain = False
        where = self.tree.where(node)
        os.setxattr(where.path, name, value, follow_symlinks=where.follow)

    @answered
    async def removexattr(self, number: int, name: bytes, _: object) -> None:
        """removexattr(2); where there is none nothing is broken."""
        node = self.tree.node(number)
        where = self.tree.where(node)
        try:
            os.getxattr(where.path, name, follow_symlinks=where.follow)
        except OSError as error:
            if error.errno == errno.ENODATA and name in _ACLS:
                return  # setting the access control list to none, which it is
            raise
        await self.breaker.make_private(node)
        node.changed()
        where = self.tree.where(node)
        os.removexattr(where.path, name, follow_symlinks=where.follow)
