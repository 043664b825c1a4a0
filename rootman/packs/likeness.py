"""Which files have much in common, whatever they are called. Pure.

A sketch of a file is the smallest of the hashes of the words in it; how many two sketches
share says how many of their words two files share (A. Broder, On the resemblance and
containment of documents, 1997). A word is a run of printable characters: a line of a text, a
string in a program. Two programs of one release that have the same words mostly have the same
code, too.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from heapq import nsmallest
from typing import TYPE_CHECKING, Final
from zlib import crc32

from rootman.packs.pairing import Content

if TYPE_CHECKING:
    from collections.abc import Iterable

Sketch = frozenset[int]

SMALLEST: Final = 1 << 14
"""Bytes of a file below which it is not worth a look."""

_WORD: Final = re.compile(rb"[ -~]{12,}")
_SIZE: Final = 64  # hashes in a sketch
_ALIKE: Final = 16  # of them in both sketches
_COMMON: Final = 64  # files with a word that says nothing, such as those of a licence


def sketch(pieces: Iterable[bytes]) -> Sketch:
    """Return the sketch of a file; a word that lies in two pieces is two."""
    smallest = set[int]()
    for piece in pieces:
        smallest.update(map(crc32, _WORD.findall(piece)))
        smallest = set(nsmallest(_SIZE, smallest))
    return frozenset(smallest)


class Lookalikes:
    """Files by their sketches."""

    def __init__(self) -> None:
        self._files = defaultdict[int, list[Content]](list)

    def add(self, content: Content, sketch: Sketch) -> None:
        """Let a file be found."""
        for word in sketch:
            self._files[word].append(content)

    def nearest(self, content: Content, sketch: Sketch) -> Content | None:
        """Return the file that has most in common with ``content``, if it is much."""
        shared = Counter[Content]()
        for files in filter(None, map(self._files.get, sketch)):
            if len(files) <= _COMMON:
                shared.update(one for one in files if one.is_near(content))
        if not shared:
            return None
        best = min(shared, key=lambda one: (-shared[one], one.path))
        return best if shared[best] >= _ALIKE else None
