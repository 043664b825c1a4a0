"""What drives pyfuse3's handlers: a plain loop in place of trio, plugged in as its asyncio is.

The handlers of the guard hardly ever wait, so an event loop around them is pure cost: one
request costs half of what it costs on trio (ADR 0009). A handler that does wait, for a
``Job`` in a thread, lets the others go on. Out of scope: what the handlers do.
"""

from __future__ import annotations

import signal
from collections import deque
from contextlib import contextmanager
from threading import Thread
from types import TracebackType, coroutine
from typing import TYPE_CHECKING, Any, Final, Self

import pyfuse3

from cow.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator


class Closed(Exception):
    """The session ends."""


class _Done:
    """Something to await that is there already.

    It is three times in each request, so no Python runs for it: a tuple's own iterator has
    nothing to wait for.
    """

    __await__: Callable[[], Generator[None, None, None]] = ().__iter__  # type: ignore[assignment]


_DONE: Final = _Done()


@coroutine
def _pause() -> Generator[None, None, None]:
    yield


class Loop:
    """Runs pyfuse3's session; its attributes are those of trio that pyfuse3 uses.

    To be made before ``pyfuse3.init`` is called.
    """

    ClosedResourceError = Closed

    def __init__(self) -> None:
        self.lowlevel = self.from_thread = self
        self._ready: deque[Any] = deque()
        self._waiting: list[Any] = []
        self._lock_waiters: deque[Any] = deque()
        self._finished: deque[Any] = deque()
        self._current: Any = None
        self._closing = False
        self._next = Waiting()
        pyfuse3.trio = self

    # --- for the guard ------------------------------------------------------------------

    def run(self, *, workers: int) -> None:
        """Answer requests until the filesystem is unmounted or ``stop`` was called."""
        main = pyfuse3.main(min_tasks=1, max_tasks=workers)
        self._ready.append(main)
        while self._step(main):
            pass

    def _step(self, main: Any) -> bool:  # noqa: ANN401 - a coroutine of pyfuse3
        while not self._ready:
            self._sleep(None)
        self._current = task = self._ready.popleft()
        try:
            task.send(None)
        except StopIteration:
            if task is main:
                return False
            self._ended(task)
        return True

    async def offload(self, work: Callable[[], object]) -> None:
        """Have a thread do ``work`` while other requests are answered.

        Raises:
            Exception: what ``work`` raised.
        """
        job = _Job(self, work, self._current)
        job.start()
        # Once, also if it is done already: its end has this task go on, and only once.
        await self._let_others()
        if job.error is not None:
            raise job.error

    async def wait(self) -> None:
        """Let others go on until one of them calls ``resume``."""
        self._waiting.append(self._current)
        await self._let_others()

    def resume(self) -> None:
        """Have all go on that wait."""
        self._ready.extend(self._waiting)
        self._waiting.clear()

    async def _let_others(self) -> None:
        """Suspend the current task; one that waits to read the next request goes on."""
        task = self._current
        if self._lock_waiters:
            self._ready.append(self._lock_waiters.popleft())
        await _pause()
        self._current = task

    def stop(self) -> None:
        """End the session as soon as the current request is answered; safe in a signal handler."""
        self._closing = True
        self.wake()

    def wake(self) -> None:
        """End a sleep of the loop; safe in a thread."""
        self._next.wake()

    @contextmanager
    def stopping_on(self, *signals: signal.Signals, stop: Callable[[], None]) -> Iterator[None]:
        """Have the signals call ``stop``."""
        old = {one: signal.signal(one, lambda *_: stop()) for one in signals}
        try:
            yield
        finally:
            for one, handler in old.items():
                signal.signal(one, handler)

    def _sleep(self, fd: int | None) -> bool:
        """Wait for a request at ``fd`` or for a finished job; return whether there is a request."""
        asked, woken = self._next.wait(fd)
        while woken and self._finished:
            self._ready.append(self._finished.popleft())
        return asked

    def when_idle(self, chore: Iterator[None]) -> None:
        """Go through ``chore`` while there is no request; each step should be a short one."""
        self._next.add_chore(chore)

    def _finish(self, task: Any) -> None:  # noqa: ANN401 - a coroutine of pyfuse3
        """Have ``task`` go on; called in the thread of its job."""
        self._finished.append(task)
        self.wake()

    # --- as pyfuse3 uses trio -----------------------------------------------------------

    def current_trio_token(self) -> str:
        """Return something that is not None."""
        return "rootman"

    def current_task(self) -> Self:
        """Return something with a name, for pyfuse3's debugging messages."""
        return self

    name = "guard"

    def Lock(self) -> _Lock:  # noqa: N802 - trio's name
        """Return a lock for the one who reads the next request."""
        return _Lock(self)

    def open_nursery(self) -> _Nursery:
        """Return what the workers of a session are started in."""
        self._nursery = _Nursery(self)
        return self._nursery

    def _ended(self, task: Any) -> None:  # noqa: ANN401 - a coroutine of pyfuse3
        self._nursery.ended(task)

    def notify_closing(self, fd: int) -> None:
        """Have ``wait_readable`` end."""
        del fd
        self.stop()

    def wait_readable(self, fd: int) -> Awaitable[None]:
        """Wait for a request; whoever else can go on does so first.

        Raises:
            Closed: the session ends.
        """
        if not self._ready and not self._closing and self._sleep(fd):
            return _DONE
        return self._wait_readable(fd)

    async def _wait_readable(self, fd: int) -> None:
        while True:
            if self._closing:
                raise Closed
            if self._ready:
                task = self._current
                self._ready.append(task)
                await _pause()
                self._current = task
            elif self._sleep(fd):
                return


