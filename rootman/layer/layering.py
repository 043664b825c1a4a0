"""Installing packages into a staged tree, after its configuration and before it is sealed.

Its own package manager does that, as if it ran there. Whoever runs it (``Inside``) sees to it
that nothing the tree shares with others is written, and that nothing of it is left when this
process dies; the guard does, which is not the core's to know.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.comparison import lines_within
from rootman.entries import make_file
from rootman.errors import Refused, SystemFailure
from rootman.fsops import opened
from rootman.layer.managers import MANAGERS, Placed, find_manager
from rootman.layer.record import LayerRecord, marks_of
from rootman.manifest import field_path, line_path, path_field
from rootman.merge.defaults import keep_lost, keep_paths
from rootman.merge.paths import ConfigPaths
from rootman.removal import remove_tree
from rootman.store import LAYER_FILE
from rootman.survey import Check
from rootman.verify import open_tree

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Mapping
    from typing import Protocol

    from rootman.fsops import Fs
    from rootman.layer.managers import Manager
    from rootman.release import Release
    from rootman.report import Reporter
    from rootman.seal import SealRecord
    from rootman.state import Tree
    from rootman.store import Store

    class Inside(Protocol):
        """Runs programs in a staged tree."""

        def __call__(self, job: Job, said: Callable[[str], None]) -> int:
            """Run them in turn until one fails; return its exit code, or 0.

            ``said`` is told each line that they print.

            Raises:
                RootmanError: they cannot be run.
            """
            ...


MOUNTPOINT: Final = "mnt"
SCRATCH: Final = "tmp"
"""In a stage: where the tree is mounted while programs run in it, and what is their /tmp."""
_NEW: Final = "new"  # names of inodes that no other tree has, as in a record

_RESOLVER: Final = "/etc/resolv.conf"
_LAST_WORDS: Final = 6  # lines: of a script that failed, what dpkg and apt-get say of it, too
_WAYS_OUT: Final = "rootman upgrade --no-layer goes without, rootman layer remove for good"
_FROM_OUTSIDE: Final = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Job:
    """Programs to be run in a staged tree.

    ``stage`` is the path of the stage, ``commands`` have paths as they are in the tree, ``placed``
    is there while they run, ``sealed`` are inodes that must not be written.
    """

    stage: str
    commands: tuple[tuple[str, ...], ...]
    environment: Mapping[str, str]
    placed: tuple[Placed, ...]
    sealed: array[int]


@dataclass(frozen=True, slots=True)
class StagedTree:
    """A tree on its way to be sealed: the stage, its path and open, and what is in it, open."""

    fs: Fs
    path: str
    stage_fd: int
    root_fd: int
    record: SealRecord


@dataclass(frozen=True, slots=True)
class Layering:
    """The packages of a ``layer`` for a new tree; ``missing`` are those that it lacks.

    ``source`` is the tree that is current, which has in common with the new one what the
    release left as it was.
    """

    manager: Manager
    layer: tuple[str, ...]
    missing: tuple[str, ...]
    inside: Inside | None
    source: Tree | None = None

    def install(self, staged: StagedTree, new: Iterable[bytes], reporter: Reporter) -> None:
        """Have the package manager install what is missing into a tree.

        ``new`` are the paths that the tree has another inode at than its seed.

        Raises:
            SystemFailure: it failed; its last words are told.
            RootmanError: it could not be run.
            OSError: the system refused.
        """
        if self.inside is None:
            raise AssertionError("a plan with a layer has to come with somebody who runs programs")
        fs, stage = staged.fs, staged.stage_fd
        fs.mkdir(_NEW, 0o700, dir_fd=stage)
        with opened(_NEW, dir_fd=stage) as fd:
            keep_paths(fs, new, root_fd=staged.root_fd, record_fd=fd)
        fs.mkdir(MOUNTPOINT, 0o700, dir_fd=stage)
        fs.mkdir(SCRATCH, 0o1777, dir_fd=stage)
        last = deque[str](maxlen=_LAST_WORDS)

        def said(line: str) -> None:
            reporter.said(line)
            if line.strip():
                last.append(line.strip())

        code = self.inside(self._job(staged), said)
        if code:
            words = "; ".join(last) or f"exit code {code}"
            what = f"layer {', '.join(self.missing)}: {self.manager.name}"
            raise SystemFailure(f"{what}: {words}", hint=_WAYS_OUT)
        remove_tree(fs, SCRATCH.encode(), dir_fd=stage)
        fs.rmdir(MOUNTPOINT, dir_fd=stage)

    def _job(self, staged: StagedTree) -> Job:
        return Job(
            staged.path,
            self.manager.commands(self.missing),
            {**_environment(), **self.manager.environment},
            (*self.manager.placed, *_resolver()),
            staged.record.inodes(),
        )

    def note(self, staged: StagedTree, store: Store, *, forks: int) -> dict[str, int]:
        """Note in the record what became another, and keep what gave way for it.

        Return the stamps of the directories that are as sealed.

        Raises:
            OSError, RootmanError: the system refused, or a tree cannot be read.
        """
        fs, record = staged.fs, staged.record
        check = Check(staged.root_fd, record, record.digests(), forks=forks)
        drift = check.drift()
        with ExitStack() as stack:
            places, root = [stack.enter_context(opened(_NEW, dir_fd=staged.stage_fd))], -1
            if self.source is not None:
                root, other = stack.enter_context(open_tree(store, self.source))
                places.append(other.dir_fd)
            keep_lost(fs, drift, record, places=places, root_fd=root)
        remove_tree(fs, _NEW.encode(), dir_fd=staged.stage_fd)
        marks = marks_of(staged.root_fd, [one.field for one in drift])
        data = LayerRecord(self.layer, marks).serialise()
        make_file(fs, iter([data]), LAYER_FILE.encode(), dir_fd=record.dir_fd)
        return check.stamps


def open_layering(
    layer: tuple[str, ...],
    release: Release,
    manifest: Iterable[bytes],
    inside: Inside | None,
    source: Tree | None,
) -> Layering | None:
    """Return how the packages of ``layer`` come into the tree of ``manifest``, None where none do.

    ``source`` is the tree that is current.

    Raises:
        Refused: that tree has no package manager that is known, or keeps its packages in a
            state path, which is another's, too.
    """
    if not layer:
        return None
    databases = [path_field(one.database) for one in MANAGERS]
    programs = [path_field(one.program) for one in MANAGERS]
    lines = lines_within(manifest, databases, programs)
    paths = {field_path(line_path(line)) for _, line in lines}
    manager = find_manager(paths.__contains__)
    title = f"version {release.version}"
    if manager is None:
        known = ", ".join(one.name for one in MANAGERS)
        raise Refused(f"{title} has no package manager for the layer ({known})", hint=_WAYS_OUT)
    if ConfigPaths.of(release.state).covers(manager.database):
        where = f"/{manager.database.decode()}"
        raise Refused(f"{title} has its packages in {where}, which is a state path", hint=_WAYS_OUT)
    there = manager.installed(paths)
    missing = tuple(one for one in layer if one not in there)
    return Layering(manager, layer, missing, inside, source)


def _environment() -> dict[str, str]:
    """Return the environment of programs in a tree: theirs, but for the way to the network."""
    names = (*_FROM_OUTSIDE, *(name.upper() for name in _FROM_OUTSIDE))
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C",
        "TERM": "dumb",
        **{name: os.environ[name] for name in names if name in os.environ},
    }


def _resolver() -> tuple[Placed, ...]:
    """Return what says how this machine finds others by their names, if there is something."""
    with suppress(OSError), open(_RESOLVER, "rb") as file:
        return (Placed(_RESOLVER, file.read(), 0o644),)
    return ()
