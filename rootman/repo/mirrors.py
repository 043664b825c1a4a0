"""A repository that is in several places: what one lacks, or cannot give, another may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from rootman.errors import InvalidInput, SystemFailure, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        """Return the file ``path`` of the first place that has it, open for reading."""
        return self._ask(lambda source: source.open(path, offset))

    def put_last(self, source: Source) -> None:
        """Ask ``source`` after the others from now on."""
        # One assignment: other threads see the old order or the new one.
        self._order = [*(one for one in self._order if one is not source), source]

    def close(self) -> None:
        """Close all."""
        for source in self._order:
            source.close()

    def _ask(self, question: Callable[[Source], T]) -> T:
        return _first_good(self, question)


def obtain(source: Source, path: str, use: Callable[[BinaryIO], T]) -> T:
    """Return what ``use`` makes of the file ``path``, given another copy where it refuses one.

    Raises:
        InvalidInput, SystemFailure, Unreachable: no copy is any good; the first error is told.
    """

    def attempt(copy: Source) -> T:
        with copy.open(path) as file:
            return use(file)

    return _first_good(source, attempt)


def _first_good(source: Source, question: Callable[[Source], T]) -> T:
    first: Exception | None = None
    for copy in source.copies:
        try:
            return question(copy)
        except _FAULTS as error:
            first = first or error
            if isinstance(error, Unreachable) and isinstance(source, Mirrors):
                source.put_last(copy)
    raise first or AssertionError("a repository is somewhere")
