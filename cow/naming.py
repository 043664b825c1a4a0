"""Requests about names: they are found, made, moved and removed, and the tree is told.

What a name leads to is not changed by that; only ``link`` changes an inode.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, FUSEError

from cow.answers import FOREVER, SPECIAL, Requests, answered
from rootman.fsops import rename_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cow.nodes import Node

_log: Final = logging.getLogger(__name__)

_RENAMES: Final = pyfuse3.RENAME_EXCHANGE | pyfuse3.RENAME_NOREPLACE


def _absent() -> EntryAttributes:
    nothing = EntryAttributes()
    nothing.st_ino = 0
    nothing.entry_timeout = FOREVER
    return nothing


_ABSENT: Final = _absent()


class NameRequests(Requests):
    """What FUSE asks of names."""

    @answered
    def lookup(self, parent: int, name: bytes, _: object) -> EntryAttributes:
        """Say what stands under a name; that nothing does is remembered, too."""
        tree = self.tree
        above = tree.node(parent)
        if name in (b".", b".."):  # of an NFS server only
            node = above if name == b"." else above.parent or tree.nodes.root
            status = tree.stat(node)
        else:
            try:
                node, status = tree.look(above, name)
            except FileNotFoundError:
                return _ABSENT
        node.lookups += 1
        return self.attributes(node, status)

    async def forget(self, forgotten: Iterable[tuple[int, int]]) -> None:
        """Take back what the kernel was told of nodes."""
        try:
            for number, lookups in forgotten:
                self.tree.nodes.forget(number, lookups)
        except Exception:  # noqa: BLE001 - any other would end the mount
            _log.exception("a bug in the guard, in forget")

    def _found(self, parent: Node, name: bytes, status: os.stat_result) -> EntryAttributes:
        """Return what is to be said of an entry that was just made."""
        parent.renamed()
        node = self.tree.nodes.at(parent, name, status.st_ino)
        node.lookups += 1
        return self.attributes(node, status)

    @answered
    def mknod(
        self, parent: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> EntryAttributes:
        """mknod(2): fifos, sockets, devices and empty files."""
        above, dir_fd = self._directory(parent)
        os.mknod(name, mode & ~SPECIAL, rdev, dir_fd=dir_fd)
        return self._found(above, name, self._give(above, dir_fd, name, mode, ctx))

    @answered
    def mkdir(
        self, parent: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> EntryAttributes:
        """mkdir(2)."""
        above, dir_fd = self._directory(parent)
        os.mkdir(name, stat.S_IMODE(mode) & ~SPECIAL, dir_fd=dir_fd)
        return self._found(above, name, self._give(above, dir_fd, name, mode, ctx))

    @answered
    def symlink(
        self, parent: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> EntryAttributes:
        """symlink(2)."""
        above, dir_fd = self._directory(parent)
        os.symlink(target, name, dir_fd=dir_fd)
        return self._found(above, name, self._give(above, dir_fd, name, stat.S_IFLNK, ctx))

    @answered
    def create(
        self, parent: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        """open(2) with O_CREAT of a name that is free."""
        del flags
        above, dir_fd = self._directory(parent)
        how = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, how, stat.S_IMODE(mode) & ~SPECIAL, dir_fd=dir_fd)
        try:
            found = self._found(above, name, self._give(above, dir_fd, name, mode, ctx))
        except BaseException:
            os.close(fd)
            raise
        node = self.tree.node(found.st_ino)
        node.plain = True  # so far
        handle = self.files.adopt(node, fd)
        return FileInfo(fh=handle, keep_cache=True), found

    def _directory(self, number: int) -> tuple[Node, int]:
        node = self.tree.node(number)
        return node, self.tree.dir_fd(node)

    def _give(
        self, parent: Node, dir_fd: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> os.stat_result:
        """Give a new entry to the caller, or remove it: setgid directories keep their group.

        The setuid and setgid bits come last, because a change of the owner clears them.
        """
        try:
            status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            self.tree.sealed.reuse(status.st_ino)
            gid = status.st_gid if self._inherits_group(parent, ctx) else ctx.gid
            is_others = (ctx.uid, gid) != (status.st_uid, status.st_gid)
            if is_others:
                os.chown(name, ctx.uid, gid, dir_fd=dir_fd, follow_symlinks=False)
            wanted = mode & SPECIAL
            if wanted:
                os.chmod(name, stat.S_IMODE(status.st_mode) | wanted, dir_fd=dir_fd)
            if is_others or wanted:
                status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        except BaseException:
            remove = os.rmdir if stat.S_ISDIR(mode) else os.unlink
            remove(name, dir_fd=dir_fd)
            raise
        return status

    def _inherits_group(self, parent: Node, ctx: pyfuse3.RequestContext) -> bool:
        if ctx.gid == 0 and ctx.uid == 0:
            return True  # what root makes has the right group in either case
        return bool(self.tree.stat(parent).st_mode & stat.S_ISGID)

    @answered
    def unlink(self, parent: int, name: bytes, _: object) -> None:
        """unlink(2); who has the file open keeps it."""
        self._remove(parent, name, os.unlink)

    @answered
    def rmdir(self, parent: int, name: bytes, _: object) -> None:
        """rmdir(2)."""
        self._remove(parent, name, os.rmdir)

    def _remove(self, parent: int, name: bytes, remove: Callable[..., None]) -> None:
        above, dir_fd = self._directory(parent)
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        with self.tree.losing(above, name, status):
            remove(name, dir_fd=dir_fd)

    @answered
    def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, _: object
    ) -> None:
        """renameat2(2), but for whiteouts."""
        if flags & ~_RENAMES:
            raise FUSEError(errno.EINVAL)
        tree = self.tree
        old, old_fd = self._directory(parent)
        new, new_fd = self._directory(new_parent)
        moved = os.stat(name, dir_fd=old_fd, follow_symlinks=False)
        replaced = _stat_or_none(new_name, new_fd)
        if replaced is not None and replaced.st_ino == moved.st_ino:
            # Two names of one inode: rename(2) does nothing, and both stay.
            rename_with(flags, name, new_name, source_fd=old_fd, target_fd=new_fd)
            return
        exchanging = flags & pyfuse3.RENAME_EXCHANGE
        with ExitStack() as losing:
            if replaced is not None and not exchanging:
                losing.enter_context(tree.losing(new, new_name, replaced))
            rename_with(flags, name, new_name, source_fd=old_fd, target_fd=new_fd)
        tree.nodes.move_name(moved.st_ino, (old, name), (new, new_name))
        if replaced is not None and exchanging:
            tree.nodes.move_name(replaced.st_ino, (new, new_name), (old, name))

    @answered
    async def link(
        self, number: int, new_parent: int, new_name: bytes, _: object
    ) -> EntryAttributes:
        """link(2): the new name joins the group of the others."""
        tree = self.tree
        node = tree.node(number)
        # A further name of a sealed inode would change it, and belong to no other tree.
        await self.breaker.make_private(node)
        above, new_fd = self._directory(new_parent)
        dir_fd, name, follow = tree.where(node)
        os.link(name, new_name, src_dir_fd=dir_fd, dst_dir_fd=new_fd, follow_symlinks=follow)
        tree.nodes.add_name(node.inode, node, (above, new_name))
        node.lookups += 1
        return self.attributes(node, tree.stat(node))

    @answered
    def readlink(self, number: int, _: object) -> bytes:
        """readlink(2)."""
        return self.tree.readlink(self.tree.node(number))


def _stat_or_none(name: bytes, dir_fd: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
