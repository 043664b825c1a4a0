"""What this process has made the kernel write, by the kernel's own account (proc(5), io)."""

from __future__ import annotations

from typing import Final

_WRITTEN: Final = "write_bytes"
_NEVER_WRITTEN: Final = "cancelled_write_bytes"


def bytes_written() -> int:
    """Return the bytes that this process and its ended children have made dirty so far.

    It is what goes to the disk but for the journal; 0 where the kernel keeps no account.
    """
    try:
        with open("/proc/self/io", encoding="ascii") as lines:
            account = dict(line.strip().split(": ") for line in lines)
    except OSError:
        return 0
    return int(account[_WRITTEN]) - int(account[_NEVER_WRITTEN])
