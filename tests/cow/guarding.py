"""A guard at work: the installed ``rootman mount`` in a process of its own, and its log.

In scope: mounting, unmounting, killing; what other trees look like. Out of scope: what is
done in the mount.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cow.detached import open_view
from tests.commands import ROOTMAN

if TYPE_CHECKING:
    from collections.abc import Iterator

Snapshot = dict[str, tuple[object, ...]]

_PATIENCE: Final = 30.0  # seconds until something that should have come is missing


@dataclass
class Guard:
    """A guard of ``tree``, mounted at ``mnt``."""

    tree: Path
    mnt: Path
    log: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """SIGKILL, and the dead mount taken away as whoever mounts again does."""
        self.process.kill()
        self.process.wait(_PATIENCE)
        subprocess.run(("umount", "--lazy", self.mnt), check=True)

    def unmount(self) -> None:
        """Unmount; the guard must end well and have nothing to complain of."""
        subprocess.run(("umount", self.mnt), check=True, timeout=_PATIENCE)
        assert self.process.wait(_PATIENCE) == 0, self.log.read_text()
        assert not self.log.read_text()


def mount(*arguments: str | Path, tree: Path, mnt: Path, within: tuple[str, ...] = ()) -> Guard:
    """Run ``rootman mount --foreground`` with ``arguments`` and wait until it is ready.

    ``within`` is the beginning of a command that runs it where others do not see the mount.

    Raises:
        AssertionError: it ended instead; its log is in the message.
    """
    mnt.mkdir(exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix="guard-log-")
    log = Path(name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        address = f"{name}.ready"
        ready.bind(address)
        ready.settimeout(0.2)
        process = subprocess.Popen(
            (*within, ROOTMAN, *arguments, "--foreground", mnt),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env={**os.environ, "NOTIFY_SOCKET": address},
        )
        os.close(descriptor)
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    assert ready.recv(64) == b"READY=1"
                    return Guard(tree, mnt, log, process)
                assert process.poll() is None, log.read_text()
        finally:
            os.unlink(address)


@contextlib.contextmanager
def guarding(tree: Path, mnt: Path) -> Iterator[Guard]:
    """Guard the directory ``tree`` at ``mnt``; at the end it must unmount well."""
    guard = mount("mount", "--tree", tree, tree=tree, mnt=mnt)
    try:
        yield guard
        if guard.process.poll() is None:
            guard.unmount()
    finally:
        end(guard)


def end(guard: Guard) -> None:
    """End the guard, however it is."""
    if guard.process.poll() is None:
        guard.process.send_signal(signal.SIGKILL)
        guard.process.wait(_PATIENCE)
    subprocess.run(("umount", "--lazy", guard.mnt), check=False, capture_output=True)
    guard.log.unlink(missing_ok=True)


@contextlib.contextmanager
def unseen(tree: Path) -> Iterator[str]:
    """Return a path to ``tree`` by which reading leaves every access time as it is."""
    view = open_view(str(tree))
    try:
        yield f"/proc/self/fd/{view}"
    finally:
        os.close(view)


def snapshot(tree: Path) -> Snapshot:
    """Return everything of a tree that a leak could change: content, lstat, extended attributes.

    Of what is linked elsewhere, too, ``st_nlink`` and ``st_ctime`` belong to all who link it:
    they change when another tree gives up its name. Access control lists are among the
    extended attributes, holes show in ``st_blocks``.
    """
    with unseen(tree) as view:
        return snapshot_of(view)


def snapshot_of(view: str) -> Snapshot:
    """Return the snapshot of a tree that is ``unseen``, or of a directory in it."""
    found = {".": snapshot_entry(f"{view}/.")}
    for directory, directories, others in os.walk(view):
        for name in (*directories, *others):
            path = f"{directory}/{name}"
            found[path[len(view) + 1 :]] = snapshot_entry(path)
    return found


def snapshot_entry(path: str) -> tuple[object, ...]:
    """Return what there is to say of one entry, never of what a symlink leads to."""
    status = os.lstat(path)
    mode = status.st_mode
    content = b""
    access = 0
    if not stat.S_ISDIR(mode):  # a directory is nobody else's, and tests list it
        access = status.st_atime_ns
    if stat.S_ISREG(mode):
        with open(path, "rb") as file:
            content = sha256(file.read()).digest()
    elif stat.S_ISLNK(mode):
        content = os.fsencode(os.readlink(path))
    names = sorted(os.listxattr(path, follow_symlinks=False))
    attributes = tuple((one, os.getxattr(path, one, follow_symlinks=False)) for one in names)
    return (
        mode, status.st_uid, status.st_gid, status.st_rdev, status.st_size,
        status.st_ino, status.st_mtime_ns, content, attributes, status.st_blocks, access,
    )  # fmt: skip
