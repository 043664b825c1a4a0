"""Which versions a repository's folder has: those that are published, and those retired.

A retired version is one that nothing lists any more; its files stay until whoever read the
list before has had the time to fetch them (``prune``).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.repo import layout

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Versions:
    """``published`` in ascending order; ``retired`` with the time of it, in seconds since 1970.

    Of what is retired, ``deleted`` has no release any more: a prune was interrupted.
    """

    published: tuple[int, ...]
    retired: Mapping[int, float]
    deleted: frozenset[int]


def read_versions(repository_fd: int) -> Versions:
    """Return the versions in the open folder of a repository.

    Raises:
        OSError: it cannot be read, or has no releases.
    """
    retired: dict[int, float] = {}
    # First those retired: a version that is deleted meanwhile is then not taken for published.
    with suppress(FileNotFoundError):
        retired = _releases(layout.RETIRED, repository_fd)
    released = _releases(layout.RELEASES, repository_fd)
    published = tuple(sorted(released.keys() - retired.keys()))
    return Versions(published, retired, frozenset(retired.keys() - released.keys()))


def _releases(folder: str, repository_fd: int) -> dict[int, float]:
    """Return the versions that have a file in ``folder``, with the times of the files."""
    found: dict[int, float] = {}
    fd = os.open(folder, _DIRECTORY, dir_fd=repository_fd)
    try:
        for name in os.listdir(fd):
            version = layout.parse_release_file(name)
            if version is not None:
                with suppress(FileNotFoundError):  # deleted since it was listed
                    found[version] = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime
    except OSError as error:
        error.filename = folder
        raise
    finally:
        os.close(fd)
    return found
