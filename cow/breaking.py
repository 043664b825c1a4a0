"""Breaking a link: a tree gets an inode of its own before it changes one that it shares.

The copy is made under a name in the scratch directory, which is on the same filesystem
outside the tree, and renamed over the sealed inode when it is complete. What a kill or a
power cut leaves behind after each step:

| step | left behind |
|---|---|
| copy in scratch: data, owner, xattrs, mode, times | a file in scratch, removed by the next mount |
| rename over the name | nothing; the tree has the copy |
| of several: a directory with the copy, a link for each name, the paths | as after the copy |
| rename of such a link over each name | the next mount renames the others |
| the directory removed | nothing |

The data is on its way to the disk before its name is: ext4 sees to it by itself where a
file is renamed over another, shared extents need no writing, and anything else is synced.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import ExitStack, suppress
from itertools import count
from typing import TYPE_CHECKING, Final

from cow.scratch import begin_group, link_to_copy, remove

if TYPE_CHECKING:
    from cow.disk import Disk
    from cow.loop import Loop
    from cow.nodes import Node, Place
    from cow.tree import GuardedTree

_LARGE: Final = 4 << 20
"""Bytes of content from which on others are answered meanwhile."""
# A name or value that this filesystem does not take, though it gave it.
_NOT_SETTABLE: Final = (errno.EOPNOTSUPP, errno.EPERM)


class Breaker:
    """Gives the nodes of a tree inodes of their own, by way of the directory ``scratch``.

    ``ordered`` says that the filesystem writes the data of a file before the name that it
    is renamed to.
    """

    def __init__(
        self, tree: GuardedTree, disk: Disk, scratch: int, loop: Loop, *, ordered: bool
    ) -> None:
        self._tree = tree
        self._disk = disk
        self._scratch = scratch
        self._loop = loop
        self._ordered = ordered
        self._names = count(1)

    async def make_private(self, node: Node, *, keep: int | None = None) -> None:
        """Give the node an inode that no other tree has, if it has none yet.

        Of the content of a file only ``keep`` bytes are copied, if that is not None: the
        rest is about to be cut off.

        Raises:
            OSError: among others ENOSPC; the node is then as it was.
        """
        tree = self._tree
        while node.breaking:
            await self._loop.wait()
        status = tree.stat(node)
        if not tree.is_shared(node, status):
            return
        node.breaking = True
        name = b"%d" % next(self._names)
        try:
            await self._copy(node, status, name, status.st_size if keep is None else keep)
            self._commit(node, name)
        except BaseException:
            with suppress(OSError):
                self._disk.unlink(name, dir_fd=self._scratch)
            raise
        finally:
            node.breaking = False
            self._loop.resume()

    # --- the copy -----------------------------------------------------------------------

    async def _copy(self, node: Node, status: os.stat_result, name: bytes, keep: int) -> None:
        """Make the copy in scratch.

        The owner comes before xattrs and mode, because a change of it clears the
        capabilities and the setuid bit.
        """
        disk, scratch, mode = self._disk, self._scratch, status.st_mode
        if stat.S_ISREG(mode):
            await self._copy_content(node, name, status, keep)
        elif stat.S_ISLNK(mode):
            disk.symlink(self._tree.readlink(node), name, dir_fd=scratch)
        else:
            disk.mknod(name, mode, status.st_rdev, dir_fd=scratch)
        where = self._tree.where(node)  # only now: what waited may find the pool changed
        disk.chown(name, status.st_uid, status.st_gid, dir_fd=scratch)
        for attribute in os.listxattr(where.path, follow_symlinks=where.follow):
            value = os.getxattr(where.path, attribute, follow_symlinks=where.follow)
            try:
                disk.set_xattr(name, os.fsencode(attribute), value, dir_fd=scratch)
            except OSError as error:
                if error.errno not in _NOT_SETTABLE or attribute.startswith(("user.", "system.")):
                    raise
        if not stat.S_ISLNK(mode):
            disk.chmod(name, stat.S_IMODE(mode), dir_fd=scratch)
        disk.set_times(name, (status.st_atime_ns, status.st_mtime_ns), dir_fd=scratch)

    async def _copy_content(
        self, node: Node, name: bytes, status: os.stat_result, keep: int
    ) -> None:
        source = self._tree.open(node, os.O_RDONLY)
        try:
            target = self._disk.create(name, dir_fd=self._scratch)
            try:
                size = min(keep, status.st_size)

                def copy() -> None:
                    self._copy_data(source, target, size, whole=size == status.st_size)

                if size >= _LARGE:
                    await self._loop.offload(copy)
                else:
                    copy()
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _copy_data(self, source: int, target: int, size: int, *, whole: bool) -> None:
        disk = self._disk
        if size == 0:
            return
        if whole and disk.clone(source, target):
            return
        at = 0
        while at < size:
            try:
                start = os.lseek(source, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # a hole up to the end
            if start >= size:
                break
            at = min(os.lseek(source, start, os.SEEK_HOLE), size)
            disk.copy(source, target, start, at)
        disk.truncate(target, size)
        if not self._ordered:
            disk.write_out(target)

    # --- the commit ---------------------------------------------------------------------

    def _commit(self, node: Node, name: bytes) -> None:
        """Put the copy in the place of the sealed inode; nothing else is answered meanwhile."""
        tree, scratch = self._tree, self._scratch
        places = tree.nodes.places(node)
        made = os.stat(name, dir_fd=scratch, follow_symlinks=False)
        with ExitStack() as descriptors:
            # Made first, so that nothing can fail once a name is changed.
            fresh = [
                (old, self._opened(descriptors, name, _access(old)))
                for old in (node.reader, node.writer)
                if old >= 0
            ]
            if node.orphan >= 0:
                fresh.append((node.orphan, self._opened(descriptors, name, os.O_PATH)))
            if len(places) == 1:
                self._rename(name, places[0])
            elif places:
                self._rename_group(name, node, places)
            else:
                self._disk.unlink(name, dir_fd=scratch)
            for old, new in fresh:
                os.dup2(new, old, inheritable=False)
        tree.nodes.renumber(node, made.st_ino)
        tree.sealed.reuse(made.st_ino)

    def _opened(self, descriptors: ExitStack, name: bytes, flags: int) -> int:
        fd = os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._scratch)
        descriptors.callback(os.close, fd)
        return fd

    def _rename(self, name: bytes, place: Place) -> None:
        """Rename over a name, and leave the times of its directory as they were."""
        parent, there = place
        dir_fd = self._tree.dir_fd(parent)
        before = os.stat(b".", dir_fd=dir_fd)
        self._disk.rename(name, there, source_fd=self._scratch, target_fd=dir_fd)
        with suppress(OSError):  # the break is done; only the times tell of it
            self._disk.set_times(b".", (before.st_atime_ns, before.st_mtime_ns), dir_fd=dir_fd)

    def _rename_group(self, name: bytes, node: Node, places: list[Place]) -> None:
        """Rename over every name of a group, in a way that the next mount can go on with."""
        disk, scratch = self._disk, self._scratch
        paths = [[*parent.path(), there] for parent, there in places]
        group = begin_group(disk, name, node.inode, paths, scratch)
        original = self._tree.open(node, os.O_PATH)
        renamed: list[Place] = []
        try:
            for number, place in enumerate(places):
                self._rename(link_to_copy(group, number), place)
                renamed.append(place)
        except BaseException:
            self._restore(original, renamed, group)
            raise
        finally:
            os.close(original)
        with suppress(OSError):  # the next mount finds nothing to do, and removes it
            remove(disk, group, scratch)

    def _restore(self, original: int, renamed: list[Place], group: bytes) -> None:
        """Give the names that were changed back to the sealed inode."""
        disk, scratch = self._disk, self._scratch
        back = group + b"/back"
        for place in renamed:
            os.link(b"/proc/self/fd/%d" % original, back, dst_dir_fd=scratch)
            self._rename(back, place)
        remove(disk, group, scratch)


def _access(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
