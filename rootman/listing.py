"""The manifest of any directory, as ``rootman manifest`` prints it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rootman.errors import InvalidInput, NotFound
from rootman.execute import explained
from rootman.scanner import scan_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def listing(tree: str, on_progress: Callable[[int], None]) -> Iterator[Iterator[bytes]]:
    """Open the directory ``tree`` and give the lines of its manifest.

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
        yield scan_tree(fd, on_progress=on_progress)
    finally:
        os.close(fd)
