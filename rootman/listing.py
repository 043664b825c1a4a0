"""The manifest of any directory, as ``rootman manifest`` prints it, and what is named by it."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

from rootman.entries import read_content
from rootman.errors import InvalidInput, NotFound
from rootman.execute import explained
from rootman.scanner import scan_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Digest(NamedTuple):
    """The SHA-256, in hexadecimal, of a tree's manifest or a file's content of ``size`` bytes."""

    kind: Literal["tree", "file"]
    sha256: str
    size: int


@contextmanager
def listing(
    tree: str, on_progress: Callable[[int], None], *, clamp_time_ns: int | None = None
) -> Iterator[Iterator[bytes]]:
    """Open the directory ``tree`` and give the lines of its manifest.

    Modification times later than ``clamp_time_ns`` become that time.

    Raises:
        NotFound, InvalidInput: it is no directory, or something is mounted in it.
        Busy: it changes while it is read.
        SystemFailure: it cannot be read.
    """
    with explained("reading"):
        try:
            fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound(f"{tree}: no such directory") from error
        except NotADirectoryError as error:
            raise InvalidInput(f"{tree} is not a directory") from error
    try:
        yield scan_tree(fd, clamp_time_ns=clamp_time_ns, on_progress=on_progress)
    finally:
        os.close(fd)


def digest(
    path: str, on_progress: Callable[[int], None], *, clamp_time_ns: int | None = None
) -> Digest:
    """Return what names the directory or file ``path`` in a repository.

    Raises:
        RootmanError: as for ``listing``; a file that is neither is an ``InvalidInput``.
    """
    if os.path.isdir(path):
        with listing(path, on_progress, clamp_time_ns=clamp_time_ns) as lines:
            return Digest("tree", *_hashed(lines))
    with explained("reading"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound(f"{path}: no such file or directory") from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise InvalidInput(f"{path} is neither a directory nor a file")
            return Digest("file", *_hashed(read_content(fd)))
        finally:
            os.close(fd)


def _hashed(stream: Iterable[bytes]) -> tuple[str, int]:
    """Return the SHA-256 of a stream, and its size."""
    hasher, size = hashlib.sha256(), 0
    for data in stream:
        hasher.update(data)
        size += len(data)
    return hasher.hexdigest(), size
