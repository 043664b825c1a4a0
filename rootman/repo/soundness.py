"""Whether the objects and packs of a repository are what they must be, by all processors."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, TypeVar

from rootman.errors import RootmanError
from rootman.parallel import ordered_map
from rootman.repo import layout
from rootman.repo.findings import Finding, problem_with
from rootman.repo.folder import FolderSource
from rootman.repo.source import Missing
from rootman.textstream import decompress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rootman.repo.inventory import Content, Stored

_JOB_FILES: Final = 64
_JOB_BYTES: Final = 4 << 20

_MISSING: Final = "put it back from a copy, or publish a tree that has it as another version"
_DAMAGED: Final = f"delete it, then {_MISSING}"
_PACK: Final = "delete it, as devices do without; then rootman repo pack"

_Job = TypeVar("_Job")


class Wanted(NamedTuple):
    """An object to be verified, and what needs it, as ``olpc.7 for ./bin/sh``."""

    content: Content
    user: str


class Verified(NamedTuple):
    """How many files were looked at, how many bytes those that were sound have, and the others."""

    files: int
    size: int
    findings: list[Finding]


def verify_objects(location: str, wanted: Iterable[Wanted]) -> Iterator[Verified]:
    """Yield what came of each part of the objects that are ``wanted``; bytes are of content.

    Raises:
        SystemFailure: the repository cannot be read.
    """
    return _by_all(partial(_verify_objects, location), _jobs(wanted))


def verify_packs(location: str, packs: Iterable[Stored]) -> Iterator[Verified]:
    """Yield what came of each pack, made once for a test; bytes are those of the pack.

    Raises:
        SystemFailure: the repository cannot be read.
    """
    return _by_all(partial(_verify_pack, location), packs)


def _by_all(work: Callable[[_Job], Verified], jobs: Iterable[_Job]) -> Iterator[Verified]:
    workers = len(os.sched_getaffinity(0))
    return ordered_map(work, iter(jobs), workers, keep=frozenset())


def _jobs(wanted: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    job: list[Wanted] = []
    size = 0
    for one in wanted:
        job.append(one)
        size += one.content.size
        if len(job) >= _JOB_FILES or size >= _JOB_BYTES:
            yield job
            job, size = [], 0
    if job:
        yield job


def _verify_objects(location: str, job: list[Wanted]) -> Verified:
    source = FolderSource(location, location)
    try:
        found = [_object_finding(source, one) for one in job]
    finally:
        source.close()
    size = sum(one.content.size for one, finding in zip(job, found, strict=True) if not finding)
    return Verified(len(job), size, [one for one in found if one])


def _object_finding(source: FolderSource, one: Wanted) -> Finding | None:
    path = layout.object_path(one.content.sha256)
    try:
        problem = _object_problem(source, path, one.content)
    except Missing:
        return Finding(path, f"is missing; {one.user}", _MISSING)
    except OSError as error:
        problem = str(error.strerror)
    except RootmanError as error:
        problem = problem_with(path, source.path, error)
    return Finding(path, f"{problem}; {one.user}", _DAMAGED) if problem else None


def _object_problem(source: FolderSource, path: str, content: Content) -> str:
    """Return what is wrong with an object, "" where nothing is."""
    hasher, size = hashlib.sha256(), 0
    with source.open(path) as file:
        for data in decompress(file, path):
            hasher.update(data)
            size += len(data)
            if size > content.size:
                return f"longer than the {content.size} bytes that a manifest says"
    if hasher.hexdigest() != content.sha256:
        return f"its content has SHA-256 {hasher.hexdigest()}"
    return "" if size == content.size else f"has {size} bytes, and not {content.size}"


def _verify_pack(location: str, pack: Stored) -> Verified:
    from rootman.packs.proof import prove
    from rootman.packs.way import Way

    old = layout.parse_pack_file(pack.name) or ""
    source = FolderSource(location, location)
    try:
        with source.open(pack.path) as file:
            prove(Way(_Contents(source), old, pack.digest), file, pack.path)
    except OSError as error:
        problem = str(error.strerror)
    except RootmanError as error:
        problem = problem_with(pack.path, location, error)
    else:
        return Verified(1, pack.size, [])
    finally:
        source.close()
    return Verified(1, 0, [Finding(pack.path, problem, _PACK)])


class _Contents(NamedTuple):
    """What a pack is made of."""

    source: FolderSource

    def open_manifest(self, digest: str) -> BinaryIO:
        """Return the zstd-compressed manifest ``digest``, open for reading."""
        return self.source.open(layout.manifest_path(digest))

    def open_object(self, digest: str) -> BinaryIO:
        """Return the zstd-compressed object ``digest``, open for reading."""
        return self.source.open(layout.object_path(digest))
