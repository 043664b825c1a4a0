"""Work shared out to forked processes, because stat(2) and link(2) scale and Python does not.

A worker is a fork of this process: it sees everything, returns bytes, and its
exceptions are raised here. With one worker nothing is forked.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# One more than the two cores of a small device: while one waits for the journal, another works.
DEFAULT: Final = min(os.cpu_count() or 1, 4) + 1


Task = Callable[[], bytes]


def run(tasks: Sequence[Task]) -> list[bytes]:
    """Run every task, all but the first in forks of their own; return their results in order.

    Raises:
        Exception: the first that a task raised for a reason of its own, when all have ended.
    """
    forks = [_fork(task) for task in tasks[1:]]
    return _results([_attempt(tasks[0]), *map(_collect, forks)])


def start(tasks: Sequence[Task]) -> Callable[[], list[bytes]]:
    """Start every task in a fork of its own; the function returned waits for their results.

    A single task is not forked: it runs when its result is asked for.
    """
    if len(tasks) == 1:
        return lambda: _results([_attempt(tasks[0])])
    forks = [_fork(task) for task in tasks]
    return lambda: _results([_collect(fork) for fork in forks])


def _results(results: Sequence[bytes | Exception]) -> list[bytes]:
    errors = [result for result in results if isinstance(result, Exception)]
    for error in sorted(errors, key=lambda one: isinstance(one, BrokenBarrierError)):
        raise error
    return [result for result in results if isinstance(result, bytes)]


def _collect(fork: tuple[int, int]) -> bytes | Exception:
    pid, reader = fork
    with open(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    return _unpack(data)


def _attempt(task: Task) -> bytes | Exception:
    try:
        return task()
    except Exception as error:  # noqa: BLE001  raised again by run()
        return error


def _fork(task: Task) -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    try:
        with open(writer, "wb") as pipe:
            pipe.write(pickle.dumps(_attempt(task)))
    finally:
        os._exit(0)


def _unpack(data: bytes) -> bytes | Exception:
    if not data:
        return ChildProcessError("a worker process was killed")
    result: bytes | Exception = pickle.loads(data)  # noqa: S301  from our own fork
    return result


class Barrier:
    """A place where the tasks of one ``run`` wait for each other.

    A party that fails leaves the barrier broken, and the others do not wait for ever.
    """

    def __init__(self, parties: int) -> None:
        self._parties = parties
        self._leader = os.getpid()  # the task that run() keeps in this process
        self._arrived = os.pipe2(os.O_CLOEXEC)
        self._go = os.pipe2(os.O_CLOEXEC)

    @contextmanager
    def party(self) -> Iterator[Callable[[], None]]:
        """Take part; the context's value is the function that waits for all the others."""
        leads = os.getpid() == self._leader
        unused = (self._arrived[1], self._go[0]) if leads else (self._arrived[0], self._go[1])
        used = (self._arrived[0], self._go[1]) if leads else (self._arrived[1], self._go[0])
        for fd in unused:
            os.close(fd)
        try:
            yield partial(self._lead, *used) if leads else partial(self._follow, *used)
        finally:
            for fd in used:
                os.close(fd)

    def _lead(self, arrived: int, go: int) -> None:
        missing = self._parties - 1
        while missing:
            count = len(os.read(arrived, missing))
            if not count:
                raise BrokenBarrierError
            missing -= count
        if self._parties > 1:  # alone, nobody has the other end open
            os.write(go, bytes(self._parties - 1))

    def _follow(self, arrived: int, go: int) -> None:
        os.write(arrived, b".")
        if not os.read(go, 1):
            raise BrokenBarrierError


class BrokenBarrierError(Exception):
    """Another task of the same run failed; its own error is the one that counts."""