class _Job(Thread):
    """Work in a thread that the loop's thread does not wait for."""

    def __init__(self, loop: Loop, work: Callable[[], object], task: Any) -> None:  # noqa: ANN401
        super().__init__(daemon=True)
        self._loop = loop
        self._work = work
        self._task = task
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self.error = error
        self._loop._finish(self._task)  # noqa: SLF001 - one unit with the loop


class _Lock:
    """A lock whose waiters go on only when its owner has to wait for something else."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._held = False

    def __aenter__(self) -> Awaitable[None]:
        if self._held:
            return self._acquire()
        self._held = True
        return _DONE

    async def _acquire(self) -> None:
        loop = self._loop
        while self._held:
            task = loop._current  # noqa: SLF001 - one unit with the loop
            loop._lock_waiters.append(task)  # noqa: SLF001
            await _pause()
            loop._current = task  # noqa: SLF001
        self._held = True

    def __aexit__(self, *_: object) -> Awaitable[None]:
        self._held = False
        loop = self._loop
        if loop._closing and loop._lock_waiters:  # noqa: SLF001
            loop._ready.append(loop._lock_waiters.popleft())  # noqa: SLF001
        return _DONE


class _Nursery:
    """The workers of a session."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._tasks: set[Any] = set()
        self._waiting: Any = None

    async def __aenter__(self) -> Self:
        return self

    def start_soon(
        self,
        start: Callable[..., Coroutine[Any, Any, object]],
        *arguments: object,
        name: str | None = None,
    ) -> None:
        """Start a worker."""
        del name
        task = start(*arguments)
        self._tasks.add(task)
        self._loop._ready.append(task)  # noqa: SLF001 - one unit with the loop

    def ended(self, task: Any) -> None:  # noqa: ANN401 - a coroutine of pyfuse3
        """Go on after the last one."""
        self._tasks.discard(task)
        if self._loop._lock_waiters:  # noqa: SLF001
            self._loop._ready.append(self._loop._lock_waiters.popleft())  # noqa: SLF001
        if not self._tasks and self._waiting is not None:
            self._loop._ready.append(self._waiting)  # noqa: SLF001

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        while self._tasks:
            self._waiting = self._loop._current  # noqa: SLF001
            await _pause()
            self._loop._current = self._waiting  # noqa: SLF001
