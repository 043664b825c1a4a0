"""What the kernel logs while a disk is looked at: why a filesystem answers EIO, only it says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECORD: Final = 8192  # more than a record of /dev/kmsg, which is read one at a time
_WARNING: Final = 4


class KernelLog:
    """The kernel's log from now on, of the whole machine.

    https://docs.kernel.org/admin-guide/abi-dev-kmsg.html has the form of a record.
    """

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)

    def warnings(self) -> Iterator[str]:
        """Yield the lines since this was made, or the last call, that are warnings or worse."""
        while True:
            try:
                record = os.read(self._fd, _RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:  # some were overwritten before they were read
                continue
            head, _, text = record.partition(b";")
            if int(head.partition(b",")[0]) & 7 <= _WARNING:
                yield text.partition(b"\n")[0].decode(errors="replace")

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
