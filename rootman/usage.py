"""Who uses a tree: processes (psutil) and mounts (proc(5), mountinfo)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from rootman.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psutil import Process

_MOUNT_POINT: Final = 4
_ESCAPES: Final = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}


def refuse_in_use(store_path: str, tree: str) -> None:
    """Refuse to go on if a process or a mount uses the tree named ``tree``.

    Raises:
        Busy: it names the first culprit.
    """
    path = os.path.join(os.path.realpath(store_path), tree)
    for mount_point in mounts_below(path):
        raise Busy(f"{tree} is in use: {mount_point} is mounted", hint=f"umount {mount_point}")
    for process, used in users(path):
        raise Busy(f"{tree} is in use by {process} ({used})", hint="end that process first")


def mounts_below(path: str) -> Iterator[str]:
    """Yield the mount points at or below ``path``."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            mount_point = line.split(" ")[_MOUNT_POINT]
            for escape, character in _ESCAPES.items():
                mount_point = mount_point.replace(escape, character)
            if _is_below(mount_point, path):
                yield mount_point


def users(path: str) -> Iterator[tuple[str, str]]:
    """Yield (process, what it uses) for each process that uses something below ``path``.

    Looked at are the executable, the working and root directory and open files.
    """
    import psutil

    for process in psutil.process_iter(["pid", "name"]):
        try:
            used = next((one for one in _used_by(process) if _is_below(one, path)), None)
        except psutil.Error:
            continue  # it ended, or is a kernel thread
        if used is not None:
            yield f"{process.info['name']} (process {process.pid})", used


def _used_by(process: Process) -> Iterator[str]:
    yield process.exe()
    yield process.cwd()
    try:
        yield os.readlink(f"/proc/{process.pid}/root")  # psutil has no word for it
    except OSError:
        return
    for file in process.open_files():
        yield file.path


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")
