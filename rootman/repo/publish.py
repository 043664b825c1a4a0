"""Publishing a tree: from a directory to a release in a repository.

The order is the promise: objects, then the manifests, then the release, then the index,
each durable before the next is begun. So whatever interrupts it, readers see the releases that
there were, and the next publish goes on with the objects that are there already.
Out of scope: how files get into the repository (``writer``, ``objects``), and what is in
which bundle (``parts``).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from rootman.boot.label import check_label
from rootman.bundles import check_includes
from rootman.comparison import lines
from rootman.errors import InvalidInput, NotFound, Refused, SystemFailure
from rootman.fsops import open_dir
from rootman.names import BASE, DEFAULT_OS, tree_name
from rootman.release import Bundle, Release, serialise
from rootman.repo import layout
from rootman.repo.index import serialise_index
from rootman.repo.objects import store_objects
from rootman.repo.parts import part_file, sum_parts, write_parts
from rootman.repo.repository import Repository
from rootman.repo.versions import read_versions
from rootman.repo.writer import open_writer
from rootman.scanner import scan_tree
from rootman.textstream import decompress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rootman.bundles import BundleList
    from rootman.fsops import Fs
    from rootman.repo.due import Request
    from rootman.repo.signing import Outcome
    from rootman.repo.writer import Writer

    Progress = Callable[[str, int], None]

_RELEASE: Final = "release.json"


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What a publish came to. Sizes are in bytes.

    ``bytes_new`` is the content of the ``objects_new`` objects, ``bytes_stored`` what
    they take compressed. With ``already_published`` nothing was written. ``outcome`` is
    what was signed, None where that was not asked for.
    """

    release: Release
    objects_new: int = 0
    bytes_new: int = 0
    bytes_stored: int = 0
    already_published: bool = False
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """What is to be published, besides the tree.

    ``name`` is the operating system's, None the repository's. Modification times
    later than ``clamp_time_ns`` become that time. ``timestamp`` is UTC as in a release,
    None now. The order of ``compatible``, ``config`` and ``state`` does not matter.
    ``lists`` say what of the tree is in which bundle, and not in ``base``.
    """

    version: int
    name: str | None = None
    compatible: Sequence[str] = ()
    config: Sequence[str] = ()
    state: Sequence[str] = ()
    clamp_time_ns: int | None = None
    timestamp: str | None = None
    lists: Mapping[str, BundleList] = field(default_factory=dict)

    def draft(self) -> Release:
        """Return the release as far as it can be known without the tree.

        Raises:
            InvalidInput: something in it is not what it must be.
        """
        check_includes(self.lists)
        release = Release(
            name=self.name or DEFAULT_OS,
            version=self.version,
            timestamp=self.timestamp or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            bundles=tuple(Bundle(name, "0" * 64, 0, 0, 0) for name in (BASE, *self.lists)),
            compatible=tuple(sorted(set(self.compatible))),
            config=tuple(sorted(set(self.config))),
            state=tuple(sorted(set(self.state))),
        )
        serialise(release)
        return release


def publish(
    tree: str,
    repository: str,
    publication: Publication,
    *,
    fs: Fs,
    on_progress: Progress | None = None,
    signing: Request | None = None,
) -> PublishResult:
    """Publish the directory ``tree`` in ``repository``, which is made if it is missing.

    ``on_progress`` gets what is being done, ``scan`` or ``objects``, and how many
    entries or objects are done. With ``signing`` the release is signed, too; the first
    time that makes the repository's root of trust.

    Raises:
        InvalidInput: the publication or the tree is not what it must be.
        NotFound: there is no such tree.
        Refused: the version is published with other content or retired, or the folder is
            no repository, or one of another OS, or inside the tree.
        Busy: another publish is at work, or the tree changes.
        NoSpace: the disk is full; what readers see is unchanged.
        SystemFailure: the system refused.
    """
    draft = publication.draft()
    with _open_tree(tree) as tree_fd:
        _refuse_overlap(tree, repository)
        job = _Job(tree_fd, publication.clamp_time_ns, on_progress, publication.lists)
        name = publication.name
        with open_writer(fs, repository, name) as writer, Repository.open(repository) as reader:
            if name not in (None, reader.name):
                raise Refused(f"{repository} is a repository of {reader.name}, not of {name}")
            draft = replace(draft, name=reader.name)
            _check_state(tree_fd, draft.state, tree)
            check_label(tree_fd, tree_name(draft.name, draft.version), tree)
            versions = reader.versions()
            _refuse_retired(writer, draft.version)
            if signing is not None:
                from rootman.repo.signing import check_keys

                check_keys(writer, signing)
            known = draft.version in versions
            result = _compare(job, draft, reader) if known else _add(job, draft, writer)
            renew_index(writer, {*versions, draft.version})
            if signing is not None:
                from rootman.repo.signing import sign

                result = replace(result, outcome=sign(writer, signing))
            return result


