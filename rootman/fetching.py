"""Fetching many objects at a time from a repository that is far away.

Threads ask, decompress and verify; the one that called writes, so that the changes of the
disk come from one hand. An object has its name from the moment it is verified whole.
No thread is left when ``fetch`` returns, however it does: others fork afterwards.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from rootman.entries import ContentWriter
from rootman.objects import verified_content
from rootman.textstream import CHUNK, decompress_alongside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from rootman.fsops import Fs
    from rootman.manifest import Entry
    from rootman.objects import Objects

LANES: Final = 8
_ASKED: Final = 2 * LANES  # objects that are asked for or on their way
_CHUNKS: Final = 2 * LANES  # that wait to be written
_TICK: Final = 0.1  # seconds


class _Job(NamedTuple):
    digest: str
    size: int


class _News(NamedTuple):
    """What a thread tells of an object: it begins (again), has more content, is whole, failed."""

    job: _Job
    content: bytes | None = None
    begins: bool = False
    error: BaseException | None = None


class _Stopped(Exception):
    """Nobody wants to know any more."""


@dataclass(slots=True)
class _Arrival:
    """A file that is on its way."""

    fd: int
    out: ContentWriter


def fetch(
    fs: Fs, objects: Objects, wanted: Iterable[Entry], on_progress: Callable[[int], None]
) -> int:
    """Have the content of all ``wanted`` in ``objects``; return the bytes that were fetched.

    ``on_progress`` gets the bytes of content that came so far.

    Raises:
        InvalidInput: an object is missing or damaged everywhere.
        Unreachable: it cannot be had.
        OSError: it cannot be written.
    """
    with _Lanes(objects) as lanes, _Desk(fs, objects, on_progress) as desk:
        missing = _missing(objects, desk, wanted)
        while True:
            while len(desk.asked) < _ASKED and (job := next(missing, None)):
                desk.asked.add(job.digest)
                lanes.ask(job)
            if not desk.asked:
                return desk.fetched
            desk.take(lanes.news())


def _missing(objects: Objects, desk: _Desk, wanted: Iterable[Entry]) -> Iterator[_Job]:
    for entry in wanted:
        if entry.sha256 not in desk.asked and not objects.has(entry.sha256):
            yield _Job(entry.sha256, entry.size)


class _Desk:
    """Where what comes is written down; what is not whole in the end is removed."""

    def __init__(self, fs: Fs, objects: Objects, on_progress: Callable[[int], None]) -> None:
        self._fs = fs
        self._objects = objects
        self._on_progress = on_progress
        self._arrivals: dict[str, _Arrival] = {}
        self._came = 0
        self.asked: set[str] = set()
        self.fetched = 0

    def take(self, news: _News) -> None:
        """Write what there is to write.

        Raises:
            BaseException: what the thread failed with.
            OSError: it cannot be written.
        """
        digest = news.job.digest
        if news.error is not None:
            raise news.error
        if news.begins:
            self._drop(digest)
            fd = self._objects.begin(digest)
            self._arrivals[digest] = _Arrival(fd, ContentWriter(self._fs, fd))
        elif news.content is not None:
            self._arrivals[digest].out.add(news.content)
            self._came += len(news.content)
            self._on_progress(self._came)
        else:
            self._finish(news.job)

    def _finish(self, job: _Job) -> None:
        arrival = self._arrivals[job.digest]
        arrival.out.finish()
        os.close(arrival.fd)
        del self._arrivals[job.digest]
        self._objects.finish(job.digest)
        self.asked.remove(job.digest)
        self.fetched += job.size

    def _drop(self, digest: str) -> None:
        arrival = self._arrivals.pop(digest, None)
        if arrival is not None:
            self._came -= arrival.out.size
            os.close(arrival.fd)
            self._objects.drop(digest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for digest in list(self._arrivals):
            with suppress(OSError):  # what failed first is told; the next fetch removes it
                self._drop(digest)


class _Lanes:
    """The threads. A failure inside the context ends what they wait for."""

    def __init__(self, objects: Objects) -> None:
        self._origin = objects.origin
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._news: Queue[_News] = Queue(_CHUNKS)
        self._stopped = Event()
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(LANES)]

    def ask(self, job: _Job) -> None:
        """Have an object fetched."""
        self._jobs.put(job)

    def news(self) -> _News:
        """Wait for the next that is told."""
        return self._news.get()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stopped.set()
        if kind is not None:
            self._origin.close()
        for _thread in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            while thread.is_alive():
                self._hear()
                thread.join(_TICK)

    def _hear(self) -> None:
        """Let go who waits to be heard."""
        try:
            while True:
                self._news.get_nowait()
        except Empty:
            pass

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._stopped.is_set():
            try:
                self._origin.obtain_object(job.digest, lambda source: self._receive(job, source))
                self._tell(_News(job))
            except _Stopped:
                return
            except BaseException as error:  # noqa: BLE001  raised again by who asked
                if not self._stopped.is_set():
                    self._news.put(_News(job, error=error))
                return

    def _receive(self, job: _Job, source: BinaryIO) -> None:
        what = f"object {job.digest}"
        content = verified_content(decompress_alongside(source, what), what, job.digest, job.size)
        if job.size <= CHUNK:
            whole = b"".join(content)
            self._tell(_News(job, begins=True))
            self._tell(_News(job, whole))
        else:
            self._tell(_News(job, begins=True))
            for chunk in content:
                self._tell(_News(job, chunk))

    def _tell(self, news: _News) -> None:
        if self._stopped.is_set():
            raise _Stopped
        self._news.put(news)
