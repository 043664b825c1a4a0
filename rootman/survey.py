"""The quick check: which paths of a tree are not as they were sealed, by lstat(2) alone.

A directory's *digest* stands for what lstat says of its entries: names, types,
modes, owners, sizes, modification times, and the inode numbers of what is shared
between trees; and for the xattrs of what is not shared. Content is not read, and
the xattrs of shared inodes are not seen; that is what ``verify`` is for. Drift is
found per directory and then, only where there is any, per path against the manifest.

A directory's *stamp* is its st_ctime at a moment when the digest was true of it. While
that stands, the directory has the names and the inodes it was sealed with, whatever
happened to the inodes (ADR 0007); a check that is given stamps looks no closer there.

A directory's *moment* is its st_ctime before it was looked at, whatever was found: while
that stands, its names lead to what was found (ST-20).
"""

from __future__ import annotations

import os
import stat
import time
from array import array
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from rootman import workers
from rootman.comparison import known_lines
from rootman.delta import Drift
from rootman.directory import rewind
from rootman.fsops import open_dir, opened
from rootman.manifest import (
    HARDLINK,
    OF_THE_KERNEL,
    Entry,
    field_path,
    line_path,
    parent_field,
    parse_line,
    path_field,
)
from rootman.seal import DIGEST_SIZE, STAMP_TYPE, UNKNOWN, cut_digests, is_shared
from rootman.treedirs import GONE, TreeDirs
from rootman.walk import split
from rootman.xattrs import Xattrs, path_at, read_xattrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rootman.seal import SealRecord

# In the place of a stamp: the directory is not as sealed.
_CHANGED: Final = -1
_ROOT_FIELD: Final = b"."

# What of lstat's answer must stay as it was sealed.
_FACTS: Final = attrgetter(
    "st_ino", "st_size", "st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_rdev"
)
_IFMT: Final = 0o170000
_SHARED_TYPES: Final = (stat.S_IFREG, stat.S_IFLNK)
# A change may leave the st_ctime as it is where the one before it was less than this ago: the
# kernel takes the time of its last tick, which comes every 10 ms or oftener.
_GRAIN: Final = 100_000_000


def look_at(fd: int) -> tuple[bytes, int]:
    """Return the digest and the stamp of the open directory ``fd``.

    The digest is that of its entries, its own metadata and its own xattrs. The stamp is
    ``UNKNOWN`` where an entry is there that a used tree changes in place: what is not
    shared, such as an empty file that is filled.
    """
    status = os.fstat(fd)  # before the entries: what changes now is to show later
    rewind(fd)
    names = sorted(os.listdir(fd))
    look = partial(os.stat, dir_fd=fd, follow_symlinks=False)
    facts = list(map(_FACTS, map(look, names)))
    for index, (_, size, mode, *_) in enumerate(facts):
        if not size or mode & _IFMT not in _SHARED_TYPES:
            facts[index] = _own_facts(facts[index])
    own = _own_xattrs(fd, names, facts)
    hasher = blake2b(os.fsencode("\0".join(names)), digest_size=DIGEST_SIZE)
    hasher.update(b"\0\0")
    hasher.update(_packed(chain(_own_facts(_FACTS(status)), *facts)))
    hasher.update(repr((_lasting(read_xattrs(fd)), own)).encode())
    return hasher.digest(), UNKNOWN if own else status.st_ctime_ns


def _own_xattrs(
    fd: int, names: Sequence[str], facts: Sequence[tuple[int, ...]]
) -> list[tuple[str, Xattrs]]:
    """Return name and xattrs of each entry that is not shared.

    Nothing else would show them: a shared inode is another once it was changed, but
    these change in place. Directories within answer for themselves.
    """
    return [
        (name, _lasting(read_xattrs(path_at(fd, os.fsencode(name)))))
        for name, (inode, _, mode, *_) in zip(names, facts, strict=True)
        if not inode and mode & _IFMT != stat.S_IFDIR
    ]


def _lasting(xattrs: Xattrs) -> Xattrs:
    """Leave out what the kernel and its policy write by themselves."""
    return tuple(sorted(pair for pair in xattrs if pair[0] not in OF_THE_KERNEL))


def _packed(numbers: Iterable[int]) -> bytes:
    numbers = list(numbers)
    try:
        return array("q", numbers).tobytes()
    except OverflowError:  # a time after 2262, an inode number beyond 63 bits
        return repr(numbers).encode()


def _own_facts(facts: tuple[int, ...]) -> tuple[int, ...]:
    """Return the facts of an inode that is not shared: its number and a directory's size vary."""
    _, size, mode, uid, gid, time_ns, device = facts
    return (0, size if mode & _IFMT in _SHARED_TYPES else 0, mode, uid, gid, time_ns, device)


