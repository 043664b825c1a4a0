"""Who uses a tree: processes and mounts, as proc(5) has them; psutil names the culprit."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rootman.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    for pid in filter(str.isdigit, os.listdir("/proc")):
        used = next((one for one in _used_by(pid) if _is_below(one, path)), None)
        if used is not None:
            yield _title(int(pid)), used


def _used_by(pid: str) -> Iterator[str]:
    # psutil knows no root directory, and takes longer to load than all this takes.
    links = [f"/proc/{pid}/{name}" for name in ("exe", "cwd", "root")]
    with suppress(OSError):
        links += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    for link in links:
        with suppress(OSError):  # it ended, or is a kernel thread
            yield os.readlink(link)


def _title(pid: int) -> str:
    import psutil

    try:
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        return f"process {pid}"


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")
