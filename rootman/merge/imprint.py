"""Imprints: what stands for the local changes of configuration, to find out whether it changed."""

from __future__ import annotations

import stat
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import os
    from array import array
    from collections.abc import Iterator

    from rootman.merge.local import Changes
    from rootman.merge.note import Imprints
    from rootman.merge.paths import ConfigPaths

_SIZE: Final = 16


def imprints(changes: Changes, sealed: array[int], config: ConfigPaths) -> Imprints:
    """Return for each path of ``config`` what stands for those of ``changes`` that are in it.

    They are what is not as sealed in a tree, ``sealed`` its sealed inodes. All that lstat(2) says
    counts, also the time of change, which shows what leaves no other trace: an attribute, a
    content with its old time. But a sealed inode has another one by every link to it, and a
    config path itself by being renamed to its place.
    """
    of_others = {status.st_ino for status in changes.values() if status is not None}
    of_others.intersection_update(sealed)
    found = {}
    for one in config.paths:
        facts = list(_facts(one, changes, of_others))
        digest = blake2b(repr(facts).encode(), digest_size=_SIZE)
        found[one.decode()] = digest.hexdigest()
    return found


def _facts(config_path: bytes, changes: Changes, linked: set[int]) -> Iterator[tuple[object, ...]]:
    below = config_path + b"/"
    for path in sorted(changes):
        if path != config_path and not path.startswith(below):
            continue
        status = changes[path]
        if status is None:
            yield (path,)
            continue
        is_moved = path == config_path or status.st_ino in linked
        yield (path, *_of(status), None if is_moved else status.st_ctime_ns)


def _of(status: os.stat_result) -> tuple[int, ...]:
    """Return what says what an inode is; of a directory the filesystem's own business left out."""
    facts = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev)
    if stat.S_ISDIR(status.st_mode):
        return facts
    return (*facts, status.st_ino, status.st_size)
