"""Mounting and unmounting a guard: what is meant, who is in the way, and the process for it.

Out of scope: what the guard does once it is mounted (``guard``).
"""

from __future__ import annotations

import errno
import logging
import os
import pickle
import socket
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from logging.handlers import SysLogHandler
from typing import TYPE_CHECKING, Final

from cow.daemon import be_storage_daemon, keep_mounts
from cow.guard import Subject, mounted
from cow.mounting import unmount
from cow.seal import SealedInodes
from rootman.errors import Busy, InvalidInput, NotFound, RootmanError, SystemFailure
from rootman.names import CONTROL, CURRENT, parse_tree_number
from rootman.store import open_store, require_tree, scan
from rootman.usage import Guarded, guards, refuse_users, wait_until_unguarded
from rootman.verify import open_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootman.names import TreeNumber
    from rootman.state import Tree
    from rootman.store import Store

_READY: Final = b"ready"
_FIRST_OWN: Final = 3  # behind the standard streams
_SYSLOG: Final = "/dev/log"
_KMSG: Final = "/dev/kmsg"


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be mounted: a tree of a store, by default the current one, or a directory."""

    rootfs: str
    number: TreeNumber | None
    directory: str | None
    mountpoint: str


def mount(request: Request, *, foreground: bool, storage_daemon: bool = False) -> str:
    """Mount the guard and return what it is on, once it answers.

    In the foreground this returns when it is unmounted. A ``storage_daemon`` serves the root
    filesystem, and is named so that systemd does not end it at shutdown before that.

    Raises:
        NotFound: there is no such tree or mount point.
        InvalidInput: the tree has no seal record, or it is damaged.
        Busy: the tree is guarded already.
        SystemFailure: the system refused.
    """
    mountpoint = _checked_mountpoint(request.mountpoint)
    subject, sealed = _of_directory(request.directory) if request.directory else _of_store(request)
    path = os.path.join(subject.base, subject.tree)
    if mountpoint == path or mountpoint.startswith(f"{path}/"):
        raise InvalidInput(f"{mountpoint} is in the tree itself", hint="choose another directory")
    if foreground:
        _log_to(logging.StreamHandler(sys.stderr))
        how = _guard_apart if storage_daemon else _guard
        how(subject, mountpoint, sealed, _notify)
    else:
        in_background(subject, mountpoint, sealed, storage_daemon=storage_daemon)
    return subject.source


def _of_store(request: Request) -> tuple[Subject, SealedInodes]:
    with open_store(request.rootfs) as store:
        return of_tree(store, require_tree(scan(store), request.number))


def of_tree(store: Store, tree: Tree) -> tuple[Subject, SealedInodes]:
    """Return what guards a tree of a store, and the inodes that it was sealed with.

    Raises:
        InvalidInput: its seal record is damaged.
        OSError: it cannot be opened.
    """
    with open_tree(store, tree) as (_, record):
        sealed = SealedInodes(record.inodes())
    base = os.path.realpath(store.path)
    path = f"{base}/{tree.name}"
    return Subject(base, tree.name, f"{CONTROL}/guard/{tree.number}", path), sealed


def _of_directory(directory: str) -> tuple[Subject, SealedInodes]:
    path = os.path.realpath(directory)
    if not os.path.isdir(path):
        raise NotFound(f"{directory}: there is no such directory")
    base, name = os.path.split(path)
    if not name or os.path.ismount(path):
        raise InvalidInput(
            f"{path} is a filesystem of its own: copies are made beside the tree",
            hint="guard a directory in it",
        )
    return Subject(base, name, f".{name}.rootman-guard", path), SealedInodes()


def _checked_mountpoint(path: str) -> str:
    """Return the mount point as the mount table says it; a dead guard there is unmounted."""
    found = os.path.realpath(path)
    try:
        is_directory = stat.S_ISDIR(os.stat(found).st_mode)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: there is no such directory", hint=f"mkdir -p {path}") from error
    except OSError as error:
        if error.errno != errno.ENOTCONN or found not in {one.mountpoint for one in guards()}:
            raise SystemFailure(f"{path}: {error.strerror}") from error
        unmount(found, lazily=True)
        return _checked_mountpoint(path)
    if not is_directory:
        raise InvalidInput(f"{path} is not a directory")
    return found


def _guard(
    subject: Subject, mountpoint: str, sealed: SealedInodes, ready: Callable[[], None]
) -> None:
    with mounted(subject, mountpoint, sealed) as serve:
        serve(ready)


def _guard_apart(
    subject: Subject, mountpoint: str, sealed: SealedInodes, ready: Callable[[], None]
) -> None:
    """Guard as what serves the root of a system: what this needs is unmounted by nobody."""

    def apart() -> None:
        keep_mounts(mountpoint, subject.base)
        ready()

    be_storage_daemon()
    _guard(subject, mountpoint, sealed, apart)


def _notify() -> None:
    """Tell a service manager that the mount is there, as sd_notify(3) says."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.sendto(b"READY=1", address)


