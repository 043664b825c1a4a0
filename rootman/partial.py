"""A file of a repository of which some may be here: what came of it is kept as it comes (HT-9).

The bytes are those that the repository has, in ``objects/NAME.part``, so that a later process
asks for the rest alone. Nothing makes them durable on the way: a power cut may take the last
of them, or leave something else in their place. So they are worth no more than what
comes: whoever uses what is made of them verifies it, and begins anew where it is wrong.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from rootman.errors import InvalidInput, RootmanError
from rootman.repo.source import Missing, Reading, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from rootman.fsops import Fs
    from rootman.objects import Objects

_PIECE: Final = 1 << 16  # bytes that are asked for, and kept, at a time


class Partial(Reading):
    """The file that is kept as ``name``, read from its beginning, once.

    What an earlier process kept is read first (``is_old``: it may be torn), then the rest, which
    ``fetch`` opens at an offset (or ``obtain``). More than ``limit`` bytes are refused
    by a message about ``what``. With ``keep`` unset nothing is kept and nothing old is read.

    One thread may read while another, which changes the disk, calls ``keep`` now and then;
    ``on_read`` is called by the first when there is something to keep.

    Raises:
        OSError: what is here cannot be opened.
    """

    def __init__(
        self,
        fs: Fs,
        objects: Objects,
        name: str,
        *,
        what: str,
        limit: int,
        fetch: Callable[[int], BinaryIO] | None = None,
        on_read: Callable[[], None] = lambda: None,
        keep: bool = True,
    ) -> None:
        self._fs = fs
        self._objects = objects
        self._name = name
        self._what = what
        self._limit = limit
        self._fetch = fetch
        self._on_read = on_read
        self._part = objects.open_part(name) if keep else None
        self._keeps = keep
        self.is_old = self._part is not None
        self._old = 0 if self._part is None else os.lseek(self._part, 0, os.SEEK_END)
        self._rest: BinaryIO | None = None
        self._at = 0
        self._unkept = deque[bytes | None]()  # None is where it began anew
        self.fetched = 0

    @property
    def to_come(self) -> int | None:
        """How many bytes are not here yet, None where nobody says.

        Raises:
            RootmanError: it cannot be asked for.
        """
        size = size_of(self.ask())
        return None if size is None else size - max(self._at, self._old)

    def obtain(
        self,
        ask: Callable[[Callable[[BinaryIO], None], Callable[[], int]], None],
        use: Callable[[BinaryIO], None],
    ) -> None:
        """Have ``use`` read it and say by ``InvalidInput`` that it is wrong: it is begun anew then.

        ``ask`` gives one copy after the other to what it gets, from a byte on, while they are
        refused (``Repository.obtain_object``). All are asked once more where what is wrong may have
        been here already.

        Raises:
            RootmanError: no copy is any good, or none can be had.
            OSError: it cannot be read.
        """

        def attempt(rest: BinaryIO) -> None:
            self._rest = rest
            try:
                use(cast("BinaryIO", self))
            except InvalidInput:
                self._begin_anew()
                raise

        try:
            ask(attempt, lambda: self._old)
        except InvalidInput as error:
            if not self.is_old or isinstance(error, Missing):
                raise
            if self._old:  # there is less of it than is here
                self._begin_anew()
            ask(attempt, lambda: 0)

    def _begin_anew(self) -> None:
        self._old = self._at = 0
        self._rest = None
        self._unkept.append(None)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  as the base class
        """Read the next bytes.

        Raises:
            InvalidInput: there are more than there can be; or as the repository says.
            RootmanError: it cannot be had.
            OSError: it cannot be read.
        """
        size = min(len(buffer), _PIECE)
        if self._part is not None and self._at < self._old:
            data = os.pread(self._part, min(size, self._old - self._at), self._at)
        else:
            data = self._read(size)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        data = self.ask().read(size)
        self.fetched += len(data)
        if self._at + len(data) > self._limit:
            raise InvalidInput(f"{self._what}: larger than all that it can hold")
        if data and self._keeps:
            self._unkept.append(data)
            self._on_read()
        return data

    def ask(self) -> BinaryIO:
        """Return what comes from the repository, which is asked for it where it was not.

        Raises:
            RootmanError: it cannot be had.
        """
        if self._rest is None:
            if self._fetch is None:
                raise AssertionError("nobody said where the rest is")
            self._rest = self._fetch(max(self._at, self._old))
        return self._rest

    def keep(self) -> None:
        """Keep what was read since the last time.

        Raises:
            OSError: it cannot be written.
        """
        while self._unkept:
            data = self._unkept.popleft()
            if data is None:
                self._drop()
                continue
            if self._part is None:
                self._part = self._objects.begin(self._name)
            self._fs.write(self._part, data)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep in the end what was read in the context, also where no more can be had."""
        try:
            yield
        except RootmanError:
            self.keep()
            raise
        self.keep()

    def discard(self) -> None:
        """Close it, and remove what is here of it.

        Raises:
            OSError: it cannot be removed.
        """
        self._drop()
        self.close()

    def _drop(self) -> None:
        if self._part is not None:
            os.close(self._part)
            self._part = None
            self._objects.drop(self._name)

    def close(self) -> None:
        """Close it; what was kept stays for the next time."""
        if self._rest is not None:
            self._rest.close()
            self._rest = None
        if self._part is not None:
            os.close(self._part)
            self._part = None
        super().close()
