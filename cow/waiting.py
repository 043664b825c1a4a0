"""Waiting for the next request: looking for it closely, sleeping, and what is done meanwhile.

To be woken takes longer than to answer most requests, so it is worth to look for the next one
a little longer, if the client has a processor to run on: where it has none, it runs only when
the guard sleeps. That is found out by whether looking was of use. Out of scope: requests.
"""

from __future__ import annotations

import logging
import os
import select
from collections import deque
from math import inf
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_log: Final = logging.getLogger(__name__)

_CLOSELY_NS: Final = 50_000
_MOST_MISSES: Final = 6
"""After so many times in vain the next 2**6 - 2 are passed over."""
_CHORES: Final = 32
"""How many chores are kept at most; the oldest are given up."""

Events = list[tuple[int, int]]


class Waiting:
    """Waits for requests, and for whoever wakes it.

    ``passed_over`` is how many of the next requests are not looked for closely: all of them
    where there is one processor.
    """

    def __init__(self) -> None:
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._session: int | None = None
        self._chores: deque[Iterator[None]] = deque(maxlen=_CHORES)
        self._misses = 0
        self.passed_over = 0 if len(os.sched_getaffinity(0)) > 1 else inf

    def wake(self) -> None:
        """End the next wait; safe in a thread and in a signal handler."""
        os.eventfd_write(self._wake, 1)

    def add_chore(self, chore: Iterator[None]) -> None:
        """Go through ``chore`` while there is no request; each step should be a short one."""
        self._chores.append(chore)

    def wait(self, fd: int | None) -> tuple[bool, bool]:
        """Wait until there is a request at ``fd``, or somebody wakes; return whether each is so."""
        if fd is not None and self._session is None:
            self._session = fd
            self._poll.register(fd, select.POLLIN)
        if self._chores and (events := self._do_chores()):
            pass
        elif self.passed_over:
            self.passed_over -= 1
            events = self._poll.poll()
        else:
            events = self._look_closely() or self._poll.poll()
        asked = woken = False
        for ready, _ in events:
            if ready == self._wake:
                os.eventfd_read(ready)
                woken = True
            else:
                asked = True
        return asked, woken

    def _do_chores(self) -> Events:
        """Do chores until something happens or none are left; return what happened."""
        chores, poll = self._chores, self._poll.poll
        while not (events := poll(0)) and chores:
            try:
                next(chores[0])
            except StopIteration:
                chores.popleft()
            except Exception:  # noqa: BLE001 - any other would end the mount
                _log.exception("a bug in the guard, in what it does meanwhile")
                chores.popleft()
        return events

    def _look_closely(self) -> Events:
        poll = self._poll.poll
        if events := poll(0):
            return events
        end = monotonic_ns() + _CLOSELY_NS
        while monotonic_ns() < end:
            if events := poll(0):
                self._misses >>= 1
                return events
        self._misses = min(self._misses + 1, _MOST_MISSES)
        self.passed_over = (1 << self._misses) - 2
        return []
