"""The manifest of a real tree.

In scope: walking a tree in manifest order, describing every entry, hashing in
parallel. Nothing is skipped and nothing below the tree is trusted to stay where it
is: every access is through a directory descriptor and follows no symlink. Out of
scope: what the lines are for, and the order and form of a line (``manifest``).

Memory does not grow with the tree, except for the names of its largest directory,
one number per hardlinked file, and the groups of its in-tree hardlinks.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import stat
from array import array
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from rootman.entries import open_quietly
from rootman.errors import Busy
from rootman.fsops import open_dir
from rootman.manifest import HEADER, ROOT, Entry, EntryType, format_line, group_inode
from rootman.parallel import ordered_map
from rootman.reading import QUIET, changed, open_directory, refuse_mounts, tree_failure
from rootman.walk import join, walk
from rootman.xattrs import Xattrs, path_at, read_xattrs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

CHUNK: Final = 1 << 18
_BATCH: Final = 256  # entries a worker gets at once
_WORTH_FORKING: Final = 2_000  # entries; below, one process is done before two have begun
_WORTH_FORKING_BYTES: Final = 64 << 20

_TYPES: Final[dict[int, EntryType]] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
_Inode = tuple[int, int]  # device, number
_Names = list[tuple[bytes, bool]]  # each with whether it was listed as a directory
_Batch = list[tuple[bytes, _Names]]  # directories, each with names in it
_Described = bytes | tuple[_Inode, Entry]  # a line, or the name of a hardlink group


def scan_tree(
    root_fd: int,
    *,
    clamp_time_ns: int | None = None,
    workers: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[bytes]:
    """Yield the manifest of the tree open at ``root_fd``, line by line, the first included.

    It is that of the tree as it was at one time, or in the end there is an error.
    Times later than ``clamp_time_ns`` (nanoseconds since 1970) become that time.
    ``workers`` processes do it, as many as there are processors by default.
    ``on_progress`` gets the number of entries done so far.

    Raises:
        InvalidInput: something is mounted in the tree.
        Busy: the tree changes while it is read.
        SystemFailure: the system refuses to let it be read.
    """
    survey = _survey(root_fd)
    if workers is None:
        small = survey.entries < _WORTH_FORKING and survey.bytes < _WORTH_FORKING_BYTES
        workers = 1 if small else len(os.sched_getaffinity(0))
    describe = _Describer(root_fd, survey.groups.keys(), clamp_time_ns)
    list_directory = _Lister(root_fd, survey.device)
    done = seen = 0
    yield HEADER
    batches = _batches(walk(list_directory))
    for lines, state in ordered_map(describe, batches, workers, keep=frozenset({root_fd})):
        for line in lines:
            yield line if isinstance(line, bytes) else _group_line(survey.groups, *line)
        done += len(lines)
        seen += state
        if on_progress is not None:
            on_progress(done)
    if seen != survey.state or list_directory.listed != survey.listed:
        raise Busy("the tree changed while it was read", hint=QUIET)


@dataclass(slots=True)
class _Group:
    """The names of one inode in the tree; the inode keyword is known from the first on."""

    names: int
    inode: int = -1


@dataclass(slots=True)
class _Survey:
    """What must be known of the whole tree before its first line."""

    device: int
    entries: int = 0
    bytes: int = 0
    state: int = 0  # the sum of all entries' fingerprints
    listed: int = 0  # that of all directories
    groups: dict[_Inode, _Group] = field(default_factory=dict)


def _survey(root_fd: int) -> _Survey:
    refuse_mounts(root_fd)
    survey = _Survey(os.fstat(root_fd).st_dev)
    linked: dict[int, array[int]] = {}  # per device: on overlayfs files have several
    directories = [ROOT]
    while directories:
        path = directories.pop()
        parent = b"" if path == ROOT else path
        with open_directory(root_fd, path, survey.device) as fd, os.scandir(fd) as entries:
            survey.listed += _fingerprint(os.fstat(fd))
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(join(parent, os.fsencode(entry.name)))
                else:
                    _count(survey, entry.stat(follow_symlinks=False), linked)
            survey.entries += 1
    for device, numbers in linked.items():
        for number, names in _repeated(numbers):
            survey.groups[device, number] = _Group(names)
    survey.state += survey.listed
    return survey


def _count(survey: _Survey, status: os.stat_result, linked: dict[int, array[int]]) -> None:
    survey.entries += 1
    survey.bytes += status.st_size
    survey.state += _fingerprint(status)
    if status.st_nlink > 1:
        linked.setdefault(status.st_dev, array("Q")).append(status.st_ino)


def _fingerprint(status: os.stat_result) -> int:
    """Return a number that differs where an entry does.

    Their sum over a tree says in no memory whether the entries and the lists of names
    that were read one after another are those that were there together at the survey.
    The number of links is not in it: another tree may link a file meanwhile.
    """
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    owner = status.st_uid, status.st_gid
    return hash((status.st_ino, status.st_mode, owner, size, status.st_mtime_ns))


def _repeated(numbers: array[int]) -> Iterator[tuple[int, int]]:
    """Yield those of ``numbers`` that occur more than once, and how often."""
    for number, same in itertools.groupby(sorted(numbers)):
        if (count := sum(1 for _ in same)) > 1:
            yield number, count


class _Lister:
    """Lists directories, as ``walk`` wants it; ``listed`` is the sum of their fingerprints."""

    def __init__(self, root_fd: int, device: int) -> None:
        self._root_fd = root_fd
        self._device = device
        self.listed = 0

    def __call__(self, path: bytes) -> Iterator[tuple[bytes, bool]]:
        with open_directory(self._root_fd, path, self._device) as fd:
            with os.scandir(fd) as entries:
                for entry in entries:
                    yield os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)
            self.listed += _fingerprint(os.fstat(fd))


def _batches(entries: Iterator[tuple[bytes, bytes, bool]]) -> Iterator[_Batch]:
    while some := list(itertools.islice(entries, _BATCH)):
        yield [
            (parent, [(name, is_directory) for _, name, is_directory in group])
            for parent, group in itertools.groupby(some, key=itemgetter(0))
        ]


def _group_line(groups: dict[_Inode, _Group], inode: _Inode, entry: Entry) -> bytes:
    """Return the line of a name of a hardlink group; the first seen is the first in order."""
    group = groups[inode]
    if group.inode < 0:
        group.inode = group_inode(entry.path)
    return format_line(replace(entry, nlink=group.names, inode=group.inode))


class _Describer:
    """What a worker does: make the lines of a batch of entries."""

    def __init__(self, root_fd: int, groups: Collection[_Inode], clamp_time_ns: int | None) -> None:
        self._root_fd = root_fd
        self._groups = groups
        self._clamp = clamp_time_ns
        self._state = 0

    def __call__(self, batch: _Batch) -> tuple[list[_Described], int]:
        """Return the lines, and the sum of the entries' fingerprints."""
        self._state = 0
        lines = [line for parent, names in batch for line in self._directory(parent, names)]
        return lines, self._state

    def _directory(self, parent: bytes, names: _Names) -> Iterator[_Described]:
        path = parent
        try:
            fd = open_dir(parent or ROOT, dir_fd=self._root_fd)
            try:
                for name, is_directory in names:
                    path = join(parent, name)
                    yield self._entry(fd, name, path, is_directory=is_directory)
            finally:
                os.close(fd)
        except OSError as error:
            raise tree_failure(error, path) from error

    def _entry(self, fd: int, name: bytes, path: bytes, *, is_directory: bool) -> _Described:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        kind = _TYPES[stat.S_IFMT(status.st_mode)]
        if (kind == "dir") != is_directory:  # else what is below would be missing
            raise changed(path)
        self._state += _fingerprint(status)
        entry = describe(fd, name, path, status)
        if self._clamp is not None and entry.time_ns > self._clamp:
            entry = replace(entry, time_ns=self._clamp)
        inode = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and kind != "dir" and inode in self._groups:
            return inode, entry
        return format_line(entry)


