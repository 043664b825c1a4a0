"""A repository that nobody changes while it is looked at, without a change of our own."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from rootman.errors import Busy, SystemFailure
from rootman.lock import holder, take
from rootman.repo import layout
from rootman.repo.folder import no_repository
from rootman.repo.writer import lock_owner

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def standing_still(path: str) -> Iterator[int]:
    """Keep others from changing the repository in the folder ``path``; give it open.

    A copy without a lock is nobody's to change.

    Raises:
        InvalidInput: there is no repository.
        Busy: another rootman changes it.
        SystemFailure: it cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise no_repository(path) from error
    except OSError as error:
        raise SystemFailure(f"{path}: {error.strerror}") from error
    try:
        with _shared_lock(path, fd):
            yield fd
    finally:
        os.close(fd)


@contextmanager
def _shared_lock(path: str, repository_fd: int) -> Iterator[None]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(layout.LOCK, flags, dir_fd=repository_fd)
    except FileNotFoundError:
        yield
        return
    except OSError as error:
        raise SystemFailure(f"{path}/{layout.LOCK}: {error.strerror}") from error
    try:
        take(fd, fcntl.LOCK_SH, partial(lock_owner, fd))
        yield
    except BlockingIOError as error:
        who = holder(lock_owner(fd))
        raise Busy(f"{path}: {who} is at work here", hint="wait for it to end") from error
    finally:
        os.close(fd)
