"""Freezing a filesystem for a moment, which brings its journal home (S3).

A frozen filesystem stays frozen when the process that froze it is killed, and the
machine with it. So a child stands by that thaws it then. Out of scope: what to do
where a filesystem cannot be frozen (``fsops``).
"""

from __future__ import annotations

import fcntl
import gc
import os
from contextlib import suppress
from typing import Final

# linux/fs.h: _IOWR('X', 119, int) and _IOWR('X', 120, int)
_FIFREEZE: Final = 0xC0045877
_FITHAW: Final = 0xC0045878

_READY: Final = b"r"
_FREEZING: Final = b"f"
_THAWED: Final = b"t"


class Freezer:
    """Freezes and thaws filesystems, each watched by a child of its own."""

    def __init__(self) -> None:
        self._children: dict[int, tuple[int, int]] = {}  # device -> process, pipe to it

    def freeze_thaw(self, fd: int) -> None:
        """Freeze the filesystem that ``fd`` is on, and thaw it.

        Raises:
            OSError: it cannot be frozen.
        """
        device = os.fstat(fd).st_dev
        if device not in self._children:
            self._children[device] = _start_thawer(fd)
        _, tell = self._children[device]
        os.write(tell, _FREEZING)
        try:
            fcntl.ioctl(fd, _FIFREEZE, 0)
            fcntl.ioctl(fd, _FITHAW, 0)
        except KeyboardInterrupt:
            # It may have come between the two, and nobody could even be told of it.
            with suppress(OSError):
                fcntl.ioctl(fd, _FITHAW, 0)
            raise
        finally:
            os.write(tell, _THAWED)

    def close(self) -> None:
        """Have the children end; until they have, the filesystems cannot be unmounted."""
        while self._children:
            _, (pid, tell) = self._children.popitem()
            os.close(tell)
            with suppress(ChildProcessError):  # this is a fork of its parent
                os.waitpid(pid, 0)

    def __del__(self) -> None:
        self.close()


def _start_thawer(fd: int) -> tuple[int, int]:
    """Start a child that thaws the filesystem of ``fd`` if this process dies freezing it.

    Return its number and the pipe on which it is told. It is not told of the freezing
    of others, and so never ends that.
    """
    ready, says_ready = os.pipe2(os.O_CLOEXEC)
    told, tell = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if not pid:
        try:
            _stand_by(fd, told, says_ready)
        finally:
            os._exit(0)
    os.close(told)
    os.close(says_ready)
    # Before that, the child holds what was open at the fork, the store's lock too.
    os.read(ready, 1)
    os.close(ready)
    return pid, tell


def _stand_by(fd: int, told: int, says_ready: int) -> None:
    gc.freeze()  # garbage of the parent is the parent's to collect, its pipes too
    os.setsid()  # a signal to the terminal's group must not take the child first
    keep = {fd, told, says_ready}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            with suppress(OSError):
                os.close(int(name))
    os.write(says_ready, _READY)
    os.close(says_ready)
    last = b""
    while heard := os.read(told, 64):
        last = heard[-1:]
    if last == _FREEZING:
        fcntl.ioctl(fd, _FITHAW, 0)