def describe(dir_fd: int, name: bytes, path: bytes, status: os.stat_result) -> Entry:
    """Return the entry ``path``, which is ``name`` in a directory; as lstat said, ``status``.

    Raises:
        OSError: it cannot be read, or is not any more what it was.
    """
    kind = _TYPES[stat.S_IFMT(status.st_mode)]
    size, digest, target = 0, "", b""
    if kind == "file":
        size = status.st_size
        digest, xattrs = _read_file(dir_fd, name, status)
    else:
        xattrs = read_xattrs(path_at(dir_fd, name))
        if kind == "link":
            target = os.readlink(name, dir_fd=dir_fd)
    return Entry(
        path=path,
        type=kind,
        mode=0o777 if kind == "link" else stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        time_ns=status.st_mtime_ns,
        size=size,
        sha256=digest,
        link=target,
        device=_device(status) if kind in ("char", "block") else None,
        xattrs=xattrs,
    )


def _device(status: os.stat_result) -> tuple[int, int]:
    return os.major(status.st_rdev), os.minor(status.st_rdev)


def _read_file(dir_fd: int, name: bytes, before: os.stat_result) -> tuple[str, Xattrs]:
    """Return the hash and xattrs of a file, if it stays as it was ``before``."""
    fd = open_quietly(name, dir_fd=dir_fd)
    try:
        xattrs = read_xattrs(fd)
        digest = hashlib.sha256()
        left = before.st_size
        # A read shorter than asked for is the end; one byte more finds what grew.
        while len(data := os.read(fd, min(left + 1, CHUNK))) > 0:
            digest.update(data)
            left -= len(data)
            if left <= 0:
                break
        after = os.fstat(fd)
    finally:
        os.close(fd)
    if left or _identity(before) != _identity(after):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return digest.hexdigest(), xattrs


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_dev, status.st_mode, status.st_size, status.st_mtime_ns