@dataclass(frozen=True, slots=True)
class _Job:
    tree_fd: int
    clamp_time_ns: int | None
    on_progress: Progress | None
    lists: Mapping[str, BundleList]

    def scan(self) -> Iterator[bytes]:
        """Yield the manifest of the tree."""
        return scan_tree(
            self.tree_fd, clamp_time_ns=self.clamp_time_ns, on_progress=self.progress("scan")
        )

    def progress(self, what: str) -> Callable[[int], None] | None:
        """Return what a part of the work reports its progress to."""
        report = self.on_progress
        return None if report is None else lambda done: report(what, done)


def _check_state(tree_fd: int, paths: Sequence[str], tree: str) -> None:
    """Refuse a tree in which there is nothing that state can be mounted on (BT-71)."""
    for path in paths:
        try:
            os.close(open_dir(path[1:], dir_fd=tree_fd))
        except OSError as error:
            raise InvalidInput(
                f"{tree}: the state path {path} is no directory there: {error.strerror}",
                hint=f"mkdir -p {tree}{path}",
            ) from error


def _refuse_retired(writer: Writer, version: int) -> None:
    """Refuse to publish under a number that readers of the old list may still be fetching."""
    found = read_versions(writer.fd)
    if version in found.retired:
        highest = max((*found.published, *found.retired))
        raise Refused(
            f"version {version} was published and is retired", hint=f"use --version {highest + 1}"
        )


def _compare(job: _Job, draft: Release, reader: Repository) -> PublishResult:
    """Accept what is published already if it is the same; a published version is immutable."""
    published = reader.read_release(draft.version)
    base, *others = sum_parts(job.scan(), job.lists)
    facts = {
        "manifest": (published.base.manifest, base.manifest),
        "bundles": (_others(published.bundles), _others(others)),
        "compatible": (sorted(published.compatible), list(draft.compatible)),
        "config": (sorted(published.config), list(draft.config)),
        "state": (sorted(published.state), list(draft.state)),
    }
    differ = [key for key, (old, new) in facts.items() if old != new]
    if differ:
        raise Refused(
            f"version {draft.version} is already published with other content"
            f" ({', '.join(differ)})",
            hint=f"use --version {reader.newest_version() + 1}",
        )
    return PublishResult(published, already_published=True)


def _others(bundles: Iterable[Bundle]) -> list[Bundle]:
    """Return the bundles but for base, in the order of their names."""
    return sorted((one for one in bundles if one.name != BASE), key=attrgetter("name"))


def _add(job: _Job, draft: Release, writer: Writer) -> PublishResult:
    """Publish objects, manifests and release, in this order."""
    bundles = write_parts(writer, job.scan(), job.lists)
    tally = store_objects(
        writer,
        job.tree_fd,
        _written(writer, bundles),
        on_progress=job.progress("objects"),
    )
    release = replace(draft, bundles=bundles)
    writer.sync()
    for bundle in bundles:
        final = layout.compressed_file(bundle.manifest)
        writer.rename(part_file(bundle.name), layout.MANIFESTS, final)
    writer.write(_RELEASE, [serialise(release)])
    writer.sync()
    writer.rename(_RELEASE, layout.RELEASES, layout.release_file(release.version))
    return PublishResult(release, tally.objects_new, tally.bytes_new, tally.bytes_stored)


def _written(writer: Writer, bundles: Iterable[Bundle]) -> Iterator[bytes]:
    """Yield the lines of the manifests that were just written."""
    for bundle in bundles:
        name = part_file(bundle.name)
        with open(name, "rb", opener=_beneath(writer.folder(layout.TEMPORARY))) as manifest:
            yield from lines(decompress(manifest, "the manifest just written"))


def renew_index(writer: Writer, versions: Iterable[int]) -> None:
    """Have the index list ``versions``, whose releases are there (RL-13).

    Raises:
        OSError: the repository cannot be written.
    """
    data = serialise_index(versions)
    if writer.content(layout.INDEX, len(data) + 1) != data:
        writer.replace(layout.RELEASES, layout.INDEX_FILE, data)
        writer.fs.freeze_thaw(writer.fd)


def _beneath(dir_fd: int) -> Callable[[str, int], int]:
    return lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, dir_fd=dir_fd)


@contextmanager
def _open_tree(tree: str) -> Iterator[int]:
    try:
        fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"{tree}: no such directory") from error
    except NotADirectoryError as error:
        raise InvalidInput(f"{tree}: not a directory") from error
    except OSError as error:
        raise SystemFailure(f"{tree}: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


def _refuse_overlap(tree: str, repository: str) -> None:
    """Refuse to publish a tree that would hold its own objects."""
    inside = os.path.realpath(repository)
    while True:
        if os.path.exists(inside) and os.path.samefile(inside, tree):
            raise Refused(
                f"{repository} is inside {tree}, which is to be published",
                hint="put the repository elsewhere",
            )
        if inside == os.path.dirname(inside):
            return
        inside = os.path.dirname(inside)
