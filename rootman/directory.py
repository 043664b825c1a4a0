"""An open directory, and what is to be known of listing one more than once."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rootman.fsops import open_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.fsops import Name


@contextmanager
def opened(path: Name, *, dir_fd: int) -> Iterator[int]:
    """Have the directory ``path`` below ``dir_fd`` open, without leaving it (``open_dir``).

    Raises:
        OSError: there is no such directory.
    """
    fd = open_dir(path, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def rewind(dir_fd: int) -> None:
    """Have the next listing of the directory show what is in it by then.

    btrfs leaves out what was made after the directory was opened or last rewound.

    Raises:
        OSError: it cannot be read.
    """
    os.lseek(dir_fd, 0, os.SEEK_SET)
