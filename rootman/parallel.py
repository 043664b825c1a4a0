"""A stream of jobs worked off in order by forked processes.

For loops where Python itself is what takes the time. A worker sees the caller's
memory as it was when ``ordered_map`` began. Results come in the order of the jobs,
and no more than a few per worker are kept, so that memory does not grow with their
number. What is known to be few and done at once is better served by ``workers``.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Generic, TypeVar

from rootman.errors import RootmanError, SystemFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

# Jobs begun before the oldest one is done, per worker: a long one holds nobody up.
_AHEAD: Final = 8
_PATIENCE: Final = 0.25  # seconds
_STANDARD_FDS: Final = frozenset({0, 1, 2})


def workers_for(jobs: int) -> int:
    """Return how many workers so many jobs are worth: one for each processor, and one at least."""
    return max(min(len(os.sched_getaffinity(0)), jobs), 1)


def ordered_map(
    work: Callable[[_Job], _Result],
    jobs: Iterator[_Job],
    workers: int,
    *,
    keep: frozenset[int],
    ahead: int = _AHEAD,
    on_wait: Callable[[], None] | None = None,
) -> Iterator[_Result]:
    """Yield ``work(job)`` for every job, in order, done by ``workers`` processes (1: this one).

    While it waits for them, ``on_wait`` is called a few times a second; with it one worker
    is a process, too.

    The workers have no descriptors open but those in ``keep``: a lock that was held
    here is not held any longer by them when this process is killed. For every worker
    at most ``ahead`` results wait for their turn.

    Raises:
        SystemFailure: a worker was killed.
        BaseException: whatever ``work`` raises, or ``jobs``.
    """
    if workers <= 1 and on_wait is None:
        yield from map(work, jobs)
        return
    crew = [_Worker(work, keep) for _ in range(workers)]
    try:
        yield from _dispatch(crew, jobs, ahead * workers, on_wait)
    finally:
        for worker in crew:
            worker.end()


def _dispatch(
    crew: list[_Worker[_Job, _Result]],
    jobs: Iterator[_Job],
    most: int,
    on_wait: Callable[[], None] | None,
) -> Iterator[_Result]:
    """Hand out jobs to whoever is free. A worker has one at a time, so no pipe fills up."""
    import select

    free = list(crew)
    busy: dict[int, tuple[_Worker[_Job, _Result], int]] = {}
    done: dict[int, tuple[_Result] | _Raised] = {}
    begun = following = 0
    more = True
    while more or busy:
        while more and free and begun - following < most:
            for job in jobs:
                worker = free.pop()
                worker.give(job)
                busy[worker.fileno()] = worker, begun
                begun += 1
                break
            else:
                more = False
        found = select.select(list(busy), (), (), _PATIENCE if on_wait else None)[0] if busy else ()
        if busy and not found and on_wait is not None:
            on_wait()
        for ready in found:
            worker, number = busy.pop(ready)
            done[number] = worker.take()
            free.append(worker)
        while following in done:
            yield _unpack(done.pop(following))
            following += 1


@dataclass(frozen=True, slots=True)
class _Raised:
    """What a worker sends instead of a result."""

    error: BaseException
    trace: str


class _Worker(Generic[_Job, _Result]):
    """A forked process and the two pipes to it."""

    def __init__(self, work: Callable[[_Job], _Result], keep: frozenset[int]) -> None:
        jobs, self._jobs = _pipe()
        self._results, results = _pipe()
        self._pid = os.fork()
        if not self._pid:
            try:
                _close_all_but({jobs.fileno(), results.fileno()} | keep | _STANDARD_FDS)
                _serve(work, jobs, results)
            finally:
                os._exit(0)
        jobs.close()
        results.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is a result."""
        return self._results.fileno()

    def give(self, job: _Job) -> None:
        """Give a job to a worker that has none."""
        try:
            pickle.dump(job, self._jobs)
            self._jobs.flush()
        except BrokenPipeError:
            raise _killed() from None

    def take(self) -> tuple[_Result] | _Raised:
        """Return what came of the job."""
        try:
            answer: tuple[_Result] | _Raised = pickle.load(self._results)  # noqa: S301 - our fork's
        except (EOFError, pickle.UnpicklingError):
            raise _killed() from None
        return answer

    def end(self) -> None:
        """End the process, whatever it does."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._results.close()
        with suppress(BrokenPipeError):
            self._jobs.close()


def _unpack(answer: tuple[_Result] | _Raised) -> _Result:
    if isinstance(answer, _Raised):
        if not isinstance(answer.error, RootmanError):
            answer.error.add_note(answer.trace)  # a bug: show where in the worker
        raise answer.error
    return answer[0]


def _killed() -> SystemFailure:
    return SystemFailure("a worker process was killed", hint="is there enough memory?")


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    return open(reader, "rb"), open(writer, "wb")


def _serve(work: Callable[[_Job], _Result], jobs: BinaryIO, results: BinaryIO) -> None:
    """Do jobs until the pipe closes, as it does also when the caller is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller is told, and ends us
    while True:
        try:
            job = pickle.load(jobs)  # noqa: S301 - from our own parent
        except EOFError:
            return
        answer: tuple[_Result] | _Raised
        try:
            answer = (work(job),)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            answer = _Raised(error, traceback.format_exc())
        pickle.dump(answer, results)
        results.flush()


def _close_all_but(keep: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            with suppress(OSError):  # the listing's own
                os.close(int(name))
