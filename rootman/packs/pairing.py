"""Which old file a new one is best made of. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_NUMBERS: Final = re.compile(rb"[0-9]+")
_UNLIKE: Final = 4  # times as large or as small is another kind of file


@dataclass(frozen=True, slots=True)
class Content:
    """A file with content: where it is first in its tree, and what is in it."""

    path: bytes
    size: int
    sha256: str

    def is_near(self, other: Content) -> bool:
        """Whether it has a size that a version of the other may have."""
        return self.size <= _UNLIKE * other.size and other.size <= _UNLIKE * self.size


class OldFiles:
    """The files of the old tree, to be found by a path or one that looks like it."""

    def __init__(self, contents: Iterable[Content]) -> None:
        self._by_path: dict[bytes, Content] = {}
        self._by_likeness: dict[bytes, list[Content]] = defaultdict(list)
        for content in contents:
            self._by_path[content.path] = content
            for likeness in _likenesses(content.path):
                self._by_likeness[likeness].append(content)

    def source(self, new: Content) -> Content | None:
        """Return the file at the same path, else the most similar one by its name and size.

        A version in the name, or in that of a directory, makes no difference.
        """
        there = self._by_path.get(new.path)
        if there is not None:
            return there
        for likeness in _likenesses(new.path):
            alike = [one for one in self._by_likeness.get(likeness, ()) if one.is_near(new)]
            if alike:
                return min(alike, key=lambda one: (abs(one.size - new.size), one.path))
        return None


def _likenesses(path: bytes) -> tuple[bytes, bytes]:
    """Return what a path has in common with those of other versions, the closest first."""
    whole = _NUMBERS.sub(b"#", path)
    return whole, whole.rpartition(b"/")[2]
