"""What a process does that serves the root filesystem, so that it outlives all that uses it.

systemd ends processes at shutdown, but none whose command line begins with ``@`` and that is
in no unit; and it unmounts what it sees, but does not see what is mounted in another namespace.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from cow.mounting import leave_mounts, unmount
from rootman.errors import SystemFailure
from rootman.usage import GUARD_KIND, mounts

if TYPE_CHECKING:
    from collections.abc import Container

    from rootman.usage import Mount

_STAT: Final = "/proc/self/stat"
_ARG_START: Final = 47  # the 48th field of proc_pid_stat(5)
_MARK: Final = b"@"
_OF_SYSTEMD: Final = "name=systemd"
_MYSELF: Final = "0"  # whoever writes it
_LAST: Final = "-1000"


def be_storage_daemon() -> None:
    """Have this process be ended by nobody: by no shutdown, no unit's end and no want of memory.

    Raises:
        SystemFailure: the system does not say where its command line is.
    """
    _mark()
    for one in mounts():
        if one.kind == "cgroup2" or (one.kind == "cgroup" and _OF_SYSTEMD in one.options):
            # Who ends a unit ends all that its programs have started.
            _write(f"{one.point}/cgroup.procs", _MYSELF)
    _write("/proc/self/oom_score_adj", _LAST)


def _mark() -> None:
    """Have the command line begin with ``@``.

    The mark goes into the memory that exec(3) put the arguments in, and a fork has the same.
    """
    with open(_STAT, encoding="utf-8", errors="replace") as file:
        # The second field is a name in parentheses, which may have anything in it.
        fields = file.read().rpartition(")")[2].split()
    start = int(fields[_ARG_START - 2])
    if not start:
        raise SystemFailure(f"{_STAT} does not say where the arguments are", hint="be root")
    ctypes.memmove(start, _MARK, len(_MARK))


def _write(path: str, text: str) -> None:
    with suppress(OSError), open(path, "w", encoding="ascii") as file:
        file.write(text)


def keep_mounts(mountpoint: str, base: str) -> None:
    """Keep what is mounted as it is, for this process, whatever the system unmounts.

    What this process serves at ``mountpoint`` is none of that: it ends with the system's mount.
    Nor are other disks than those that ``base`` and this program are on: they end with the
    system's mounts, too, or it could not let go of them.

    Raises:
        OSError: among others EPERM without CAP_SYS_ADMIN.
    """
    leave_mounts()
    known = mounts()
    served = {one.filesystem for one in known if one.point == mountpoint}
    needed = {os.stat(path).st_dev for path in ("/", base, os.__file__, __file__)}
    for one in reversed(known):
        # What is served here answers nobody before this process does: it is not looked at.
        if one.filesystem in served or (one.point != "/" and _is_other_disk(one, needed)):
            with suppress(OSError):  # it went with one above it
                unmount(one.point, lazily=True)


def _is_other_disk(mount: Mount, needed: Container[int]) -> bool:
    """Return whether a disk, or what another guard serves, is mounted that is not ``needed``."""
    if not mount.source.startswith("/"):
        return False
    try:
        return mount.kind == GUARD_KIND or os.stat(mount.point).st_dev not in needed
    except OSError:
        return False