def in_background(
    subject: Subject, mountpoint: str, sealed: SealedInodes, *, storage_daemon: bool
) -> None:
    """Have a process of its own guard ``subject``; return once it answers at ``mountpoint``.

    Raises:
        RootmanError: as ``mount``.
    """
    guard = partial(_guard_apart if storage_daemon else _guard, subject, mountpoint, sealed)
    reading, writing = os.pipe()
    if os.fork() == 0:
        # Nothing that is open here, the lock of a store for example, is the guard's.
        os.closerange(_FIRST_OWN, writing)
        os.closerange(writing + 1, os.sysconf("SC_OPEN_MAX"))
        _be_daemon(writing, subject.source, guard)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    if said == _READY:
        return
    if said:
        kind, message, hint = pickle.loads(said)  # noqa: S301  our own
        raise kind(message, hint=hint)
    raise SystemFailure(f"{mountpoint}: the guard ended at once", hint="its log says why")


def _be_daemon(writing: int, source: str, guard: Callable[[Callable[[], None]], None]) -> None:
    """Guard, and never return."""
    code = 1
    try:
        os.setsid()
        os.chdir("/")
        _log_to(_system_log())

        def ready() -> None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):
                os.dup2(nowhere, fd)
            os.write(writing, _READY)
            os.close(writing)

        guard(ready)
        code = 0
    except RootmanError as error:
        with suppress(OSError):
            os.write(writing, pickle.dumps((type(error), str(error), error.hint)))
    except BaseException:
        logging.getLogger(__name__).exception("the guard of %s ended", source)
    finally:
        os._exit(code)


def _system_log() -> logging.Handler:
    if os.path.exists(_SYSLOG):
        return SysLogHandler(_SYSLOG)
    if os.access(_KMSG, os.W_OK):
        return logging.StreamHandler(open(_KMSG, "w", encoding="utf-8"))
    return logging.NullHandler()


def _log_to(handler: logging.Handler) -> None:
    handler.setFormatter(logging.Formatter("rootman-guard: %(message)s"))
    logging.getLogger().addHandler(handler)


def take_down(rootfs: str, wanted: str) -> list[Guarded]:
    """Unmount what ``wanted`` says: a mount point, or the guards of a tree or of current.

    Raises:
        NotFound: there is no such mount.
        Busy: something uses it; the first user is named.
        SystemFailure: the system refused.
    """
    found = _meant(rootfs, wanted)
    if not found:
        raise NotFound(f"{wanted}: no guard is mounted there", hint="rootman status lists them")
    for one in reversed(found):
        try:
            unmount(one.mountpoint)
        except OSError as error:
            if error.errno != errno.EBUSY:
                what = f"{one.mountpoint}: {error.strerror}"
                raise SystemFailure(what, hint="be root") from error
            refuse_users(one.mountpoint)
            raise Busy(f"{one.mountpoint} is in use", hint="end what uses it") from error
        wait_until_unguarded(one.tree)
    return found


def _meant(rootfs: str, wanted: str) -> list[Guarded]:
    point = os.path.realpath(wanted)
    found = [one for one in guards() if one.mountpoint == point]
    number = parse_tree_number(wanted)
    if found or not (wanted == CURRENT or number is not None):
        return found[-1:]
    with open_store(rootfs) as store:
        state = scan(store)
    tree = state.tree(number or state.current)
    if tree is None:
        return []
    path = f"{os.path.realpath(rootfs)}/{tree.name}"
    return [one for one in guards() if one.tree == path]
