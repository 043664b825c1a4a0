"""What a process does that serves the root filesystem: systemd is told to let it live."""

from __future__ import annotations

import ctypes
from typing import Final

from rootman.errors import SystemFailure

_STAT: Final = "/proc/self/stat"
_ARG_START: Final = 47  # the 48th field of proc_pid_stat(5)
_MARK: Final = b"@"


def mark_storage_daemon() -> None:
    """Have the command line of this process begin with ``@``.

    systemd ends no such process at shutdown (its "root storage daemons"): the root
    filesystem would be gone under it. It looks at the memory that exec(3) put the
    arguments in, and a fork has the same.

    Raises:
        SystemFailure: the system does not say where that is.
    """
    with open(_STAT, encoding="utf-8", errors="replace") as file:
        # The second field is a name in parentheses, which may have anything in it.
        fields = file.read().rpartition(")")[2].split()
    start = int(fields[_ARG_START - 2])
    if not start:
        raise SystemFailure(f"{_STAT} does not say where the arguments are", hint="be root")
    ctypes.memmove(start, _MARK, len(_MARK))