def digests_of(
    root_fd: int, paths: Sequence[str], *, forks: int
) -> tuple[dict[str, bytes], dict[str, int]]:
    """Return the digests and the stamps of directories, the work shared out to ``forks``.

    Raises:
        OSError: one is not there, or not a directory.
    """

    def task(part: Sequence[str]) -> bytes:
        digests, stamps = [], array(STAMP_TYPE)
        for path in part:
            with opened(path, dir_fd=root_fd) as fd:
                digest, stamp = look_at(fd)
            digests.append(digest)
            stamps.append(stamp)
        return b"".join([*digests, stamps.tobytes()])

    parts = [paths[start::forks] for start in range(forks)]
    results = workers.run([partial(task, part) for part in parts])
    digests: dict[str, bytes] = {}
    stamps: dict[str, int] = {}
    for part, result in zip(parts, results, strict=True):
        end = len(part) * DIGEST_SIZE
        digests.update(zip(part, cut_digests(result[:end]), strict=True))
        stamps.update(zip(part, array(STAMP_TYPE, result[end:]), strict=True))
    return digests, stamps


def stamps_of(root_fd: int, paths: Iterable[str]) -> dict[str, int]:
    """Return the stamps of directories that are as sealed, because they were just made so.

    None of them may have entries that are not shared but for directories.

    Raises:
        OSError: one is not there, or not a directory.
    """
    stamps = {}
    for path in paths:
        with opened(path, dir_fd=root_fd) as fd:
            stamps[path] = os.fstat(fd).st_ctime_ns
    return stamps


class Check:
    """The quick check of one tree, at work in forks from the moment it is made.

    ``digests`` are those of the ``record``. With ``stamps`` the directories that have
    theirs are taken for what was sealed. ``stamps`` are, after ``drift``, those of the
    directories that were found as sealed, ``moments`` those of all.
    """

    def __init__(
        self,
        root_fd: int,
        record: SealRecord,
        digests: dict[str, bytes],
        *,
        forks: int,
        stamps: Mapping[str, int] | None = None,
    ) -> None:
        self._root_fd = root_fd
        self._record = record
        self._digests = digests
        self._paths = list(digests)
        self._forks = forks
        self._trusted = stamps or {}
        self._began = time.time_ns()
        self.stamps: dict[str, int] = {}
        self.moments: dict[str, int] = {}
        self._wait = workers.start([partial(self._look, start) for start in range(forks)])

    def _look(self, start: int) -> bytes:
        """Return for every ``forks``-th directory its stamp, or that it is not as sealed.

        Then the moment of each.
        """
        stamps, moments = array(STAMP_TYPE), array(STAMP_TYPE)
        for path in self._paths[start :: self._forks]:
            stamp, moment = _CHANGED, UNKNOWN
            try:
                with opened(path, dir_fd=self._root_fd) as fd:
                    stamp, moment = self._stamp(fd, path)
            except OSError as error:
                if error.errno not in GONE:
                    raise
            stamps.append(stamp)
            moments.append(moment)
        return stamps.tobytes() + moments.tobytes()

    def _stamp(self, fd: int, path: str) -> tuple[int, int]:
        trusted = self._trusted.get(path, UNKNOWN)
        moment = os.fstat(fd).st_ctime_ns  # before the entries: what changes now is to show later
        if trusted == moment != UNKNOWN:
            return trusted, trusted
        if moment <= self._began:
            # The root of a tree that got its name just now is so: without its moment nothing
            # below would be known either. So all wait once at most, for what was before.
            _wait_until(moment + _GRAIN)
        settled = time.time_ns() - _GRAIN
        digest, stamp = look_at(fd)
        if digest != self._digests[path]:
            stamp = _CHANGED
        return stamp, moment if moment < settled else UNKNOWN

    def drift(self) -> list[Drift]:
        """Wait; return the paths of the tree that are not as sealed, in manifest order.

        Raises:
            InvalidInput: the seal record is damaged.
            OSError: the tree cannot be read.
        """
        for start, found in enumerate(self._wait()):
            part = self._paths[start :: self._forks]
            numbers = array(STAMP_TYPE, found)
            self.stamps.update(zip(part, numbers[: len(part)], strict=True))
            self.moments.update(zip(part, numbers[len(part) :], strict=True))
        changed = {path for path, stamp in self.stamps.items() if stamp == _CHANGED}
        for path in changed:
            del self.stamps[path]
        if not changed:
            return []
        with self._record.manifest() as stream:
            lines = enumerate(known_lines(stream))
            drift = look_closer(self._root_fd, changed, lines, self._record.inodes())
        return whole_groups(drift, self._record)


def _wait_until(moment: int) -> None:
    """Wait until the clock is past ``moment``, but no longer than the clock may be coarse."""
    rest = moment + 1 - time.time_ns()
    if rest > 0:
        time.sleep(min(rest, _GRAIN) / 1e9)


