"""A disk whose every write and flush is logged, in memory.

The disk is a file that qemu-storage-daemon shows: it writes the log. A loop device on
that file gives the kernel a disk. All ends with the process that made it. The daemon
has mounts of its own: those of the process would else end with the daemon when both are
killed, and it cannot unmount what lies on the disk that it shows.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import subprocess
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.crash.configurations import MARKS
from tests.crash.recording import MARK
from tests.fault.faulty import Forked
from tests.loopdevices import LoopDevice, enter_namespace

if TYPE_CHECKING:
    from tests.crash.recording import Phase

_LOG_SIZE: Final = 1 << 30  # sparse; a log that is full ends the recording with an error
# Whoever died before it was to be told cannot be waited for.
_UNLESS_ORPHAN: Final = '[ "$PPID" = "$1" ] && shift && exec "$@"'
_PATIENCE: Final = 60.0  # seconds until a daemon that shows no disk is a failure


def try_disk(scratch: Path) -> None:
    """Make a disk, and give it back.

    Raises:
        AssertionError: it cannot be made; the last line says why.
    """
    Forked(partial(_try_disk, scratch)).result()


def _try_disk(scratch: Path) -> None:
    enter_namespace(scratch, size="64m")
    with closing(Disk(scratch, 2 * MARKS)) as disk:
        disk.mark("begun")


class Disk:
    """A disk whose writes are logged."""

    def __init__(self, home: Path, size: int) -> None:
        self.image, self.log, self._shown = home / "disk", home / "log", home / "shown"
        for path, length in ((self.image, size), (self.log, _LOG_SIZE), (self._shown, 0)):
            path.touch()
            os.truncate(path, length)
        self._daemon = _start_daemon(self.image, self.log, self._shown)
        self.loop = LoopDevice(Path(f"/proc/{self._daemon.pid}/root/{self._shown}"))
        self._size = size

    def mark(self, phase: Phase) -> None:
        """Say in the log that another phase begins."""
        page = mmap.mmap(-1, 4096)  # a direct write wants its buffer aligned
        page.write(f"{MARK}{phase}".encode())
        direct = os.open(self.loop.path, os.O_WRONLY | os.O_DIRECT)
        try:
            os.pwrite(direct, page, self._size - MARKS)
        finally:
            os.close(direct)

    def close(self) -> None:
        """Have the log complete."""
        os.fsync(self.loop.fd)
        self.loop.close()
        self._daemon.send_signal(signal.SIGTERM)
        self._daemon.communicate()


def _start_daemon(image: Path, log: Path, shown: Path) -> subprocess.Popen[bytes]:
    """Start the daemon and wait until it shows the disk."""
    # The files below are in memory, so flushing them is of no use. The node above must
    # not be told so: then it would not see a flush.
    below = {"driver": "file", "cache": {"no-flush": True}}
    nodes = (
        {**below, "node-name": "image", "filename": str(image)},
        {**below, "node-name": "log", "filename": str(log)},
        {
            "driver": "blklogwrites",
            "node-name": "logged",
            "file": "image",
            "log": "log",
            "log-sector-size": 512,
        },
    )
    export = {
        "type": "fuse",
        "id": "disk",
        "node-name": "logged",
        "mountpoint": str(shown),
        "writable": True,
    }
    command = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", _UNLESS_ORPHAN, "sh"]
    command += [str(os.getpid()), "unshare", "--mount", "qemu-storage-daemon"]
    for node in nodes:
        command += ["--blockdev", json.dumps(node)]
    command += ["--export", json.dumps(export), "--chardev", "stdio,id=ready"]
    command += ["--monitor", "ready"]
    daemon = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    # The monitor greets when all that the command line asks for is there.
    assert daemon.stdout is not None
    greeted, _, _ = select.select([daemon.stdout], [], [], _PATIENCE)
    greeting = os.read(daemon.stdout.fileno(), 4096) if greeted else b""
    if not greeting.startswith(b'{"QMP"'):
        daemon.kill()
        said, _ = daemon.communicate()
        raise OSError(f"qemu-storage-daemon shows no disk: {(greeting + said).decode()}")
    return daemon
