"""One rootman at a time may change a store.

The lock is flock(2) on ``.rootman/lock``: the kernel drops it when its holder
dies, however it dies, so a stale lock cannot exist. Forks of a command that was
killed hold it for a moment longer, until they notice or have let go of it; that is
waited for. The file's content only serves to name the holder.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from rootman.errors import Busy, SystemFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootman.store import Store

LOCK_FILE: Final = "lock"
_PATIENCE: Final = 5.0  # seconds for what is left of a killed command to end
_PAUSE: Final = 0.01


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Hold the store's lock for as long as the context lasts.

    Raises:
        Busy: another process holds it; the message names that process.
        SystemFailure: the lock cannot be taken, on a read-only filesystem for example.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    where = f"{store.path}/.rootman/{LOCK_FILE}"
    try:
        fd = os.open(LOCK_FILE, flags, 0o600, dir_fd=store.control)
    except OSError as error:
        raise SystemFailure(f"{where}: {error.strerror}", hint=_hint(error)) from error
    try:
        _take(store, fd, fcntl.LOCK_EX)
        with suppress(OSError):  # a full disk takes no name, and it only serves a message
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(fd)


@contextmanager
def undisturbed(store: Store) -> Iterator[None]:
    """Keep others from changing the store, without a change of our own, not even of the lock.

    Raises:
        Busy: another process holds the lock; the message names that process.
        SystemFailure: the lock cannot be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(LOCK_FILE, flags, dir_fd=store.control)
    except FileNotFoundError:  # a store that nobody has changed yet
        yield
        return
    except OSError as error:
        where = f"{store.path}/.rootman/{LOCK_FILE}"
        raise SystemFailure(f"{where}: {error.strerror}", hint=_hint(error)) from error
    try:
        _take(store, fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def _take(store: Store, fd: int, kind: int) -> None:
    def owner() -> bytes:
        return os.pread(fd, 32, 0)

    try:
        take(fd, kind, owner)
    except BlockingIOError as error:
        who = holder(owner())
        raise Busy(f"{store.path} is in use by {who}", hint="wait for it to end") from error


def take(fd: int, kind: int, owner: Callable[[], bytes]) -> None:
    """Take the flock(2) of ``kind`` on ``fd``; ``owner`` returns the pid that took it last.

    Raises:
        BlockingIOError: another process holds it, and its owner lives or was waited for.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if _is_alive(owner()) or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(_PAUSE)


def _is_alive(pid: bytes) -> bool:
    """Return whether it is: one that is not there yet, or not any more, soon will be or was."""
    import psutil

    if not pid.strip().isdigit():
        return False
    try:
        return bool(psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _hint(error: OSError) -> str:
    return "be root" if isinstance(error, PermissionError) else "make the store's disk writable"


def holder(content: bytes) -> str:
    """Return the command and pid of the process whose pid is ``content``."""
    import psutil

    if not content.strip().isdigit():
        return "another rootman"
    pid = int(content)
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return f"process {pid}"
    return f"{command} (process {pid})"