def whole_groups(drift: Iterable[Drift], record: SealRecord) -> list[Drift]:
    """Return ``drift``, sorted, with all names of a hardlink group where it has one of them.

    One name cannot be restored alone: it would have another inode than the rest.
    """
    found = {one.field: one for one in drift}
    groups = {
        match[0] for one in found.values() if one.line for match in HARDLINK.finditer(one.line)
    }
    if groups:
        with record.manifest() as stream:
            for index, line in enumerate(known_lines(stream)):
                match = HARDLINK.search(line)
                if match is not None and match[0] in groups:
                    field = line_path(line)
                    found.setdefault(field, Drift(field, line, ("group",), index))
    return sorted(found.values(), key=lambda one: one.field)


def look_closer(
    root_fd: int,
    changed: Iterable[str],
    numbered_lines: Iterable[tuple[int, bytes]],
    inodes: array[int],
) -> list[Drift]:
    """Compare the entries of the ``changed`` directories with those of the lines that are theirs.

    What has no line is told after all that has one.

    Raises:
        OSError: a directory cannot be read.
    """
    fields = {path_field(os.fsencode(path)) for path in changed}
    listings: dict[bytes, dict[bytes, os.stat_result]] = {}
    drift: list[Drift] = []
    for index, line in numbered_lines:
        field = line_path(line)
        parent = parent_field(field) if field != _ROOT_FIELD else b""
        if parent not in fields and field not in fields:
            continue
        path = field_path(field)
        status: os.stat_result | None
        if parent in fields:
            if parent not in listings:
                listings[parent] = _listing(root_fd, parent)
            status = listings[parent].pop(split(path)[1], None)
        else:
            status = _status(root_fd, path)
        found = _compare(root_fd, index, line, status, inodes[index])
        if found is not None:
            drift.append(found)
    for parent in fields:
        if parent not in listings:
            listings[parent] = _listing(root_fd, parent)
        drift.extend(
            Drift(parent + b"/" + path_field(name)[2:], None, ("extra",))
            for name in listings[parent]
        )
    return drift


def _status(root_fd: int, path: bytes) -> os.stat_result | None:
    """Return what lstat says of ``path``, None where nothing is."""
    parent, name = _place(path)
    with TreeDirs(root_fd) as dirs:
        try:
            return os.stat(name, dir_fd=dirs.fd(parent), follow_symlinks=False)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return None


def _place(path: bytes) -> tuple[bytes, bytes]:
    """Return directory and name of an entry; the root is in itself."""
    return (b"", path) if path == _ROOT_FIELD else split(path)


def _listing(root_fd: int, field: bytes) -> dict[bytes, os.stat_result]:
    """Return name and lstat of each entry of a directory, nothing where it is gone."""
    try:
        fd = open_dir(field_path(field), dir_fd=root_fd)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return {}
    found = {}
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # the tree is in use
                    found[os.fsencode(entry.name)] = entry.stat(follow_symlinks=False)
    finally:
        os.close(fd)
    return found


def _compare(
    root_fd: int, index: int, line: bytes, status: os.stat_result | None, inode: int
) -> Drift | None:
    field, entry = line_path(line), parse_line(line)
    if status is None:
        return Drift(field, line, ("missing",), index)
    what = differences(entry, status)
    sealed_inode = not is_shared(line) or status.st_ino == inode
    if not what and not is_shared(line):
        what = _differing_xattrs(root_fd, entry)
    if not sealed_inode and not what:
        what = ("inode",)
    return Drift(field, line, what, index, sealed_inode) if what else None


def _differing_xattrs(root_fd: int, entry: Entry) -> tuple[str, ...]:
    parent, name = _place(entry.path)
    try:
        with TreeDirs(root_fd) as dirs:
            found = dict(_lasting(read_xattrs(path_at(dirs.fd(parent), name))))
    except OSError as error:
        if error.errno not in GONE:
            raise
        return ("missing",)
    wanted = dict(_lasting(entry.xattrs))
    names = sorted(found.keys() | wanted.keys())
    return tuple(f"xattr.{os.fsdecode(one)}" for one in names if found.get(one) != wanted.get(one))


TYPES: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def differences(entry: Entry, status: os.stat_result) -> tuple[str, ...]:
    """Return the names of what lstat says otherwise than the manifest's ``entry``."""
    if TYPES[stat.S_IFMT(status.st_mode)] != entry.type:
        return ("type",)
    checks = (
        ("mode", stat.S_IMODE(status.st_mode), entry.mode),
        ("uid", status.st_uid, entry.uid),
        ("gid", status.st_gid, entry.gid),
        ("size", status.st_size if entry.type == "file" else 0, entry.size),
        ("time", status.st_mtime_ns, entry.time_ns),
        (
            "device",
            (os.major(status.st_rdev), os.minor(status.st_rdev)) if entry.device else None,
            entry.device,
        ),
    )
    return tuple(name for name, found, expected in checks if found != expected)
