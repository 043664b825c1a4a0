"""Reading ahead: forks look at what is needed next, so that the work does not wait for the disk.

An upgrade knows the some hundred places it will touch before it touches the first. They
are scattered, and one after the other each waits for a directory, an inode and content to be
read; looked at by others meanwhile, they are in the kernel's caches when their turn
comes. Nothing is changed, nothing is relied on, and what cannot be read is the work's to find.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from rootman import workers
from rootman.entries import open_quietly
from rootman.errors import RootmanError
from rootman.manifest import field_path
from rootman.treedirs import TreeDirs
from rootman.walk import split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    Look = Callable[[], bytes]

_T = TypeVar("_T")

MANY: Final = 20_000
"""Places for which the time is better spent on the work itself."""
_FEW: Final = 16  # not worth a fork
_FORKS: Final = 2
_CONTENT: Final = 1 << 16  # bytes that are read; the kernel's own readahead does the rest
_SOURCES: Final = 32 << 20  # bytes that a fork has read, so that it displaces nothing else


def below(root_fd: int, fields: Sequence[bytes]) -> list[Look]:
    """Return what looks at these path fields of a tree."""
    return _shared_out(partial(_look_below, root_fd), fields)


def sources(root_fd: int, fields: Sequence[bytes]) -> list[Look]:
    """Return what has the files of a tree read that are at these path fields."""
    return _shared_out(partial(_look_inside, root_fd), fields)


def contents(read: Callable[[str], BinaryIO], names: Sequence[str]) -> list[Look]:
    """Return what reads the beginning of the files that ``read`` opens by their names."""
    return _shared_out(partial(_look_into, read), names)


@contextmanager
def looking(looks: Sequence[Look]) -> Iterator[None]:
    """Have forks look while the context is at work; they have ended when it has."""
    # One alone would be looked at by this process, when it is waited for.
    wait = workers.start(looks) if len(looks) > 1 else None
    try:
        yield
    finally:
        if wait is not None:
            with suppress(ChildProcessError):  # one was killed, and nothing depends on it
                wait()


def _shared_out(look: Callable[[Sequence[_T]], bytes], places: Sequence[_T]) -> list[Look]:
    if len(places) <= _FEW:
        return []
    return [partial(look, places[start::_FORKS]) for start in range(_FORKS)]


def _look_below(root_fd: int, fields: Sequence[bytes]) -> bytes:
    with TreeDirs(root_fd) as dirs:
        for parent, name in map(split, map(field_path, fields)):
            with suppress(OSError):
                os.stat(name, dir_fd=dirs.fd(parent), follow_symlinks=False)
    return b""


def _look_inside(root_fd: int, fields: Sequence[bytes]) -> bytes:
    left = _SOURCES
    with TreeDirs(root_fd) as dirs:
        for parent, name in map(split, map(field_path, fields)):
            with suppress(OSError):
                dir_fd = dirs.fd(parent)
                status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):  # to open a device can do something
                    continue
                fd = open_quietly(name, dir_fd=dir_fd)
                try:
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
                finally:
                    os.close(fd)
                left -= status.st_size
            if left <= 0:
                break
    return b""


def _look_into(read: Callable[[str], BinaryIO], names: Sequence[str]) -> bytes:
    for name in names:
        with suppress(OSError, RootmanError), read(name) as file:
            file.read(_CONTENT)
    return b""
