"""Jobs done by forked processes come back in order, and nothing of a worker stays."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from rootman.errors import Busy, SystemFailure
from rootman.parallel import ordered_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NONE = frozenset[int]()


def mapped(
    work: Callable[[int], object], count: int = 100, workers: int = 3, ahead: int = 4
) -> list[object]:
    return list(ordered_map(work, iter(range(count)), workers, keep=NONE, ahead=ahead))


@pytest.fixture(autouse=True)
def no_child_stays() -> Iterator[None]:
    gc.collect()  # what other tests left may have children, which would end now or then
    before = psutil.Process().children()
    yield
    assert psutil.Process().children() == before


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_results_come_in_order(workers: int, count: int) -> None:
    assert mapped(lambda job: job * 2, count, workers) == [job * 2 for job in range(count)]


def test_a_long_job_holds_up_nothing_but_what_follows_it() -> None:
    def work(job: int) -> int:
        if job == 0:
            time.sleep(0.2)
        return job

    assert mapped(work) == list(range(100))


def test_work_is_shared_out() -> None:
    def work(_: int) -> int:
        time.sleep(0.001)
        return os.getpid()

    assert len(set(mapped(work))) == 3


def test_no_more_is_begun_than_may_wait() -> None:
    jobs = itertools.count()

    results = ordered_map(lambda job: job, jobs, 2, keep=NONE, ahead=4)
    taken = list(itertools.islice(results, 50))
    results.close()  # type: ignore[attr-defined]  # a generator, to its caller an iterator

    assert taken == list(range(50))
    assert next(jobs) <= 50 + 2 * 4


def test_large_jobs_and_results_fill_no_pipe() -> None:
    data = bytes(1 << 20)

    results = ordered_map(lambda job: job + data, iter([data] * 20), 2, keep=NONE)

    assert [len(result) for result in results] == [2 << 20] * 20


def test_our_errors_come_through_with_their_hint() -> None:
    def work(job: int) -> None:
        if job == 3:
            raise Busy("changed", hint="wait")

    with pytest.raises(Busy, match="changed") as caught:
        mapped(work)

    assert caught.value.hint == "wait"


def test_a_bug_shows_where_in_the_worker() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        mapped(lambda job: 1 // job)

    assert "test_parallel.py" in "".join(caught.value.__notes__)


def test_a_killed_worker_is_an_error() -> None:
    with pytest.raises(SystemFailure, match="killed"):
        mapped(lambda _: os.kill(os.getpid(), signal.SIGKILL))


def test_jobs_that_raise_end_the_workers() -> None:
    def jobs() -> Iterator[int]:
        yield from range(3)
        raise Busy("no more")

    with pytest.raises(Busy):
        list(ordered_map(lambda job: job, jobs(), 2, keep=NONE))


def test_workers_have_only_the_descriptors_they_may(tmp_path: Path) -> None:
    """Else a worker would hold a lock for a moment longer than the one that was killed."""
    path = tmp_path / "lock"
    path.touch()
    lock, kept = os.open(path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)

    def work(_: int) -> list[bool]:
        return [Path(f"/proc/self/fd/{fd}").exists() for fd in (lock, kept)]

    try:
        results = list(ordered_map(work, iter(range(4)), 2, keep=frozenset({kept})))
    finally:
        os.close(lock)
        os.close(kept)

    assert results == [[False, True]] * 4


def test_workers_end_when_the_caller_is_killed() -> None:
    reader, writer = os.pipe()
    caller = os.fork()
    if caller == 0:
        results = ordered_map(
            lambda _: os.write(writer, b"%d\n" % os.getpid()),
            itertools.count(),
            2,
            keep=frozenset({writer}),
        )
        next(results)
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    os.waitpid(caller, 0)

    with open(reader, "rb") as pipe:
        pids = set(pipe.read().split())  # ends when the last worker has

    assert pids


@pytest.mark.parametrize("workers", [1, 2])
def test_who_waits_is_called(workers: int) -> None:
    """A job that ends when its caller has been heard of is in a process of its own."""
    reader, writer = os.pipe()

    def work(_: int) -> bytes:
        return os.read(reader, 1)

    def answer() -> None:
        os.write(writer, b"x")

    found = ordered_map(work, iter(range(2)), workers, keep=frozenset({reader}), on_wait=answer)
    assert list(found) == [b"x", b"x"]
    os.close(reader)
    os.close(writer)
