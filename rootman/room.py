"""How much room a filesystem has left."""

from __future__ import annotations

import os

from rootman.demand import Room


def room_of(fd: int) -> Room:
    """Return the room of the filesystem that ``fd`` is on, for whoever is not privileged.

    Raises:
        OSError: the system refused.
    """
    found = os.fstatvfs(fd)
    # btrfs does not count inodes and says 0.
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)
