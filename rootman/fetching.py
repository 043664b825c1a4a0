"""Fetching many objects at a time from a repository that is far away.

Threads ask, decompress and verify; the one that called writes, so that the changes of the
disk come from one hand. An object has its name from the moment it is verified whole; what came
of a large one is kept until then, as it is there (``partial``).
No thread is left when ``fetch`` returns, however it does: others fork afterwards.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from queue import Empty, Queue, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Final, NamedTuple

from rootman.delta import LANES, LARGE
from rootman.entries import ContentWriter
from rootman.objects import verified_content
from rootman.partial import Partial
from rootman.repo.layout import compressed_file
from rootman.textstream import Bounded, compressed_limit, decompress_alongside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from rootman.fsops import Fs
    from rootman.manifest import Entry
    from rootman.objects import Objects
    from rootman.textstream import Readable

_ASKED: Final = 2 * LANES  # objects that are asked for or on their way
_CHUNKS: Final = 2 * LANES  # of content that wait to be written
_TICK: Final = 0.1  # seconds


class _Job(NamedTuple):
    """An object that is wanted; what came of it is in ``partial`` where it is large."""

    digest: str
    size: int
    partial: Partial | None


class _Kind(Enum):
    """What there is to tell of an object."""

    CAME = auto()  # bytes of it, which are to be kept
    BEGINS = auto()  # the content, perhaps again
    CONTENT = auto()
    WHOLE = auto()
    FAILED = auto()


class _News(NamedTuple):
    """What a thread tells of an object."""

    kind: _Kind
    job: _Job
    content: bytes = b""
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
    # The lanes end first: what they read is kept when nobody reads any more.
    with _Desk(fs, objects, on_progress) as desk, _Lanes(objects) as lanes:
        missing = _missing(objects, desk, wanted)
        while True:
            while len(desk.asked) < _ASKED and (entry := next(missing, None)):
                lanes.ask(desk.job(entry, lanes.tell))
            if not desk.asked:
                return desk.fetched
            desk.take(lanes.news())


def _missing(objects: Objects, desk: _Desk, wanted: Iterable[Entry]) -> Iterator[Entry]:
    for entry in wanted:
        if entry.sha256 not in desk.asked and not objects.has(entry.sha256):
            yield entry


class _Desk:
    """Where what comes is written down; content that is not whole in the end is removed."""

    def __init__(self, fs: Fs, objects: Objects, on_progress: Callable[[int], None]) -> None:
        self._fs = fs
        self._objects = objects
        self._on_progress = on_progress
        self._arrivals: dict[str, _Arrival] = {}
        self._partials: dict[str, Partial] = {}
        self._came = 0
        self.asked: set[str] = set()
        self.fetched = 0

    def job(self, entry: Entry, tell: Callable[[_News], None]) -> _Job:
        """Return the job to fetch the content of ``entry``; ``tell`` is for who does it.

        Raises:
            OSError: what was kept of it cannot be opened.
        """
        digest, size = entry.sha256, entry.size
        self.asked.add(digest)
        if size <= LARGE:
            return _Job(digest, size, None)
        partial = Partial(
            self._fs,
            self._objects,
            compressed_file(digest),
            what=f"object {digest}",
            limit=compressed_limit(size),
            on_read=lambda: tell(came),
        )
        self._partials[digest] = partial
        job = _Job(digest, size, partial)
        came = _News(_Kind.CAME, job)
        return job

    def take(self, news: _News) -> None:
        """Write what there is to write.

        Raises:
            BaseException: what the thread failed with.
            OSError: it cannot be written.
        """
        job = news.job
        if job.partial is not None:
            job.partial.keep()
        match news.kind:
            case _Kind.FAILED if news.error is not None:
                raise news.error
            case _Kind.BEGINS:
                self._drop(job.digest)
                fd = self._objects.begin(job.digest)
                self._arrivals[job.digest] = _Arrival(fd, ContentWriter(self._fs, fd))
            case _Kind.CONTENT:
                self._arrivals[job.digest].out.add(news.content)
                self._came += len(news.content)
                self._on_progress(self._came)
            case _Kind.WHOLE:
                self._finish(job)

    def _finish(self, job: _Job) -> None:
        arrival = self._arrivals[job.digest]
        arrival.out.finish()
        os.close(arrival.fd)
        del self._arrivals[job.digest]
        self._objects.finish(job.digest)
        if job.partial is not None:
            job.partial.discard()
            del self._partials[job.digest]
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
        for partial in self._partials.values():
            with suppress(OSError):  # what is not kept is fetched again
                partial.keep()
            partial.close()


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

    def tell(self, news: _News) -> None:
        """Tell it, from a thread.

        Raises:
            _Stopped: nobody listens.
        """
        if self._stopped.is_set():
            raise _Stopped
        self._news.put(news)

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
                self._obtain(job)
                self.tell(_News(_Kind.WHOLE, job))
            except _Stopped:
                return
            except BaseException as error:  # noqa: BLE001  raised again by who asked
                if not self._stopped.is_set():
                    self._news.put(_News(_Kind.FAILED, job, error=error))
                return

    def _obtain(self, job: _Job) -> None:
        what, obtain = f"object {job.digest}", self._origin.obtain_object
        if job.partial is None:
            limit = compressed_limit(job.size)
            obtain(job.digest, lambda file: self._receive(job, what, Bounded(file, limit, what)))
        else:
            job.partial.obtain(
                lambda use, at: obtain(job.digest, use, at),
                lambda file: self._receive(job, what, file),
            )

    def _receive(self, job: _Job, what: str, source: Readable) -> None:
        content = verified_content(decompress_alongside(source, what), what, job.digest, job.size)
        if job.partial is None:
            content = iter([b"".join(content)])  # verified before anything is written
        self.tell(_News(_Kind.BEGINS, job))
        for chunk in content:
            self.tell(_News(_Kind.CONTENT, job, chunk))
