"""One guarded tree from its mount to its unmount, in the process that answers for it."""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import signal
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyfuse3

from cow.breaking import Breaker
from cow.detached import open_view
from cow.disk import Disk
from cow.loop import Loop
from cow.mounting import unmount
from cow.operations import GuardOperations
from cow.scratch import finish_breaks
from cow.survey import find_groups
from cow.tree import GuardedTree
from rootman.errors import Busy, SystemFailure
from rootman.fsops import open_dir
from rootman.usage import GUARD_KIND, mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cow.seal import SealedInodes

_SUBTYPE: Final = GUARD_KIND.removeprefix("fuse.")
_UNORDERED: Final = frozenset({"noauto_da_alloc", "data=writeback"})
_WORKERS: Final = 16
_MAX_POOL: Final = 1024
_POOLED: Final = 4  # of the descriptors one in so many is of a directory
_GARBAGE: Final = 100_000


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be guarded: the directory ``tree`` of ``base``, both on one filesystem.

    ``scratch`` is where in ``base`` breaks are made. ``source`` is what the mount table is
    to call it.
    """

    base: str
    tree: str
    scratch: str
    source: str


@contextmanager
def mounted(
    subject: Subject, mountpoint: str, sealed: SealedInodes, *, disk: Disk | None = None
) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Mount the guard; yield what answers its requests until it is unmounted.

    That is called with what to call first: from then on somebody answers.

    ``mountpoint`` is an absolute path without symlinks.

    Raises:
        Busy: another guard has the tree.
        SystemFailure: the system refused.
    """
    os.umask(0)
    # Nothing here refers to itself, and to look for that takes longer than most answers.
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    try:
        with ExitStack() as stack:
            loop, operations = _prepare(stack, subject, sealed, disk or Disk())
            options = {
                f"fsname={_escaped(subject.source)}", f"subtype={_SUBTYPE}",
                "allow_other", "default_permissions", "suid", "dev",
            }  # fmt: skip
            pyfuse3.init(operations, mountpoint, options)
            session = _Session(loop, mountpoint)
            stack.callback(session.close)
            yield session.serve
    except RuntimeError as error:  # of pyfuse3.init, which says why on standard error
        raise SystemFailure(f"{mountpoint}: {error}", hint="is fuse in the kernel?") from error
    except OSError as error:
        raise SystemFailure(f"{subject.source}: {error.strerror}") from error


def _prepare(
    stack: ExitStack, subject: Subject, sealed: SealedInodes, disk: Disk
) -> tuple[Loop, GuardOperations]:
    """Open and lock the tree, finish what a killed guard left, and learn its hardlinks."""
    base = _closing(stack, open_view(subject.base))
    root = _closing(stack, open_dir(subject.tree, dir_fd=base))
    _lock(root, subject)
    scratch = _closing(stack, _scratch(stack, base, subject.scratch))
    finish_breaks(disk, scratch, root)
    stack.callback(_tidy, disk, scratch, root)
    pool = min(_raise_limit() // _POOLED, _MAX_POOL)
    tree = GuardedTree(root, sealed, pool=pool)
    find_groups(tree)
    loop = Loop()
    breaker = Breaker(tree, disk, scratch, loop, ordered=_is_ordered(subject.base))
    return loop, GuardOperations(tree, breaker, loop)


class _Session:
    """The mount at ``mountpoint``, until it is unmounted or a signal ends it."""

    def __init__(self, loop: Loop, mountpoint: str) -> None:
        self._loop = loop
        self._mountpoint = mountpoint
        self._detached = False

    def serve(self, ready: Callable[[], None]) -> None:
        """Call ``ready``, and answer until nothing uses the mount any more."""
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        with self._loop.stopping_on(*signals, stop=self._stop):
            ready()
            self._loop.run(workers=_WORKERS)

    def _stop(self) -> None:
        """Detach the mount; who uses it may go on to, until a second signal."""
        if not self._detached:
            with suppress(OSError):
                unmount(self._mountpoint, lazily=True)
                self._detached = True
                return
        self._loop.stop()

    def close(self) -> None:
        """End the session. What was detached may have made room for another mount."""
        pyfuse3.close(unmount=not self._detached)


def _closing(stack: ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def _raise_limit() -> int:
    """Have as many descriptors as may be; return how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _lock(root: int, subject: Subject) -> None:
    """Hold the tree for this guard alone; the kernel lets go of it when the process ends."""
    try:
        fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Busy(
            f"{subject.source} is guarded already", hint="findmnt -t fuse.rootman, rootman umount"
        ) from error


def _scratch(stack: ExitStack, base: int, path: str) -> int:
    parent, _, name = path.rpartition("/")
    above = base
    if parent:
        with suppress(FileExistsError):
            os.mkdir(parent, 0o700, dir_fd=base)
        above = _closing(stack, open_dir(parent, dir_fd=base))
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=above)
    stack.callback(_remove, name, above)
    return open_dir(name, dir_fd=above)


def _tidy(disk: Disk, scratch: int, root: int) -> None:
    with suppress(OSError):  # the next mount tries again
        finish_breaks(disk, scratch, root)


def _remove(name: str, dir_fd: int) -> None:
    with suppress(OSError):  # what is left in it, the next mount removes
        os.rmdir(name, dir_fd=dir_fd)


def _is_ordered(path: str) -> bool:
    """Return whether a power cut leaves no name without its data: ext4, unless told otherwise."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for mount in mounts():
        if mount.filesystem == wanted:
            return mount.kind == "ext4" and _UNORDERED.isdisjoint(mount.options.split(","))
    return False


def _escaped(source: str) -> str:
    return source.replace("\\", "\\\\").replace(",", "\\,")
