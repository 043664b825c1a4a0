"""Cloning a tree by hardlinks, driven by its manifest.

Only what is sealed in the source is linked: the caller names the paths that
drifted, and makes them from content. Empty files, fifos, sockets and
devices get an inode of their own. The lines of the manifest are shared out to
forked workers in contiguous ranges; directories get their times when the last
worker has put the last entry into them.
"""

from __future__ import annotations

import errno
import pickle
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from rootman import workers
from rootman.comparison import known_lines
from rootman.entries import make_plain, set_metadata
from rootman.manifest import ROOT, decode, line_path, parse_line
from rootman.seal import is_shared
from rootman.survey import Drift
from rootman.treedirs import TreeDirs, split

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rootman.fsops import Fs
    from rootman.seal import SealRecord

_DIR: Final = b"dir "


@dataclass(slots=True)
class _Worker:
    """Clones the manifest lines from ``start`` to ``stop``."""

    fs: Fs
    source: TreeDirs
    target: TreeDirs
    skip: Collection[bytes]
    directories: list[bytes] = field(default_factory=list)
    left_out: list[Drift] = field(default_factory=list)

    def make(self, manifest_lines: Iterator[tuple[int, bytes]]) -> None:
        """Make the entries of these numbered lines, directories without their times."""
        link = self.fs.link
        for index, line in manifest_lines:
            head = line_path(line)
            if head in self.skip:
                continue
            kind = line[len(head) + 6 : len(head) + 10]
            if kind == _DIR:
                self.directories.append(line)
                self._make_directory(head)
            elif is_shared(line):
                cut = head.rfind(b"/")
                parent, name = head[2:cut], head[cut + 1 :]
                if b"\\" in head:
                    parent, name = decode(parent), decode(name)
                source_fd, target_fd = self.source.fd(parent), self._parent(parent)
                try:
                    link(name, name, source_fd=source_fd, target_fd=target_fd)
                except OSError as error:
                    if error.errno != errno.EMLINK:
                        raise
                    self.left_out.append(Drift(head, line, ("links",), index))
            else:
                entry = parse_line(line)
                parent, name = split(entry.path)
                make_plain(self.fs, entry, name, dir_fd=self._parent(parent))

    def finish(self) -> None:
        """Give the directories their metadata, now that they are filled."""
        for line in self.directories:
            entry = parse_line(line)
            parent, name = split(entry.path)
            set_metadata(
                self.fs, entry, name if entry.path != ROOT else b".", dir_fd=self.target.fd(parent)
            )

    def _parent(self, path: bytes) -> int:
        """Return the target directory ``path``, made here if another worker has yet to."""
        try:
            return self.target.fd(path)
        except FileNotFoundError:
            self._make_directory(b"./" + path, decoded=True)
            return self.target.fd(path)

    def _make_directory(self, head: bytes, *, decoded: bool = False) -> None:
        if head == ROOT:
            return
        path = head[2:] if decoded or b"\\" not in head else decode(head[2:])
        parent, name = split(path)
        try:
            self.fs.mkdir(name, 0o700, dir_fd=self._parent(parent))
        except FileExistsError:
            return


def clone_tree(
    fs: Fs,
    source_fd: int,
    target_fd: int,
    record: SealRecord,
    *,
    entries: int,
    skip: Collection[bytes] = (),
    forks: int = workers.DEFAULT,
) -> list[Drift]:
    """Fill the empty directory ``target_fd`` with hardlinks to the tree ``source_fd``.

    ``entries`` is the number of lines of the manifest; ``skip`` holds the path
    fields to leave out. Return what had to be left out besides, because its inode
    has no room for another link (ext4: 65,000).

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
            worker = _Worker(fs, source, target, skip)
            with record.manifest() as stream:
                worker.make(enumerate(known_lines(stream, start, stop), start))
            everybody()
            worker.finish()
        return pickle.dumps(worker.left_out)

    results = workers.run([partial(task, *pair) for pair in pairwise(edges)])
    return [drift for result in results for drift in pickle.loads(result)]  # noqa: S301  our own
