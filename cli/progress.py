"""What a command tells while it works, on standard error.

On a terminal that is one line which overwrites itself; in a pipe or a log it is
nothing, but for notes, which are worth a line anywhere. A standard error that
cannot be written stops no command.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from cli.render import count, printable, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootman.state import Tree

_INTERVAL: Final = 0.1  # seconds between two updates
_CLEAR: Final = "\r\x1b[K"


class Progress:
    """A reporter for the command called ``command``; a context manager that cleans up."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._shown = False
        self._step = ""
        self._began = 0.0
        self._next = 0.0
        self._fetching: tuple[float, int] | None = None  # when it began, and with how much
        self._width = _terminal_width()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def step(self, text: str) -> None:
        """Tell that the step ``text`` begins."""
        self._step = text
        self._show(text)

    def progress(self, done: int, total: int) -> None:
        """Tell how much of the step is done."""
        if self._width and total:
            self._tick(lambda: f"{self._step}: {min(done * 100 // total, 100)}%")

    def fetched(self, done: int, total: int) -> None:
        """Tell how many bytes came over a network, how fast, and how long the rest takes."""
        if not self._width:
            return
        if self._fetching is None:
            self._fetching = (time.monotonic(), done)
        began, before = self._fetching
        rate = (done - before) / max(time.monotonic() - began, _INTERVAL)
        self._tick(lambda: f"fetch: {_fetched(done, total, rate)}")

    def said(self, text: str) -> None:
        """Tell a line that a program said, which this step runs."""
        self._tick(lambda: f"{self._step}: {text}")

    def reading(self, tree: Tree) -> Callable[[int], None]:
        """Begin to read ``tree`` and return what takes the number of entries done so far."""
        self.step(f"read {tree.name}")
        total = tree.seal.entries if tree.seal else 0
        return lambda done: self.progress(done, total)

    def counted(self, what: str) -> Callable[[int], None]:
        """Begin the step ``what`` and return what takes the number of entries done so far."""
        self.step(what)
        return lambda done: self._tick(lambda: f"{what}: {count(done, 'path')}")

    def phase(self, what: str, done: int) -> None:
        """Tell how far a publish is: reading the tree, or storing objects."""
        if what == "scan":
            self._tick(lambda: f"read the tree: {count(done, 'path')}")
        else:
            self._tick(lambda: f"store new content: {count(done, 'object')}")

    def pack(self, pack: str, phase: str, done: int, total: int) -> None:
        """Tell how far the making of a pack is, and how long that took; that moves always."""
        text = f"pack {pack}: {phase}"
        if text != self._step:
            self._step, self._began = text, time.monotonic()
        part = done * 100 // max(total, 1)
        self._tick(lambda: f"{text}: {part}%, {_clock(time.monotonic() - self._began)}")

    def warn(self, text: str) -> None:
        """Tell of something that does not stop the command."""
        self._clear()
        self._write(printable(f"rootman: {self._command}: note: {text}") + "\n")

    def _tick(self, text: Callable[[], str]) -> None:
        if self._width and time.monotonic() >= self._next:
            self._show(text())

    def _show(self, text: str) -> None:
        if self._width:
            self._next = time.monotonic() + _INTERVAL
            line = printable(f"{self._command}: {text}")[: self._width - 1]
            self._write(_CLEAR + line)
            self._shown = True

    def _clear(self) -> None:
        if self._shown:
            self._write(_CLEAR)
            self._shown = False

    def _write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def _fetched(done: int, total: int, rate: float) -> str:
    """Return how far a fetch is: bytes, bytes per second, time left."""
    text = f"{size(done)} of {size(total)}, {size(int(rate))}/s"
    if rate < 1:
        return text
    return f"{text}, {_clock(max(total - done, 0) / rate)} left"


def _clock(seconds: float) -> str:
    """Return minutes and seconds."""
    return "{}:{:02}".format(*divmod(int(seconds), 60))


def _terminal_width() -> int:
    """Return the columns of the terminal on standard error, 0 where it is none."""
    if os.environ.get("TERM", "dumb") == "dumb":
        return 0
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 0
