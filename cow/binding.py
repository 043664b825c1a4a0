"""The directories of a mount over those of the running system, by binds.

What is changed in place of ``/`` itself is not: a process keeps the root directory that it has. So
each directory at the top is covered by its namesake. What is mounted below it stays in sight.
"""

from __future__ import annotations

import os
from contextlib import suppress

from cow.mounting import BIND, PRIVATE, REC, mount, unmount
from rootman.usage import GUARD_KIND, mounted_at


def cover(shown: str, hidden: str = "") -> list[str]:
    """Bind each directory at the top of the mount ``shown`` over its namesake at the top of /.

    One that is a mount point stays as it is: it is a filesystem of its own, or covered already.
    But what a guard of the tree ``hidden`` shows is covered, too. Return the paths of those
    that are covered by ``shown`` now. Either all are, or none that was not before.

    Raises:
        OSError: among others EPERM without CAP_SYS_ADMIN.
    """
    # Or what is bound below it for a moment would be seen, and unmounted, elsewhere, too.
    mount(None, shown, PRIVATE)
    with os.scandir(shown) as found:
        names = sorted(entry.name for entry in found if entry.is_dir(follow_symlinks=False))
    covered: list[str] = []
    try:
        for name in names:
            if f"/{name}" not in _points(hidden):
                _cover(f"{shown}/{name}", f"/{name}", hidden)
                covered.append(f"/{name}")
    except BaseException:
        uncover(covered)
        raise
    return covers(shown)


def covers(shown: str) -> list[str]:
    """Return the directories at the top of / that ``shown`` covers."""
    seen = mounted_at()
    points = [f"/{name}" for name in sorted(os.listdir("/"))]
    return [one for one in points if one in seen and seen[one].source == seen[shown].source]


def uncover(points: list[str]) -> None:
    """Take away what covers ``points``; what uses it may go on to."""
    for point in reversed(points):
        with suppress(OSError):
            unmount(point, lazily=True)


def _points(hidden: str) -> set[str]:
    """Return the mount points, without those at which a guard of the tree ``hidden`` is seen."""
    return {
        one.point
        for one in mounted_at().values()
        if not (one.kind == GUARD_KIND and one.source == hidden)
    }


def _cover(directory: str, point: str, hidden: str) -> None:
    """Bind ``directory`` over ``point``, at once with all that is mounted below that."""
    inner: list[str] = []
    try:
        for path in sorted(one for one in _points(hidden) if one.startswith(f"{point}/")):
            target = directory + path.removeprefix(point)
            if not any(target.startswith(f"{above}/") for above in inner):
                mount(path, target, BIND | REC)
                inner.append(target)
        mount(directory, point, BIND | REC)
    finally:
        for target in inner:
            # Or what is mounted in it would go with it wherever else it is mounted, too.
            mount(None, target, PRIVATE | REC)
        uncover(inner)
