"""Imprints: what stands for the local changes of configuration, to find out whether it changed."""

from __future__ import annotations

import stat
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from rootman.treedirs import TreeDirs

if TYPE_CHECKING:
    import os
    from array import array
    from collections.abc import Iterator

    from rootman.merge.local import Changes
    from rootman.merge.note import Imprints
    from rootman.merge.paths import ConfigPaths

_SIZE: Final = 16


def imprints(root_fd: int, changes: Changes, sealed: array[int], config: ConfigPaths) -> Imprints:
    """Return for each path of ``config`` what stands for it, and those of ``changes`` in it.

    They are what is not as sealed in the tree ``root_fd``, ``sealed`` its sealed inodes. All that
    lstat(2) says counts, also the time of change, which shows what leaves no other trace: an
    attribute, a content with its old time. But a sealed inode has another one by every link to it,
    and a config path itself by being renamed to its place: a directory its other time, too (XFS).

    Raises:
        OSError: a config path cannot be looked at.
    """
    of_others = {status.st_ino for status in changes.values() if status is not None}
    of_others.intersection_update(sealed)
    found = {}
    with TreeDirs(root_fd) as dirs:
        for one in config.paths:
            facts = [_of_place(dirs.status(one)), *_below(one + b"/", changes, of_others)]
            digest = blake2b(repr(facts).encode(), digest_size=_SIZE)
            found[one.decode()] = digest.hexdigest()
    return found


def _of_place(status: os.stat_result | None) -> tuple[int, ...]:
    if status is None:
        return ()
    owner = (status.st_mode, status.st_uid, status.st_gid)
    return owner if stat.S_ISDIR(status.st_mode) else (*owner, *_of_file(status))


def _below(prefix: bytes, changes: Changes, linked: set[int]) -> Iterator[tuple[object, ...]]:
    for path in sorted(path for path in changes if path.startswith(prefix)):
        status = changes[path]
        if status is None:
            yield (path,)
            continue
        yield (path, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
        if not stat.S_ISDIR(status.st_mode):
            yield _of_file(status)
        if status.st_ino not in linked:
            yield (status.st_ctime_ns,)


def _of_file(status: os.stat_result) -> tuple[int, ...]:
    """Return what a directory has in its own way on each filesystem."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_rdev
