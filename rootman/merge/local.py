"""The local changes of configuration: where a tree is not as it was sealed, and what is there.

Found by lstat(2) alone, against the digests of directories and the sealed inodes, so that what
nobody changed costs no reading (MG-2). Everything is reached by directory descriptors below
the tree, and no symlink is followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rootman.comparison import lines_within
from rootman.delta import is_directory
from rootman.fsops import opened
from rootman.manifest import field_path, group_inode, line_path, parse_line, path_field
from rootman.merge.paths import NO_CONFIG, ConfigPaths
from rootman.reading import other_filesystem, tree_failure
from rootman.scanner import describe
from rootman.store import RELEASE_FILE, open_below
from rootman.survey import look_at, look_closer
from rootman.treedirs import GONE, TreeDirs
from rootman.walk import join, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootman.delta import Drift
    from rootman.manifest import Entry
    from rootman.seal import SealRecord

_DIR: Final = stat.S_IFDIR

Changes = dict[bytes, os.stat_result | None]
"""What lstat says of each path that is not as sealed; None where nothing is."""


def sealed_config(record: SealRecord) -> ConfigPaths:
    """Return the config paths of the release that a tree is of, none of a tree that is of none.

    Raises:
        InvalidInput: its record is damaged.
    """
    from rootman.release import parse_release

    try:
        with open_below(RELEASE_FILE, record.dir_fd) as file:
            release = parse_release(file.read(), f"{record.origin}/{RELEASE_FILE}")
    except FileNotFoundError:
        return NO_CONFIG
    return ConfigPaths.of(release.config, release.state)


def find_drift(root_fd: int, record: SealRecord, config: ConfigPaths) -> list[Drift]:
    """Return where the configuration of the tree ``root_fd`` is not as sealed, in manifest order.

    Of a directory where there was none, what is in it is not told.

    Raises:
        InvalidInput: the record is damaged, or something is mounted there.
        Busy: the tree changes while it is read.
        SystemFailure: it cannot be read.
    """
    digests = record.digests()
    parents = {os.fsdecode(path) for path in config.parents}
    wanted = [path for path in digests if path in parents or config.covers(os.fsencode(path))]
    changed = [path for path in wanted if not is_as_sealed(root_fd, path, digests[path])]
    if not changed:
        return []
    fields = [path_field(path) for path in config.paths]
    with record.manifest() as stream:
        lines = lines_within(stream, fields)
        drift = look_closer(root_fd, changed, lines, record.inodes())
    return sorted(one for one in drift if config.covers(field_path(one.field)))


def find_changes(root_fd: int, record: SealRecord, config: ConfigPaths) -> Changes:
    """Return the configuration of the tree ``root_fd`` that is not as it was sealed.

    Raises:
        RootmanError: as for ``find_drift``.
    """
    return changes_of(root_fd, find_drift(root_fd, record, config))


def changes_of(root_fd: int, drift: Iterable[Drift]) -> Changes:
    """Return what is at each path of ``drift``, and below where there was no directory.

    Raises:
        RootmanError: as for ``find_drift``.
    """
    found: Changes = {}
    with TreeDirs(root_fd) as dirs:
        for one in drift:
            path = field_path(one.field)
            found[path] = _status(dirs, path)
            if one.line is None or not is_directory(one.line):
                found.update(_below(root_fd, path, found[path]))
    return found


def is_as_sealed(root_fd: int, path: str, digest: bytes) -> bool:
    """Return whether a directory is what its digest stands for.

    Raises:
        InvalidInput: something is mounted there.
        Busy, SystemFailure: it cannot be read.
    """
    try:
        with opened(path, dir_fd=root_fd) as fd:
            return look_at(fd)[0] == digest
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise other_filesystem(os.fsencode(path)) from error
        if error.errno not in GONE:
            raise tree_failure(error, os.fsencode(path)) from error
        return False


def _status(dirs: TreeDirs, path: bytes) -> os.stat_result | None:
    try:
        return dirs.status(path)
    except OSError as error:
        raise tree_failure(error, path) from error


def _below(root_fd: int, path: bytes, status: os.stat_result | None) -> Changes:
    """Return all that is below what the release has no directory for."""
    found: Changes = {}
    pending = [path] if status is not None and stat.S_IFMT(status.st_mode) == _DIR else []
    while pending:
        parent = pending.pop()
        try:
            with opened(parent, dir_fd=root_fd) as fd, os.scandir(fd) as entries:
                for entry in entries:
                    inner = join(parent, os.fsencode(entry.name))
                    found[inner] = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(inner)
        except OSError as error:
            raise tree_failure(error, parent) from error
    return found


def describe_changes(root_fd: int, changes: Changes) -> dict[bytes, Entry | None]:
    """Return what is at each changed path, content hashed and names of one inode known as such.

    Raises:
        Busy: one is not any more what it was.
        InvalidInput: something is mounted there.
        SystemFailure: one cannot be read.
    """
    found: dict[bytes, Entry | None] = {}
    groups: dict[int, list[bytes]] = {}
    with TreeDirs(root_fd) as dirs:
        for path, status in sorted(changes.items()):
            found[path] = None
            if status is None:
                continue
            parent, name = split(path)
            try:
                found[path] = describe(dirs.fd(parent), name, path, status)
            except OSError as error:
                raise tree_failure(error, path) from error
            if status.st_nlink > 1 and stat.S_IFMT(status.st_mode) != _DIR:
                groups.setdefault(status.st_ino, []).append(path)
    for names in groups.values():
        if len(names) > 1:
            inode = group_inode(min(names, key=path_field))
            for path in names:
                entry = found[path]
                if entry is not None:
                    found[path] = replace(entry, nlink=len(names), inode=inode)
    return found


class Lines(Mapping[bytes, "Entry"]):
    """The entries of some manifest lines by path, each parsed when it is asked for."""

    def __init__(self, numbered: Iterable[tuple[int, bytes]]) -> None:
        self._lines = {field_path(line_path(line)): (number, line) for number, line in numbered}

    @classmethod
    def of_config(cls, manifest: Iterable[bytes], config: ConfigPaths) -> Lines:
        """Return those of configuration and of the directories above it."""
        fields, above = (map(path_field, some) for some in (config.paths, config.above))
        return cls(
            (number, line)
            for number, line in lines_within(manifest, fields, above)
            if not config.is_state(field_path(line_path(line)))
        )

    def __getitem__(self, path: bytes) -> Entry:
        return parse_line(self._lines[path][1])

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def line(self, path: bytes) -> bytes:
        """Return the line of ``path``.

        Raises:
            KeyError: it has none.
        """
        return self._lines[path][1]

    def number(self, path: bytes) -> int:
        """Return the number of the line of ``path``.

        Raises:
            KeyError: it has none.
        """
        return self._lines[path][0]
