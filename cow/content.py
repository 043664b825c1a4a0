"""Requests about open files and their content."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pyfuse3
from pyfuse3 import FileInfo, FUSEError

from cow.ahead import SMALL, is_small, read_ahead
from cow.answers import answered
from cow.metadata import MetadataRequests

if TYPE_CHECKING:
    from cow.nodes import Node

_WRITING: Final = os.O_WRONLY | os.O_RDWR


class ContentRequests(MetadataRequests):
    """What FUSE asks of files."""

    @answered
    async def open(self, number: int, flags: int, ctx: pyfuse3.RequestContext) -> FileInfo:
        """open(2) of a file that is there: to write, and to cut off, breaks first."""
        node = self.tree.node(number)
        writing, cutting = bool(flags & _WRITING), bool(flags & os.O_TRUNC)
        if writing or cutting:
            await self.breaker.make_private(node, keep=0 if cutting else None)
        if cutting:
            node.changed()
            self._truncate(node, 0)
            self._strip(node, ctx)
        handle = self.files.open(node, write=writing)
        if not writing and node.readers == 1 and not node.writers and is_small(node):
            self._give_content(node, handle)
        return FileInfo(fh=handle, keep_cache=True)

    def _give_content(self, node: Node, handle: int) -> None:
        """Have the kernel keep the content of a file that is about to be read (GD-20).

        So it asks neither for that, nor for the attributes, of which reading changes one. What
        fails here is told to who reads.

        No other file of the node is open: the pages that somebody has asked to be read are
        locked until that is answered, and the one who answers would wait for them here.
        """
        node.given = True
        read_ahead(self.tree, node)
        with suppress(OSError):
            data = os.pread(self.files.descriptor(handle), SMALL, 0)
            if len(data) == node.facts.st_size:
                pyfuse3.notify_store(node.number, 0, data)

    @answered
    def read(self, handle: int, offset: int, size: int) -> bytes:
        """pread(2)."""
        return os.pread(self.files.descriptor(handle), size, offset)

    @answered
    async def write(self, handle: int, offset: int, data: bytes) -> int:
        """pwrite(2); what it takes of the mode, the kernel has asked for before."""
        node = self.files.node(handle)
        if self.tree.is_shared(node, os.fstat(node.writer)):
            # Somebody linked it after it was opened.
            await self.breaker.make_private(node)
        node.changed()
        return os.pwrite(node.writer, data, offset)

    async def flush(self, handle: int) -> None:
        """Nothing is kept back here; the kernel need not ask again."""
        del handle
        raise FUSEError(errno.ENOSYS)

    @answered
    def release(self, handle: int) -> None:
        """close(2) by the last who had it."""
        self.files.release(handle)

    @answered
    def fsync(self, handle: int, datasync: bool) -> None:  # noqa: FBT001 - pyfuse3's
        """fsync(2)."""
        (os.fdatasync if datasync else os.fsync)(self.files.descriptor(handle))
