"""Small files, replaced whole and read whole: the old content or the new, whatever happens."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from rootman.errors import NotFound, SystemFailure
from rootman.store import open_below

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootman.fsops import Fs


def write_file(fs: Fs, name: str, pieces: Iterable[bytes], *, dir_fd: int) -> None:
    """Make the file ``name`` with the ``pieces`` in it, durable but for its name.

    Raises:
        OSError: the system refused.
    """
    fd = fs.create(name, dir_fd=dir_fd)
    try:
        for piece in pieces:
            fs.write(fd, piece)
        fs.fsync(fd)
    finally:
        os.close(fd)


def replace_file(
    fs: Fs, name: str, data: bytes, *, new: str, dir_fd: int, mode: int | None = None
) -> None:
    """Have ``data`` in the file ``name``, durably; its mode is ``mode``, or that of a new file.

    Until then it is ``new`` in the same directory, where one may be left by somebody killed.

    Raises:
        OSError: the system refused; the file is the old one or the new one.
    """
    with suppress(FileNotFoundError):
        fs.unlink(new, dir_fd=dir_fd)
    write_file(fs, new, (data,), dir_fd=dir_fd)
    if mode is not None:
        fs.chmod(new, mode, dir_fd=dir_fd)
    fs.rename(new, name, source_fd=dir_fd, target_fd=dir_fd)
    fs.fsync(dir_fd)


def put_file(fs: Fs, name: str, data: bytes, *, new: str, staging: int, dir_fd: int) -> None:
    """Let durable ``data`` take the place of a file of a store; until then it is litter (ST-11).

    The name is durable with the next fsync of ``dir_fd``.

    Raises:
        OSError: the system refused; the file is the old one or the new one.
    """
    write_file(fs, new, (data,), dir_fd=staging)
    fs.rename(new, name, source_fd=staging, target_fd=dir_fd)


def read_file(name: str, limit: int, *, dir_fd: int) -> bytes | None:
    """Return at most ``limit`` bytes of the file ``name``, None where there is none.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with open_below(name, dir_fd) as file:
            return file.read(limit)
    except FileNotFoundError:
        return None


def open_given(path: str, *, hint: str | None = None) -> int:
    """Open a directory that the user named; return the descriptor.

    Raises:
        NotFound: there is no such directory; ``hint`` says what to do about that.
        OSError: it cannot be opened.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"{path}: no such directory", hint=hint) from error


def read_given(path: str, limit: int) -> bytes:
    """Return at most ``limit`` bytes of a file that the user named.

    Raises:
        NotFound: there is no such file.
        SystemFailure: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except OSError as error:
        raise SystemFailure(f"{path}: {error.strerror}") from error
