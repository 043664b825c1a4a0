"""Opening and listing the directories of a tree, and what it means that they cannot be."""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rootman.errors import Busy, InvalidInput, RootmanError, SystemFailure
from rootman.fsops import open_dir
from rootman.manifest import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a name gives that was there, or was another thing, a moment ago. openat2(2) says
# EAGAIN where a rename elsewhere kept it from being sure that it stayed below,
# readlink(2) EINVAL of what is no symlink any more.
_GONE: Final = (
    errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENODATA, errno.ENXIO,
    errno.EAGAIN, errno.EINVAL,
)  # fmt: skip

QUIET: Final = "stop what writes to the tree and try again"
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")  # as mountinfo writes a space


def refuse_mounts(root_fd: int) -> None:
    """Refuse a tree with a mount in it; also files can be mount points.

    Raises:
        InvalidInput: there is one; the message names it.
        SystemFailure: /proc cannot tell.
    """
    try:
        root = os.readlink(b"/proc/self/fd/%d" % root_fd).rstrip(b"/") + b"/"
        with open("/proc/self/mountinfo", "rb") as mounts:
            fields = [line.split(b" ")[4] for line in mounts]
    except OSError as error:
        raise SystemFailure(f"{error.filename}: {error.strerror}", hint="mount /proc") from error
    for written in fields:
        point = _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), written)
        if point.startswith(root) and point != root:
            raise other_filesystem(point[len(root) :])


@contextmanager
def open_directory(root_fd: int, path: bytes, device: int) -> Iterator[int]:
    """Open the directory ``path`` of the tree, named in what goes wrong with it.

    Raises:
        InvalidInput: another filesystem than that of ``device`` begins here.
        Busy: it is not there any more.
        SystemFailure: it cannot be read.
    """
    try:
        fd = open_dir(path, dir_fd=root_fd)
        try:
            if os.fstat(fd).st_dev != device:  # a subvolume of btrfs is no mount
                raise other_filesystem(path)
            yield fd
        finally:
            os.close(fd)
    except OSError as error:
        raise tree_failure(error, path) from error


def tree_failure(error: OSError, path: bytes) -> RootmanError:
    """Return what it means that ``path`` of a tree could not be read."""
    if error.errno in _GONE:
        return changed(path)
    if error.errno == errno.EXDEV:
        return other_filesystem(path)
    return SystemFailure(f"{show(path)}: {error.strerror}")


def changed(path: bytes) -> Busy:
    """Return the error that ``path`` of a tree is not any more what it was."""
    return Busy(f"{show(path)}: changed while it was read", hint=QUIET)


def other_filesystem(path: bytes) -> InvalidInput:
    """Return the error that ``path`` of a tree is on another filesystem."""
    return InvalidInput(
        f"{show(path)}: another filesystem begins here; a tree must be all on one",
        hint="unmount it, or copy the tree without it",
    )


def show(path: bytes) -> str:
    """Return ``path`` on one line of printable ASCII, for a message."""
    return encode(path).decode("ascii")
