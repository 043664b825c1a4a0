"""Merging text line by line, by diff3(1), which every Debian has."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from typing import Final

MOST: Final = 1 << 20
"""Bytes of a text; what is larger is no configuration that people write."""
_MERGED: Final = 0
_SECONDS: Final = 30


def merge_text(base: bytes, local: bytes, new: bytes) -> bytes | None:
    """Return ``local`` with what the lines of ``new`` have otherwise than those of ``base``.

    None is returned where both changed the same lines, one is no text, or there is no diff3.

    Raises:
        OSError: there is no memory for them.
    """
    sides = (local, base, new)
    if any(len(one) > MOST or b"\0" in one for one in sides):
        return None
    with ExitStack() as stack:
        fds = [_in_memory(one, stack) for one in sides]
        # -m writes the whole file, -E takes lines that both changed alike for no conflict.
        command = ["diff3", "-m", "-E", "--", *(f"/proc/self/fd/{fd}" for fd in fds)]
        try:
            done = subprocess.run(
                command,
                pass_fds=fds,
                capture_output=True,
                check=False,
                timeout=_SECONDS,
                env={**os.environ, "LC_ALL": "C"},
            )
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return None
    return done.stdout if done.returncode == _MERGED else None


def _in_memory(data: bytes, stack: ExitStack) -> int:
    fd = os.memfd_create("merge", os.MFD_CLOEXEC)
    stack.callback(os.close, fd)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    return fd
