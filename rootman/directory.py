"""An open directory that is listed more than once."""

from __future__ import annotations

import os


def rewind(dir_fd: int) -> None:
    """Have the next listing of the directory show what is in it by then.

    btrfs leaves out what was made after the directory was opened or last rewound.

    Raises:
        OSError: it cannot be read.
    """
    os.lseek(dir_fd, 0, os.SEEK_SET)
