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
import re
import stat
from array import array
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from rootman.entries import open_quietly
from rootman.errors import Busy, InvalidInput, RootmanError, SystemFailure
from rootman.fsops import open_dir
from rootman.manifest import HEADER, ROOT, Entry, EntryType, encode, format_line, group_inode
from rootman.parallel import ordered_map
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
# What a name gives that was there, or was another thing, a moment ago.
_GONE: Final = (
    errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENODATA, errno.ENXIO,
)  # fmt: skip

_QUIET: Final = "stop what writes to the tree and try again"
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")  # as mountinfo writes a space

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
    batches = _batches(walk(lambda path: _list(root_fd, path, survey.device)))
    done = 0
    yield HEADER
    for lines in ordered_map(describe, batches, workers, keep=frozenset({root_fd})):
        for line in lines:
            yield line if isinstance(line, bytes) else _group_line(survey.groups, *line)
        done += len(lines)
        if on_progress is not None:
            on_progress(done)
    if any(group.names_left for group in survey.groups.values()):
        raise Busy("hardlinks of the tree changed while it was read", hint=_QUIET)


def show(path: bytes) -> str:
    """Return ``path`` on one line of printable ASCII, for a message."""
    return encode(path).decode("ascii")


@dataclass(slots=True)
class _Group:
    """The names of one inode in the tree; the inode keyword is known from the first on."""

    names: int
    names_left: int
    inode: int = -1


@dataclass(slots=True)
class _Survey:
    """What must be known of the whole tree before its first line."""

    device: int
    entries: int = 0
    bytes: int = 0
    groups: dict[_Inode, _Group] = field(default_factory=dict)


def _survey(root_fd: int) -> _Survey:
    _refuse_mounts(root_fd)
    survey = _Survey(os.fstat(root_fd).st_dev)
    linked: dict[int, array[int]] = {}  # per device: on overlayfs files have several
    directories = [ROOT]
    while directories:
        path = directories.pop()
        parent = b"" if path == ROOT else path
        with _opened(root_fd, path, survey.device) as entries:
            for entry in entries:
                survey.entries += 1
                name = join(parent, os.fsencode(entry.name))
                if entry.is_dir(follow_symlinks=False):
                    directories.append(name)
                    continue
                status = _stat(entry, name)
                survey.bytes += status.st_size
                if status.st_nlink > 1:
                    linked.setdefault(status.st_dev, array("Q")).append(status.st_ino)
    for device, numbers in linked.items():
        for number, names in _repeated(numbers):
            survey.groups[device, number] = _Group(names, names)
    return survey


def _repeated(numbers: array[int]) -> Iterator[tuple[int, int]]:
    """Yield those of ``numbers`` that occur more than once, and how often."""
    for number, same in itertools.groupby(sorted(numbers)):
        if (count := sum(1 for _ in same)) > 1:
            yield number, count


def _refuse_mounts(root_fd: int) -> None:
    """Refuse a tree with a mount in it; also files can be mount points."""
    try:
        root = os.readlink(b"/proc/self/fd/%d" % root_fd).rstrip(b"/") + b"/"
        with open("/proc/self/mountinfo", "rb") as mounts:
            fields = [line.split(b" ")[4] for line in mounts]
    except OSError as error:
        raise SystemFailure(f"{error.filename}: {error.strerror}", hint="mount /proc") from error
    for written in fields:
        point = _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), written)
        if point.startswith(root) and point != root:
            raise _mounted(point[len(root) :])


def _mounted(path: bytes) -> InvalidInput:
    return InvalidInput(
        f"{show(path)}: another filesystem begins here; a tree must be all on one",
        hint="unmount it, or copy the tree without it",
    )


@contextmanager
def _opened(root_fd: int, path: bytes, device: int) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Open the directory ``path`` of the tree for listing; name it in what goes wrong."""
    try:
        fd = open_dir(path, dir_fd=root_fd)
        try:
            if os.fstat(fd).st_dev != device:  # a subvolume of btrfs is no mount
                raise _mounted(path)
            with os.scandir(fd) as entries:
                yield entries
        finally:
            os.close(fd)
    except OSError as error:
        raise tree_failure(error, path) from error


def _list(root_fd: int, path: bytes, device: int) -> Iterator[tuple[bytes, bool]]:
    """Yield the names in the directory ``path``, as ``walk`` wants them."""
    with _opened(root_fd, path, device) as entries:
        for entry in entries:
            yield os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)


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
    group.names_left -= 1
    return format_line(replace(entry, nlink=group.names, inode=group.inode))


class _Describer:
    """What a worker does: make the lines of a batch of entries."""

    def __init__(self, root_fd: int, groups: Collection[_Inode], clamp_time_ns: int | None) -> None:
        self._root_fd = root_fd
        self._groups = groups
        self._clamp = clamp_time_ns

    def __call__(self, batch: _Batch) -> list[_Described]:
        return [line for parent, names in batch for line in self._directory(parent, names)]

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
        time_ns = status.st_mtime_ns
        size, digest, target = 0, "", b""
        if kind == "file":
            size = status.st_size
            digest, xattrs = _read_file(fd, name, status)
        else:
            xattrs = read_xattrs(path_at(fd, name))
            if kind == "link":
                target = os.readlink(name, dir_fd=fd)
        entry = Entry(
            path=path,
            type=kind,
            mode=0o777 if kind == "link" else stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            time_ns=time_ns if self._clamp is None else min(time_ns, self._clamp),
            size=size,
            sha256=digest,
            link=target,
            device=_device(status) if kind in ("char", "block") else None,
            xattrs=xattrs,
        )
        inode = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and kind != "dir" and inode in self._groups:
            return inode, entry
        return format_line(entry)


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


def _stat(entry: os.DirEntry[str], path: bytes) -> os.stat_result:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError as error:
        raise tree_failure(error, path) from error


def tree_failure(error: OSError, path: bytes) -> RootmanError:
    """Return what it means that ``path`` of a tree could not be read."""
    if error.errno in _GONE:
        return changed(path)
    if error.errno == errno.EXDEV:
        return _mounted(path)
    return SystemFailure(f"{show(path)}: {error.strerror}")


def changed(path: bytes) -> Busy:
    """Return the error that ``path`` of a tree is not any more what it was."""
    return Busy(f"{show(path)}: changed while it was read", hint=_QUIET)
