"""What a repository is read through: its files by their paths, wherever they are.

``FolderSource`` (``folder``) and ``HttpSource`` (``http``) are sources. What comes out
of one is not trusted. Out of scope: what the files mean (``repository``).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, Protocol

from rootman.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self


class Missing(InvalidInput):
    """A repository has not a file that it should have; one that cannot be read is another error."""


class Catalogue(Protocol):
    """The small files that say what a repository has: ``repository.json`` and the releases.

    Every source is one that is taken at its word. Signed metadata make another, which
    lists and gives nothing that was not signed.
    """

    def versions(self) -> list[int]:
        """Return the versions published, in ascending order.

        Raises:
            InvalidInput: what lists them is not what it must be.
            SystemFailure, Unreachable: it cannot be read.
        """
        ...

    def read(self, path: str, limit: int) -> bytes:
        """Return the whole of the small file ``path`` of the repository (``layout``).

        Raises:
            Missing: there is no such file.
            InvalidInput: it has more than ``limit`` bytes, or is no file.
            SystemFailure, Unreachable: it cannot be read.
        """
        ...


class Source(Catalogue, Protocol):
    """The files of a repository. ``location`` is what the user named, fit to be shown."""

    @property
    def location(self) -> str:
        """What the user named, without secrets."""
        ...

    @property
    def is_near(self) -> bool:
        """Whether a file can be read and searched at the speed of the disk."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether every manifest and object is there by itself, and not in packs alone."""
        ...

    @property
    def copies(self) -> Sequence[Source]:
        """The places that have the files, the most promising first; usually the source itself.

        What one of them lacks, or has damaged, another may have.
        """
        ...

    def name_of(self, path: str) -> str:
        """Return the full name of the file ``path``, for messages."""
        ...

    def open(self, path: str, offset: int = 0) -> BinaryIO:
        """Return the file ``path`` open for reading, from the byte ``offset`` on.

        It is as long as it likes: whoever reads sets a limit. What is read from a network
        goes on after an interruption by itself, and can be read once, without seeking.

        Raises:
            Missing: there is no such file.
            InvalidInput: it is no file.
            SystemFailure, Unreachable: it cannot be read; reading may raise them, too.
        """
        ...

    def close(self) -> None:
        """Give back what reading needed; safe to call twice."""


class Reading(io.RawIOBase):
    """The base of a file that is read from its beginning to its end, once."""

    @property
    def whole_size(self) -> int | None:
        """How many bytes the file has in all, None where nobody has said."""
        return None

    def readable(self) -> bool:
        """Say yes."""
        return True


def size_of(file: BinaryIO) -> int | None:
    """Return how many bytes a file of a source has in all, None where nobody has said."""
    return file.whole_size if isinstance(file, Reading) else None


class Alone:
    """The base of a source whose files are nowhere else."""

    @property
    def copies(self) -> tuple[Self]:
        """There is no other."""
        return (self,)
