"""A manifest as a revision of another, for the stream ``MANIFEST``. Pure.

Lines of text: ``=N`` keep N lines, ``-N`` leave N out, ``~KEYWORD=VALUE ...`` the next
line with these keywords changed, ``+LINE`` a new line, ``.`` the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rootman.comparison import compare
from rootman.manifest import HEADER, MAX_LINE
from rootman.packs.streams import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootman.packs.streams import Stream

_END: Final = b".\n"
_COUNT: Final = re.compile(rb"[1-9][0-9]{0,11}\n")
_MAX_LINE: Final = MAX_LINE + 1


def revise(old: Iterable[bytes], new: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines that make the manifest ``new`` of ``old``, both cut anywhere.

    Raises:
        InvalidManifest: as for ``comparison.compare``.
    """
    passed = 0
    for change in compare(old, new):
        if change.old_index > passed:
            yield b"=%d\n" % (change.old_index - passed)
            passed = change.old_index
        if change.old is not None:
            passed += 1
        if change.new is None:
            yield b"-1\n"
        elif change.old is None:
            yield b"+" + change.new
        else:
            yield _changed(change.old, change.new)
    yield _END


def _changed(old: bytes, new: bytes) -> bytes:
    """Return how a line becomes another of the same path."""
    before, after = old.split(), new.split()
    if [_keyword(one) for one in before] != [_keyword(one) for one in after]:
        return b"-1\n+" + new
    words = (there for here, there in zip(before, after, strict=True) if here != there)
    return b"~" + b" ".join(words) + b"\n"


def _keyword(word: bytes) -> bytes:
    return word[: word.find(b"=")]


def revised(old: Iterator[bytes], stream: Stream, size: int) -> Iterator[bytes]:
    """Yield the lines of the new manifest, its header first; ``old`` yields those of the old one.

    What comes out has any form at all until its hash is known, and at most ``size`` bytes,
    as many as the new manifest has.

    Raises:
        Damaged: the stream is not a revision of ``old``.
    """
    for line in _revised(old, stream):
        size -= len(line)
        if size < 0:
            raise _damaged(stream, "it makes a longer manifest than there is")
        yield line


def _revised(old: Iterator[bytes], stream: Stream) -> Iterator[bytes]:
    yield HEADER
    while (line := stream.line(_MAX_LINE)) != _END:
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            yield rest
        elif kind == b"~":
            yield _with(_next(old, stream), rest)
        elif kind == b"=":
            for _ in range(_count(rest, stream)):
                yield _next(old, stream)
        elif kind == b"-":
            for _ in range(_count(rest, stream)):
                _next(old, stream)
        else:
            raise _damaged(stream, "not an edit")
    yield from old


def _next(old: Iterator[bytes], stream: Stream) -> bytes:
    for line in old:
        return line
    raise _damaged(stream, "the manifest that it is for is longer")


def _count(text: bytes, stream: Stream) -> int:
    # Not 0: every edit is of a line, so there are no more edits than lines.
    if _COUNT.fullmatch(text) is None:
        raise _damaged(stream, "not a number of lines")
    return int(text)


def _damaged(stream: Stream, problem: str) -> Damaged:
    return Damaged(f"{stream.what}: damaged: {problem}")


def _with(line: bytes, changes: bytes) -> bytes:
    """Return ``line`` with the words of ``changes`` in place of those with their keywords."""
    new = {_keyword(word): word for word in changes.split()}
    words = (new.get(_keyword(word), word) for word in line.split())
    return b" ".join(words) + b"\n"
