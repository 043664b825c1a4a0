"""Cloning a tree by hardlinks, driven by its manifest.

Only what is sealed in the source is linked: the caller names the paths that
drifted, and makes them from content. The source may be in use: a name that was looked
at may lead to another file when it is linked. So the *moments* of the directories, which
the caller has from its check, are compared when everything is linked, and where one is
another the clone itself is looked at (ST-20). Empty files, fifos, sockets and
devices get an inode of their own. The lines of the manifest are shared out to
forked workers in contiguous ranges; directories get their times when the last
worker has put the last entry into them.
"""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from rootman import workers
from rootman.apply import why_not_linked
from rootman.comparison import known_lines
from rootman.delta import Drift
from rootman.entries import make_plain, set_metadata
from rootman.manifest import HARDLINK, ROOT, decode, field_path, line_path, parse_line
from rootman.merge.defaults import link_default
from rootman.seal import UNKNOWN, is_shared
from rootman.survey import Check
from rootman.treedirs import GONE, TreeDirs
from rootman.walk import split

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from rootman.fsops import Fs
    from rootman.seal import SealRecord

_DIR: Final = b" type=dir "
_ROOT_PATH: Final = os.fsdecode(ROOT)
_NOWHERE: Final = -1
_NOTHING: Final[Mapping[bytes, int]] = {}


@dataclass(frozen=True, slots=True)
class Cloned:
    """What is to be known of a clone.

    ``left_out`` are entries that were not made: files whose inode has no room for
    another link (ext4: 65,000), that are gone from the source, and hardlink groups that are
    not shared. ``mixed`` are the directories with these, and with others that are not shared
    and no directories. ``doubtful`` are the directories of which it is not known that
    what was linked is what had been looked at.
    """

    left_out: list[Drift]
    mixed: set[str]
    doubtful: set[str]


@dataclass(slots=True)
class _Worker:
    """Clones the manifest lines from ``start`` to ``stop``."""

    fs: Fs
    source: TreeDirs
    target: TreeDirs
    skip: Collection[bytes]
    kept: Mapping[bytes, int]
    record_fd: int
    moments: Mapping[str, int]
    directories: list[bytes] = field(default_factory=list)
    left_out: list[Drift] = field(default_factory=list)
    mixed: set[str] = field(default_factory=set)  # where not every entry was linked
    doubtful: set[str] = field(default_factory=set)

    def make(self, manifest_lines: Iterator[tuple[int, bytes]]) -> None:
        """Make the entries of these numbered lines, directories without their times."""
        link, skip = self.fs.link, self.skip
        here: bytes | None = None  # the directory that the two descriptors are of
        source_fd = target_fd = -1
        for index, line in manifest_lines:
            end = line.index(b" ")
            if skip and line[:end] in skip:
                self._skip(line, end)
                here = None
                continue
            if line.startswith(_DIR, end):
                self.directories.append(line)
                self._make_directory(decode(line[2:end]))
                here = None  # the pool may have closed them
                continue
            cut = line.rindex(b"/", 0, end)
            name = line[cut + 1 : end]
            if line[2:cut] != here:
                here = line[2:cut]
                parent = decode(here)
                target_fd = self._parent(parent)
                source_fd = self._source(parent)
            if b"\\" in name:
                name = decode(name)
            if not is_shared(line):
                self.mixed.add(os.fsdecode(parent or ROOT))
                if HARDLINK.search(line) is not None:
                    # Its other names may be another worker's.
                    self.left_out.append(Drift(line[:end], line, ("group",), index))
                    continue
                make_plain(self.fs, parse_line(line), name, dir_fd=target_fd)
            elif source_fd == _NOWHERE:
                self._leave_out(index, line, parent, "missing")
            else:
                try:
                    link(name, name, source_fd=source_fd, target_fd=target_fd)
                except OSError as error:
                    self._leave_out(index, line, parent, why_not_linked(error, name, source_fd))

    def _skip(self, line: bytes, end: int) -> None:
        if line.startswith(_DIR, end):
            # Its moment is not compared, so nothing is known of what is in it.
            self.doubtful.add(os.fsdecode(field_path(line[:end])))
        elif (inode := self.kept.get(line[:end])) is not None:
            parent, name = split(field_path(line[:end]))
            link_default(self.fs, self.record_fd, inode, name, dir_fd=self._parent(parent))

    def _leave_out(self, index: int, line: bytes, parent: bytes, why: str) -> None:
        self.left_out.append(Drift(line_path(line), line, (why,), index))
        self.mixed.add(os.fsdecode(parent or ROOT))

    def finish(self) -> None:
        """Give the directories their metadata, now that they are filled.

        They had no ACL until now, so nothing was inherited.
        """
        for line in self.directories:
            entry = parse_line(line)
            parent, name = split(entry.path)
            if entry.path == ROOT:
                parent, name = b"", ROOT
            target_fd = self.target.fd(parent)
            set_metadata(self.fs, entry, name, dir_fd=target_fd, inherited=False)
            if not self._is_as_checked(entry.path, parent, name):
                self.doubtful.add(os.fsdecode(entry.path))

    def _is_as_checked(self, path: bytes, parent: bytes, name: bytes) -> bool:
        """Return whether the source's directory has the names that it had when it was checked."""
        moment = self.moments.get(os.fsdecode(path), UNKNOWN)
        try:
            status = os.stat(name, dir_fd=self.source.fd(parent), follow_symlinks=False)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return False
        return status.st_ctime_ns == moment != UNKNOWN

    def _source(self, path: bytes) -> int:
        """Return the source directory ``path``, or ``_NOWHERE``: it may be gone."""
        try:
            return self.source.fd(path)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return _NOWHERE

    def _parent(self, path: bytes) -> int:
        """Return the target directory ``path``, made here if another worker has yet to."""
        try:
            return self.target.fd(path)
        except FileNotFoundError:
            self._make_directory(path)
            return self.target.fd(path)

    def _make_directory(self, path: bytes) -> None:
        if not path:  # the root
            return
        parent, name = split(path)
        with suppress(FileExistsError):
            self.fs.mkdir(name, 0o700, dir_fd=self._parent(parent))


