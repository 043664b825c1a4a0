"""Writing a release into one file (``offline`` has its form)."""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from rootman.errors import SystemFailure
from rootman.repo import layout
from rootman.repo.packs import make_packs, ways
from rootman.repo.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootman.fsops import Fs
    from rootman.repo.packs import Progress

_MODE: Final = 0o644
_PART: Final = ".part"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the release, the versions that its packs lead from, and bytes."""

    version: int
    origins: tuple[int | None, ...]
    size: int


def export(
    path: str,
    version: int | None,
    origins: Sequence[int | None],
    output: str,
    *,
    fs: Fs,
    on_progress: Progress | None = None,
) -> Exported:
    """Write the release ``version``, None for the newest, of a repository to ``output``.

    With it go the packs that lead from ``origins`` (None: from no tree); those that the
    repository lacks are made. A file that is there is replaced when the new one is whole.

    Raises:
        NotFound, InvalidInput, Busy, NoSpace, SystemFailure: as for ``make_packs``, and
            where the file cannot be written.
    """
    with Repository.open(path) as repository:
        target = repository.newest_version() if version is None else version
        new = repository.read_release(target)
        olds = [repository.read_release(one) if one else None for one in origins]
    for _ in make_packs(path, target, origins, fs=fs, at_any_size=True, on_progress=on_progress):
        pass
    found = (layout.pack_path(way.old, way.new) for old in olds for way in ways(old, new))
    packs = list(dict.fromkeys(found))
    try:
        size = _write(path, output, [*_small_files(path, target), *packs])
    except OSError as error:
        raise SystemFailure(f"{output}: {error.strerror}") from error
    return Exported(target, tuple(origins), size)


def _small_files(path: str, version: int) -> Iterator[str]:
    """Yield what a reader wants first."""
    yield layout.REPOSITORY
    folder = f"{path}/{layout.METADATA}"
    if os.path.isdir(folder):
        for name in sorted(os.listdir(folder)):
            yield f"{layout.METADATA}/{name}"
    yield layout.release_path(version)


def _write(path: str, output: str, names: Sequence[str]) -> int:
    """Write the archive, durable before it has its name; return its size in bytes."""
    part = output + _PART
    try:
        with open(part, "wb") as file:
            _archive(file, path, names)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        os.replace(part, output)
    except BaseException:
        if os.path.lexists(part):
            os.unlink(part)
        raise
    folder = os.open(os.path.dirname(os.path.abspath(output)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return size


def _archive(file: BinaryIO, path: str, names: Sequence[str]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in names:
            with open(f"{path}/{name}", "rb") as content:
                member = tarfile.TarInfo(name)
                member.size = os.fstat(content.fileno()).st_size
                member.mode = _MODE
                archive.addfile(member, content)
