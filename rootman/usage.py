"""Who uses a tree: processes and mounts, as proc(5) has them; psutil names the culprit.

Looked at are the executable, the working and root directory and the open files of every
process, and the mounts of every mount namespace: what is mounted in the tree, and where
the tree or a part of it is mounted, as the root of a container or of the running system.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator

_ESCAPES: Final = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}
_PATIENCE: Final = 5.0  # seconds
_PAUSE: Final = 0.01
GUARD_KIND: Final = "fuse.rootman"
_LAYERS: Final = ("lowerdir=", "upperdir=", "workdir=")


def refuse_in_use(store_path: str, tree: str) -> None:
    """Refuse to go on if a process or a mount uses the tree named ``tree``.

    Raises:
        Busy: it names the first culprit.
    """
    path = os.path.join(os.path.realpath(store_path), tree)
    ours = mounts()
    there = place_of(path, ours)
    with unguarded(store_path, tree):
        pass
    for mount in ours:
        if _is_below(mount.point, path):
            what = f"{mount.point} is mounted"
        elif mount.shows(there):
            what = f"it is mounted at {mount.point}"
        else:
            continue
        is_root = mount.point == "/"
        raise Busy(
            f"{tree} is in use: {what}",
            hint="boot another version first" if is_root else f"umount {mount.point}",
        )
    _refuse_users(tree, there)


@contextmanager
def unguarded(store_path: str, tree: str) -> Iterator[None]:
    """Keep guards from the tree named ``tree``, which must have none, in the context.

    Raises:
        Busy: one has it; where it is mounted is said, if that can be seen from here.
        OSError: the tree cannot be opened.
    """
    path = os.path.join(os.path.realpath(store_path), tree)
    for guard in guards():
        if guard.tree == path:
            raise Busy(
                f"{tree} is in use: it is guarded at {guard.mountpoint}",
                hint=f"rootman umount {guard.mountpoint}",
            )
    with _keeping_guards_out(path) as is_free:
        if not is_free:  # one is there, in a mount namespace that is not ours
            what = f"{tree} is in use by a guard"
            raise Busy(what, hint="unmount it where it is mounted")
        yield


@contextmanager
def _keeping_guards_out(path: str) -> Iterator[bool]:
    """Have no guard begin with the tree in the context; yield False if one has it already.

    Raises:
        OSError: the tree cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # a guard has it exclusively
            is_free = True
        except BlockingIOError:
            is_free = False
        yield is_free
    finally:
        os.close(fd)


def refuse_users(path: str) -> None:
    """Refuse to go on if a process uses the directory ``path`` or what is below it.

    Raises:
        Busy: it names the first culprit.
    """
    _refuse_users(path, place_of(path, mounts()))


def _refuse_users(what: str, there: Place) -> None:
    for process, used in _users(there):
        raise Busy(f"{what} is in use by {process} ({used})", hint="end that process first")


@dataclass(frozen=True, slots=True)
class Guarded:
    """A mount of the guard: of the directory ``tree``, at ``mountpoint``."""

    tree: str
    mountpoint: str


def guards() -> list[Guarded]:
    """Return the mounts of the guard that this process can see, dead ones, too.

    What shows but a part of a tree was bound from one of them.
    """
    return [
        Guarded(mount.source, mount.point)
        for mount in mounts()
        if mount.kind == GUARD_KIND and mount.root == "/"
    ]


def is_guarded(path: str) -> bool:
    """Return whether a guard that is alive has the tree, in any mount namespace.

    Raises:
        OSError: the tree cannot be opened.
    """
    with _keeping_guards_out(path) as is_free:
        return not is_free


def wait_until_unguarded(path: str) -> None:
    """Wait for a guard that was unmounted to be gone, but not for ever."""
    deadline = time.monotonic() + _PATIENCE
    with suppress(OSError):
        while is_guarded(path) and time.monotonic() < deadline:
            time.sleep(_PAUSE)


@dataclass(frozen=True, slots=True)
class Place:
    """A directory: its path, and the filesystem that it is on with its path there.

    ``source`` is the device, as it was mounted.
    """

    path: str
    filesystem: str
    inner: str
    source: str


@dataclass(frozen=True, slots=True)
class Mount:
    """What is mounted at ``point``: the directory ``root`` of a filesystem."""

    filesystem: str  # major:minor
    root: str
    point: str
    kind: str
    options: str
    source: str

    def shows(self, place: Place) -> bool:
        """Return whether the directory or something in it can be seen here."""
        if self.filesystem == place.filesystem and _is_below(self.root, place.inner):
            return True
        if self.kind != "overlay":
            return False
        layers = [
            one.partition("=")[2] for one in self.options.split(",") if one.startswith(_LAYERS)
        ]
        return any(_is_below(one, place.path) for layer in layers for one in layer.split(":"))


def mounts(process: str = "self") -> list[Mount]:
    """Return the mounts that a process sees, the later ones later."""
    with open(f"/proc/{process}/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        return [_parse(line) for line in lines]


def mounted_at() -> dict[str, Mount]:
    """Return what this process sees at each mount point: of several the last."""
    return {one.point: one for one in mounts()}


def _parse(line: str) -> Mount:
    before, _, after = line.rstrip("\n").partition(" - ")
    _, _, filesystem, root, point, *_ = before.split(" ")
    kind, source, options = after.split(" ", 2)
    return Mount(filesystem, _plain(root), _plain(point), kind, _plain(options), _plain(source))


def _plain(field: str) -> str:
    for escape, character in _ESCAPES.items():
        field = field.replace(escape, character)
    return field


def place_of(path: str, mounts: list[Mount]) -> Place:
    """Return where ``path`` is: on the mount that lies over all others on the way to it."""
    on = max(
        (mount for mount in mounts if _is_below(path, mount.point)),
        key=lambda mount: len(mount.point.rstrip("/")),
    )
    inner = on.root.rstrip("/") + path[len(on.point.rstrip("/")) :]
    return Place(path, on.filesystem, inner, on.source)


def _users(there: Place) -> Iterator[tuple[str, str]]:
    """Yield (process, what it uses) for each process that uses something of the tree."""
    device = os.stat(there.path).st_dev
    namespaces = {_namespace("self")}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for used in _used_by(pid):
            if _is_below(used[1], there.path) and _is_on(used[0], device):
                yield _title(int(pid)), used[1]
                break
        namespace = _namespace(pid)
        if namespace and namespace not in namespaces:
            namespaces.add(namespace)
            with suppress(OSError):
                for mount in mounts(pid):
                    if mount.shows(there):
                        yield _title(int(pid)), f"mounted there at {mount.point}"


def _used_by(pid: str) -> Iterator[tuple[str, str]]:
    """Yield the links in /proc to what a process uses, and where they lead."""
    # psutil knows no root directory, and takes longer to load than all this takes.
    links = [f"/proc/{pid}/{name}" for name in ("exe", "cwd", "root")]
    with suppress(OSError):
        links += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    for link in links:
        with suppress(OSError):  # it ended, or is a kernel thread
            yield link, os.readlink(link)


def _is_on(link: str, device: int) -> bool:
    """Return whether a link in /proc leads to the device; elsewhere paths may be the same."""
    with suppress(OSError):
        return os.stat(link).st_dev == device
    return False


def _namespace(pid: str) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/mnt")
    return ""


def _title(pid: int) -> str:
    import psutil

    try:
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        return f"process {pid}"


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
