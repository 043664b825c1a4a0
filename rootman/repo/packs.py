"""Adding packs to a repository: what leads a device from one release to another.

A pack is found by its name and holds nothing that objects and manifests do not, so it
can be made at any time, and is as immutable as they are. Out of scope: what is in one
(``rootman.packs``).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from rootman.errors import InvalidInput, SystemFailure
from rootman.names import BASE
from rootman.packs.matching import wanted
from rootman.packs.packing import pack
from rootman.packs.way import Task
from rootman.repo import layout
from rootman.repo.repository import Repository
from rootman.repo.source import Missing
from rootman.repo.writer import open_writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rootman.fsops import Fs
    from rootman.packs.way import Phase
    from rootman.release import Release
    from rootman.repo.writer import Writer

    Progress = Callable[[str, Phase, int, int], None]

_TEMPORARY: Final = "pack"
# How many versions before the newest a device may have, for a pack to be made for it.
_USUAL: Final = 2


@dataclass(frozen=True, slots=True)
class Way:
    """From the manifest ``old``, "" for none, to ``new``, both of the bundle ``name``."""

    name: str
    old: str
    new: str


def ways(old: Release | None, new: Release) -> list[Way]:
    """Return how a device gets from a release, None for no tree, to another: base first.

    A bundle that ``old`` has not comes from nothing, one that is the same in both not at all.
    """
    found = []
    for bundle in (new.base, *(one for one in new.bundles if one.name != BASE)):
        before = old.bundle(bundle.name) if old else None
        if before is None or before.manifest != bundle.manifest:
            found.append(Way(bundle.name, before.manifest if before else "", bundle.manifest))
    return found


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack of one bundle that leads from the version ``old``, None for nothing at all.

    ``size`` and ``instead`` are bytes: of the pack, and of what it stands for, the manifest
    and objects.
    ``kept`` says whether it is in the repository: one that is no smaller is not.
    """

    bundle: str
    old: int | None
    size: int
    instead: int
    kept: bool
    made: bool


def usual_origins(versions: Sequence[int], version: int) -> list[int | None]:
    """Return from where packs are made if nothing else is asked for: the last two and nothing."""
    before = [one for one in versions if one < version]
    return [*reversed(before[-_USUAL:]), None]


def can_find_differences() -> bool:
    """Whether what compares files is installed: packs from a version need it."""
    from importlib.util import find_spec

    return find_spec("bsdiff4") is not None


def make_packs(
    where: str,
    version: int,
    origins: Sequence[int | None],
    *,
    fs: Fs,
    at_any_size: bool = False,
    on_progress: Progress | None = None,
) -> Iterator[Pack]:
    """Make the packs that lead from ``origins`` (None: from nothing) to ``version``.

    They are for the repository in the folder ``where``.
    There is one for each bundle that differs (``ways``). One that is no smaller than what
    it stands for is kept only ``at_any_size``. ``on_progress`` gets the name of the pack, what
    is being done to it, and how much of how much.

    Raises:
        NotFound: there is no such release, or no repository.
        InvalidInput: the repository is damaged, or a pack would lead to itself.
        Busy: another publish is at work there.
        NoSpace: the disk is full; what readers see is unchanged.
        SystemFailure: the system refused, or bsdiff4 is missing.
    """
    if version in origins:
        raise InvalidInput(f"a pack from {version} to {version} would have nothing in it")
    if any(origins) and not can_find_differences():
        raise SystemFailure(
            "no packs between versions can be made: bsdiff4 is not installed",
            hint="pip install 'rootman[publish]'",
        )
    with Repository.open(where) as repository:
        new = repository.read_release(version)
        olds = {one: repository.read_release(one) if one else None for one in origins}
        with open_writer(fs, where, repository.name) as writer:
            done = set[str]()
            for origin, old in olds.items():
                for way in ways(old, new):
                    path = layout.pack_path(way.old, way.new)
                    if path not in done:
                        done.add(path)
                        maker = _Maker(writer, way, origin if way.old else None, on_progress)
                        yield maker.make(at_any_size=at_any_size)
            writer.sync()


@dataclass(frozen=True, slots=True)
class _Maker:
    """The making of one pack, which is for devices with the version ``origin``."""

    writer: Writer
    way: Way
    origin: int | None
    on_progress: Progress | None

    def make(self, *, at_any_size: bool) -> Pack:
        """Make the pack unless it is there; drop it where objects are no larger."""
        writer, way = self.writer, self.way
        contents = _Files(writer)
        task = Task(
            contents=contents,
            old=way.old,
            new=way.new,
            folder=f"{writer.path}/{layout.TEMPORARY}",
            keep=frozenset({writer.fd}),
            on_progress=self._report(),
        )
        files = wanted(task)
        instead = contents.size(layout.manifest_path(way.new))
        instead += sum(contents.size(layout.object_path(one.content.sha256)) for one in files)
        pack_of = partial(Pack, way.name, self.origin, instead=instead)
        path = layout.pack_path(way.old, way.new)
        if writer.exists(path):
            return pack_of(size=contents.size(path), kept=True, made=False)
        size = writer.write(_TEMPORARY, pack(task, files))
        if size >= instead and not at_any_size:
            writer.fs.unlink(_TEMPORARY, dir_fd=writer.folder(layout.TEMPORARY))
            return pack_of(size=size, kept=False, made=True)
        folder = layout.pack_folder(way.new)
        writer.make_folder(folder)
        writer.sync()
        writer.rename(_TEMPORARY, folder, layout.pack_file(way.old))
        return pack_of(size=size, kept=True, made=True)

    def _report(self) -> Callable[[Phase, int, int], None]:
        """Return what is told how far the pack is."""
        if self.on_progress is None:
            return lambda _phase, _done, _total: None
        of = "" if self.way.name == BASE else f"of {self.way.name} "
        return partial(self.on_progress, f"{of}from {self.origin or 'nothing'}")


class _Files:
    """The files of the repository that is held by ``writer``, also for forked processes."""

    def __init__(self, writer: Writer) -> None:
        self._fd = writer.fd
        self._where = writer.path

    def open_manifest(self, digest: str) -> BinaryIO:
        """Return the zstd-compressed manifest ``digest``, open for reading."""
        return self._open(layout.manifest_path(digest))

    def open_object(self, digest: str) -> BinaryIO:
        """Return the zstd-compressed object ``digest``, open for reading."""
        return self._open(layout.object_path(digest))

    def size(self, path: str) -> int:
        """Return the bytes of a file."""
        with self._missing(path):
            return os.stat(path, dir_fd=self._fd).st_size

    def _open(self, path: str) -> BinaryIO:
        with self._missing(path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd)
        return open(fd, "rb", buffering=0)

    @contextmanager
    def _missing(self, path: str) -> Iterator[None]:
        """Say which file the repository has not."""
        try:
            yield
        except FileNotFoundError as error:
            raise Missing(f"{self._where}: {path} is missing") from error
