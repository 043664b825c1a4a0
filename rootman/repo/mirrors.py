"""A repository that is in several places: what one lacks, or cannot give, another may have."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar, cast

from rootman.errors import InvalidInput, SystemFailure, Unreachable
from rootman.repo.source import Reading, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rootman.repo.source import Source

T = TypeVar("T")

# After these another place is asked; everything else is not the place's fault.
_FAULTS: Final = (InvalidInput, SystemFailure, Unreachable)


class Mirrors:
    """The files of ``first``, or else of one of the ``others``.

    A place that could not be reached is asked last from then on.
    """

    def __init__(self, first: Source, others: Sequence[Source]) -> None:
        self._first = first
        self._order = [first, *others]

    @property
    def location(self) -> str:
        """What the user named first."""
        return self._first.location

    @property
    def is_near(self) -> bool:
        """Whether all are."""
        return all(source.is_near for source in self._order)

    @property
    def is_complete(self) -> bool:
        """Every manifest and object is there by itself."""
        return True

    @property
    def copies(self) -> Sequence[Source]:
        """The places, those that could be reached first."""
        return tuple(self._order)

    def name_of(self, path: str) -> str:
        """Return the full name of the file ``path`` in the place that was named first."""
        return self._first.name_of(path)

    def versions(self) -> list[int]:
        """Return what the first place that can be asked lists."""
        return self._ask(lambda source: source.versions())

    def read(self, path: str, limit: int) -> bytes:
        """Return the small file ``path`` of the first place that has it."""
        return self._ask(lambda source: source.read(path, limit))

    def open(self, path: str, offset: int = 0) -> BinaryIO:
        """Return the file ``path`` of the first place that has it, open for reading.

        Where that goes away, the next goes on.
        """
        return cast("BinaryIO", _Roving(self, iter(self.copies), path, offset))

    def put_last(self, source: Source) -> None:
        """Ask ``source`` after the others from now on."""
        # One assignment: other threads see the old order or the new one.
        self._order = [*(one for one in self._order if one is not source), source]

    def close(self) -> None:
        """Close all."""
        for source in self._order:
            source.close()

    def _ask(self, question: Callable[[Source], T]) -> T:
        first: Exception | None = None
        for copy in self.copies:
            try:
                return question(copy)
            except _FAULTS as error:
                first = first or error
                if isinstance(error, Unreachable):
                    self.put_last(copy)
        raise first or AssertionError("a repository is somewhere")


def obtain(
    source: Source, path: str, use: Callable[[BinaryIO], T], at: Callable[[], int] = lambda: 0
) -> T:
    """Return what ``use`` makes of the file ``path``, given another copy where it refuses one.

    Each copy is open from the byte on that ``at`` says by then.

    Raises:
        InvalidInput, SystemFailure, Unreachable: no copy is any good; the first error is told.
    """
    first: InvalidInput | None = None
    copies = iter(source.copies)
    for copy in copies:
        try:
            with _open(source, copy, copies, path, at()) as file:
                return use(file)
        except InvalidInput as error:
            first = first or error
        except Unreachable as error:
            raise first or error from None
    raise first or AssertionError("a repository is somewhere")


def _open(
    source: Source, copy: Source, others: Iterator[Source], path: str, offset: int
) -> BinaryIO:
    """Open the file of ``copy``, or of the first of the ``others`` that has it."""
    if isinstance(source, Mirrors):
        return cast("BinaryIO", _Roving(source, chain([copy], others), path, offset))
    return copy.open(path, offset)


class _Roving(Reading):
    """The file ``path`` from ``position`` on, of the first of ``copies`` that has it.

    Where one cannot be read any more, the next is, from there on.
    """

    def __init__(
        self, mirrors: Mirrors, copies: Iterator[Source], path: str, position: int
    ) -> None:
        self._mirrors = mirrors
        self._copies = copies
        self._path = path
        self._position = position
        self._copy: Source | None = None
        self._first: Exception | None = None
        self._file = self._find()

    @property
    def whole_size(self) -> int | None:
        return size_of(self._file)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  as the base class
        while True:
            try:
                data = self._file.read(len(buffer))
            except Unreachable as error:
                self._file.close()
                self._suffer(error)
                self._file = self._find()
                continue
            buffer[: len(data)] = data
            self._position += len(data)
            return len(data)

    def _find(self) -> BinaryIO:
        for copy in self._copies:
            self._copy = copy
            try:
                return copy.open(self._path, self._position)
            except _FAULTS as error:
                self._suffer(error)
        raise self._first or AssertionError("a repository is somewhere")

    def _suffer(self, error: Exception) -> None:
        self._first = self._first or error
        if isinstance(error, Unreachable) and self._copy is not None:
            self._mirrors.put_last(self._copy)

    def close(self) -> None:
        self._file.close()
        super().close()
