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
from rootman.packs.packing import Task, pack, wanted
from rootman.repo import layout
from rootman.repo.repository import Repository
from rootman.repo.source import Missing
from rootman.repo.writer import open_writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rootman.fsops import Fs
    from rootman.repo.writer import Writer

    Progress = Callable[[str, int], None]

_TEMPORARY: Final = "pack"
# How many versions before the newest a device may have, for a pack to be made for it.
_USUAL: Final = 2


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack that leads from the version ``old``, None for no tree at all.

    ``size`` and ``instead`` are bytes: of the pack, and of the objects that it stands for.
    ``kept`` says whether it is in the repository: one that is no smaller is not.
    """

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
    path: str,
    version: int,
    origins: Sequence[int | None],
    *,
    fs: Fs,
    at_any_size: bool = False,
    on_progress: Progress | None = None,
) -> Iterator[Pack]:
    """Make the packs that lead from ``origins`` (None: from nothing) to ``version``.

    One that is no smaller than its objects is kept only ``at_any_size``. ``on_progress``
    gets the name of the pack and how many of its files are done.

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
    with Repository.open(path) as repository:
        new = repository.read_release(version)
        olds = {
            origin: repository.read_release(origin).base.manifest if origin else ""
            for origin in origins
        }
        with open_writer(fs, path, repository.name) as writer:
            for origin, manifest in olds.items():
                name = f"from {origin or 'nothing'}"
                report = None if on_progress is None else partial(on_progress, name)
                maker = _Maker(writer, manifest, new.base.manifest, report)
                yield maker.make(origin, at_any_size=at_any_size)
            writer.sync()


@dataclass(frozen=True, slots=True)
class _Maker:
    """The making of one pack, from the manifest ``old`` to ``new``."""

    writer: Writer
    old: str
    new: str
    report: Callable[[int], None] | None

    def make(self, origin: int | None, *, at_any_size: bool) -> Pack:
        """Make the pack unless it is there; drop it where objects are no larger."""
        writer = self.writer
        contents = _Files(writer)
        task = Task(
            contents=contents,
            old=self.old,
            new=self.new,
            folder=f"{writer.path}/{layout.TEMPORARY}",
            keep=frozenset({writer.fd}),
            on_progress=self.report,
        )
        files = wanted(task)
        instead = sum(contents.size(layout.object_path(one.content.sha256)) for one in files)
        path = layout.pack_path(self.old, self.new)
        if writer.exists(path):
            return Pack(origin, contents.size(path), instead, kept=True, made=False)
        size = writer.write(_TEMPORARY, pack(task, files))
        if size >= instead and not at_any_size:
            writer.fs.unlink(_TEMPORARY, dir_fd=writer.folder(layout.TEMPORARY))
            return Pack(origin, size, instead, kept=False, made=True)
        folder = layout.pack_folder(self.new)
        writer.make_folder(folder)
        writer.sync()
        writer.rename(_TEMPORARY, folder, layout.pack_file(self.old))
        return Pack(origin, size, instead, kept=True, made=True)


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
