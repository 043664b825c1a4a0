"""What all requests have in common: the tree, the answer that an error is, the attributes."""

from __future__ import annotations

import errno
import logging
import stat
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final

from pyfuse3 import EntryAttributes, FUSEError

from cow.files import Files

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable

    from cow.breaking import Breaker
    from cow.nodes import Node
    from cow.tree import GuardedTree

_log: Final = logging.getLogger(__name__)

# Nobody else changes a guarded tree.
FOREVER: Final = 1e8
SPECIAL: Final = stat.S_ISUID | stat.S_ISGID


def answered(work: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Have a handler raise nothing but an errno; anything else is a bug, and the mount survives.

    One that waits for nothing is a plain function, which costs less.
    """
    waits = iscoroutinefunction(work)

    @wraps(work)
    async def handler(*arguments: Any) -> Any:  # noqa: ANN401 - as pyfuse3 calls it
        try:
            return await work(*arguments) if waits else work(*arguments)
        except FUSEError:
            raise
        except OSError as error:
            raise FUSEError(error.errno or errno.EIO) from None
        except MemoryError:
            raise FUSEError(errno.ENOMEM) from None
        except Exception:  # noqa: BLE001 - any other would end the mount
            _log.exception("a bug in the guard, in %s", work.__name__)
            raise FUSEError(errno.EIO) from None

    return handler


class Requests:
    """What the requests of one mount work on."""

    def __init__(self, tree: GuardedTree, breaker: Breaker) -> None:
        super().__init__()
        self.tree = tree
        self.breaker = breaker
        self.files = Files(tree)

    def attributes(self, node: Node, status: os.stat_result) -> EntryAttributes:
        """Return what is to be said of a node."""
        node.strips = status.st_mode & SPECIAL != 0
        node.facts = found = EntryAttributes()
        found.st_ino = node.number
        found.generation = node.generation
        found.entry_timeout = FOREVER
        found.attr_timeout = FOREVER
        found.st_mode = mode = status.st_mode
        found.st_nlink = status.st_nlink if stat.S_ISDIR(mode) else self.tree.nodes.links(node)
        found.st_uid = status.st_uid
        found.st_gid = status.st_gid
        found.st_rdev = status.st_rdev
        found.st_size = status.st_size
        found.st_blksize = status.st_blksize
        found.st_blocks = status.st_blocks
        found.st_atime_ns = status.st_atime_ns
        found.st_mtime_ns = status.st_mtime_ns
        found.st_ctime_ns = status.st_ctime_ns
        return found
