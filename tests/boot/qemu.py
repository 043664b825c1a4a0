"""A machine of QEMU with SeaBIOS, one disk and a serial console that is read and written.

It is emulated (``-accel tcg``), so it needs nothing of its host. What is on the disk is the
business of ``system``.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from pathlib import Path

# A boot takes 10 s where there is nothing else to do, and this is for when there is much.
PATIENCE: Final = 240.0
_COMMAND: Final = (
    # A processor that gives random numbers: without, the kernel gathers them, which takes a second.
    "qemu-system-x86_64", "-accel", "tcg", "-cpu", "qemu64,+rdrand,+rdseed", "-smp", "1",
    "-m", "512", "-nodefaults",
    "-display", "none", "-monitor", "none", "-serial", "stdio", "-device", "virtio-rng-pci",
    # The emulator gets slower with every boot that it has seen, so each has one of its own.
    "-no-reboot",
)  # fmt: skip
_LOG_SIZE: Final = 1 << 30  # sparse
_ESCAPES: Final = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[c()][0-9B]?|\r")


class NotSaid(Exception):
    """The console does not say what is waited for; the message has the end of what it does."""


class Machine:
    """A machine with ``disk``, an image in the format raw, that runs until the end of the block.

    With ``log``, a file that is not there yet, every write and flush of the disk is logged
    there. ``more`` are options of QEMU. ``boots`` counts how often it was started; a reboot of
    the guest is one.
    """

    def __init__(self, disk: Path, *more: str, log: Path | None = None) -> None:
        self._disk, self._log, self._more = disk, log, more
        self.boots = 0
        self.said = ""  # all that came from the console
        self._read = 0  # how much of it was waited for

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _start(self) -> None:
        self.boots += 1
        self._process = subprocess.Popen(
            self._command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._keyboard, self._screen = self._process.stdin, self._process.stdout

    def _command(self) -> tuple[str, ...]:
        # Whether it is on the disk of this machine is of no interest.
        below = {"driver": "file", "cache": {"no-flush": True}}
        nodes: list[dict[str, object]] = [
            {**below, "node-name": "image", "filename": str(self._disk)}
        ]
        if self._log is not None:
            # The log of the boots before goes on.
            how = {"log-append": True} if self._log.exists() else {"log-sector-size": 512}
            self._log.touch()
            os.truncate(self._log, _LOG_SIZE)
            nodes += [
                {**below, "node-name": "log", "filename": str(self._log)},
                {
                    "driver": "blklogwrites", "node-name": "logged", "file": "image", "log": "log",
                    "log-super-update-interval": 1, **how,
                },
            ]  # fmt: skip
        blockdevs = [word for node in nodes for word in ("-blockdev", json.dumps(node))]
        device = f"virtio-blk-pci,drive={nodes[-1]['node-name']}"
        return (*_COMMAND, *blockdevs, "-device", device, *self._more)

    def kill(self) -> None:
        """Pull the plug."""
        self._process.kill()
        self._end()

    def _end(self) -> int:
        code = self._process.wait()
        self._keyboard.close()
        self._screen.close()
        return code

    def wait(self, pattern: str) -> re.Match[str]:
        """Wait until the console has said ``pattern``, after what was waited for before.

        Raises:
            NotSaid: it does not, in all the time that there is for a boot.
        """
        boots, deadline = 0, 0.0
        while True:
            found = re.compile(pattern, re.MULTILINE).search(self.said, self._read)
            if found is not None:
                self._read = found.end()
                return found
            if self.boots != boots:
                boots, deadline = self.boots, time.monotonic() + PATIENCE
            if not self._listen(deadline - time.monotonic()):
                end = self.said[max(self._read, len(self.said) - 4000) :]
                raise NotSaid(f"{pattern!r} is not said, but: {end}")

    def _listen(self, patience: float) -> bool:
        """Take what the console says next, of the next boot if this is over; False if nothing."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._screen, selectors.EVENT_READ)
            if patience <= 0 or not selector.select(patience):
                return False
        data = os.read(self._screen.fileno(), 1 << 16)
        self.said += _ESCAPES.sub(b"", data).decode(errors="replace")
        if not data:
            assert self._end() == 0, self.said[-4000:]
            self._start()
        return True

    def type(self, line: str) -> None:
        """Type a line at the console."""
        self._keyboard.write(f"{line}\n".encode())
        self._keyboard.flush()

    def boot(self) -> str:
        """Wait for the shell of the system, and return what was said on the way there."""
        start = self._read
        self.wait("^@ready@\n")
        return self.said[start : self._read]

    def reboot(self) -> None:
        """Have the guest restart at once, without telling anybody."""
        self.type("busybox reboot -f")

    def become_systemd(self) -> None:
        """Have the first process become systemd, and wait for the shell that it starts."""
        self.type("exec /sbin/init")
        self.boot()

    def run(self, command: str) -> str:
        """Run a command in the shell of the guest and return what it said.

        Raises:
            AssertionError: it failed.
        """
        code, said = self.try_run(command)
        assert code == 0, f"{command}: {said}"
        return said

    def try_run(self, command: str) -> tuple[int, str]:
        """Run a command in the shell of the guest; return its exit code and what it said."""
        start = self._read
        self.type(command)
        found = self.wait("^@code ([0-9]+)@\n")
        return int(found[1]), self.said[start : found.start()]