def clone_tree(
    fs: Fs,
    source_fd: int,
    target_fd: int,
    record: SealRecord,
    *,
    entries: int,
    moments: Mapping[str, int],
    skip: Collection[bytes] = (),
    kept: Mapping[bytes, int] = _NOTHING,
    forks: int = workers.DEFAULT,
) -> Cloned:
    """Fill the empty directory ``target_fd`` with hardlinks to the tree ``source_fd``.

    ``entries`` is the number of lines of the manifest; ``moments`` and ``skip``, the path
    fields to leave out, are those of the check of the source; ``kept`` are the inodes of
    what is not in the source any more, but in its record, by path fields.

    Raises:
        OSError: the system refused; the target is then incomplete.
    """
    edges = [entries * index // forks for index in range(forks)] + [entries]
    barrier = workers.Barrier(forks)

    def task(start: int, stop: int) -> bytes:
        with (
            barrier.party() as everybody,
            TreeDirs(source_fd) as source,
            TreeDirs(target_fd) as target,
        ):
            worker = _Worker(fs, source, target, {*skip, *kept}, kept, record.dir_fd, moments)
            with record.manifest() as stream:
                worker.make(enumerate(known_lines(stream, start, stop), start))
            everybody()
            worker.finish()
        return pickle.dumps((worker.left_out, worker.mixed, worker.doubtful))

    results = workers.run([partial(task, *pair) for pair in pairwise(edges)])
    parts = [pickle.loads(result) for result in results]  # noqa: S301  our own
    return Cloned(
        left_out=[drift for left_out, _, _ in parts for drift in left_out],
        mixed=set().union(*(mixed for _, mixed, _ in parts)),
        doubtful=_with_all_below(set().union(*(found for _, _, found in parts)), moments),
    )


def _with_all_below(doubtful: set[str], directories: Collection[str]) -> set[str]:
    """Return ``doubtful`` and the directories below: they may have been moved with them."""
    if not doubtful or _ROOT_PATH in doubtful:
        return set(directories) if doubtful else doubtful
    found = set(doubtful)
    for path in sorted(directories):  # so that the parent comes before what is in it
        if path.rpartition("/")[0] in found:
            found.add(path)
    return found


def misplaced(
    target_fd: int, record: SealRecord, digests: Mapping[str, bytes], cloned: Cloned
) -> list[Drift]:
    """Return the paths of a clone that are not what was sealed, in manifest order.

    Raises:
        InvalidInput: the seal record is damaged.
        OSError: the clone cannot be read.
    """
    if not cloned.doubtful:
        return []
    doubtful = {path: digests[path] for path in digests.keys() & cloned.doubtful}
    return Check(target_fd, record, doubtful, forks=1).drift()
