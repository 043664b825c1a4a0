"""Dropping old versions from a repository that others read at that moment.

A version goes in three steps, each durable before the next: nothing lists it any more; it
is retired, which is a file that says since when; and once it has been retired for the grace,
what only it needs is deleted. So whoever read the old list has the grace to fetch from it.
What a power cut after each step leaves, and that the next prune goes on from it, is in
spec/30-release.md. Out of scope: signing (``signing``).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from rootman.errors import InvalidInput, Refused
from rootman.repo import layout
from rootman.repo.folder import FolderSource
from rootman.repo.inventory import Needed, stored
from rootman.repo.publish import renew_index
from rootman.repo.repository import Repository
from rootman.repo.standstill import standing_still
from rootman.repo.versions import read_versions
from rootman.repo.writer import open_writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootman.fsops import Fs
    from rootman.repo.due import Request
    from rootman.repo.inventory import Stored
    from rootman.repo.signing import Outcome
    from rootman.repo.versions import Versions
    from rootman.repo.writer import Writer
    from rootman.report import Reporter

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to become of each version; times are in seconds since 1970.

    ``kept`` stay published. ``retire`` are to be retired now, ``expired`` to be deleted,
    ``waiting`` are retired until the time that each has, among them those of ``retire``.
    """

    kept: tuple[int, ...]
    retire: tuple[int, ...]
    expired: tuple[int, ...]
    waiting: Mapping[int, float]


@dataclass(slots=True)
class Amounts:
    """Files and bytes that go now, and bytes that go when the grace of ``waiting`` is over."""

    files: int = 0
    freed: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What a prune did, or would do; ``outcome`` is what was signed, if anything was."""

    plan: Plan
    amounts: Amounts
    outcome: Outcome | None = None


def plan_prune(versions: Versions, keep: int, grace: float, now: float) -> Plan:
    """Plan to keep the newest ``keep`` versions; ``grace`` is in seconds."""
    retire = versions.published[:-keep]
    since = dict.fromkeys(retire, now) | dict(versions.retired)
    expired = {one for one, time in since.items() if now - time >= grace} | versions.deleted
    return Plan(
        kept=versions.published[-keep:],
        retire=retire,
        expired=tuple(sorted(expired)),
        waiting={one: since[one] + grace for one in sorted(since.keys() - expired)},
    )


def prune(
    path: str,
    keep: int,
    grace: float,
    *,
    fs: Fs,
    reporter: Reporter,
    signing: Request | None = None,
) -> PruneResult:
    """Keep the newest ``keep`` versions of the repository in the folder ``path``.

    What is retired is deleted after ``grace`` seconds, by this prune or a later one.
    ``signing`` has the keys where the repository is signed.

    Raises:
        InvalidInput: there is no repository, or what is kept is damaged; nothing is changed.
        Refused: it is signed, and has to be signed without the versions that go.
        Busy: another rootman is at work there.
        NoSpace, SystemFailure: the system refused; the next prune goes on.
    """
    with (
        Repository(FolderSource(path, path)) as repository,
        open_writer(fs, path, repository.name) as writer,
    ):
        plan = plan_prune(read_versions(writer.fd), keep, grace, time.time())
        needs = _Needs(repository, plan, reporter)
        outcome = _unlist(writer, plan, signing)
        _retire(writer, plan.retire)
        reporter.step("delete what no version needs")
        return PruneResult(plan, _delete(writer, plan.expired, needs), outcome)


def rehearse(path: str, keep: int, grace: float, *, reporter: Reporter) -> PruneResult:
    """Return what ``prune`` would do; nothing is changed.

    Raises:
        InvalidInput: there is no repository, or what is kept is damaged.
        Busy: another rootman is at work there.
        SystemFailure: it cannot be read.
    """
    with standing_still(path) as fd, Repository(FolderSource(path, path)) as repository:
        plan = plan_prune(read_versions(fd), keep, grace, time.time())
        needs = _Needs(repository, plan, reporter)
        for one in stored(fd):
            needs.has(one)
        return PruneResult(plan, needs.amounts)


class _Needs:
    """What the versions that stay need, and the amounts of what was asked about."""

    def __init__(self, repository: Repository, plan: Plan, reporter: Reporter) -> None:
        self.amounts = Amounts()
        self._repository = repository
        self._done, self._total = 0, len(plan.kept) + len(plan.waiting)
        reporter.step("read what is kept")
        self._kept = self._needed(plan.kept, reporter)
        self._waiting = self._needed(plan.waiting, reporter)

    def _needed(self, versions: Iterable[int], reporter: Reporter) -> Needed:
        needed = Needed()
        for version in versions:
            try:
                needed.add(self._repository, self._repository.read_release(version))
            except InvalidInput as error:
                # Without it there is no telling what it needs.
                hint = f"rootman repo check {self._repository.location}"
                raise InvalidInput(f"nothing is deleted: {error}", hint=hint) from error
            self._done += 1
            reporter.progress(self._done, self._total)
        return needed

    def has(self, one: Stored) -> bool:
        """Whether a version that stays needs ``one``, which is counted."""
        if self._kept.has(one):
            return True
        if self._waiting.has(one):
            self.amounts.pending += one.size
            return True
        self.amounts.files += 1
        self.amounts.freed += one.size
        return False


def _unlist(writer: Writer, plan: Plan, signing: Request | None) -> Outcome | None:
    """Have nothing list any more what is not kept: what is signed, and the index."""
    gone = {*plan.retire, *plan.waiting, *plan.expired}
    listed = not gone.isdisjoint(_announced(writer))
    outcome = _sign_without(writer, gone, signing) if listed else None
    renew_index(writer, plan.kept)
    return outcome


def _sign_without(writer: Writer, gone: set[int], signing: Request | None) -> Outcome:
    """Have what is signed not list any more what is ``gone``."""
    if signing is None:
        raise Refused(
            f"{writer.path} is signed, and has to be signed again without"
            f" {_some(gone & _announced(writer))}",
            hint="give the key: --sign FILE",
        )
    from rootman.repo.signing import check_keys, sign

    check_keys(writer, signing)
    outcome = sign(writer, replace(signing, without=frozenset(gone)))
    if left := gone & _announced(writer):
        waiting = "; ".join(outcome.waiting)
        raise Refused(
            f"{_some(left)} cannot be retired while readers are told of it: {waiting}",
            hint="when all have signed (rootman repo sign), prune again",
        )
    return outcome


def _announced(writer: Writer) -> set[int]:
    """Return the versions that signed metadata tell readers of, none where nothing is signed."""
    if not writer.exists(layout.METADATA):
        return set()
    from rootman.repo.metadata import read_published

    where = f"{writer.path}/{layout.METADATA}"
    announced = read_published(writer.folder(layout.METADATA), where).announced
    paths = announced.signed.targets if announced else {}
    return {version for version in map(layout.parse_release_path, paths) if version is not None}


def _some(versions: Iterable[int]) -> str:
    return f"version {', '.join(map(str, sorted(versions)))}"


def _retire(writer: Writer, versions: Iterable[int]) -> None:
    """Retire versions that nothing lists any more; the file of each says since when."""
    names = [layout.release_file(version) for version in versions]
    if names:
        writer.make_folder(layout.RETIRED)
        for name in names:
            writer.write(name, [])
        writer.sync()
        for name in names:
            writer.rename(name, layout.RETIRED, name)
        writer.fs.fsync(writer.folder(layout.RETIRED))


def _delete(writer: Writer, versions: Iterable[int], needs: _Needs) -> Amounts:
    """Delete the releases ``versions``, then what nothing needs, then that they were retired."""
    names = [layout.release_file(version) for version in versions]
    for name in names:
        with suppress(FileNotFoundError):
            writer.fs.unlink(name, dir_fd=writer.folder(layout.RELEASES))
    if names:
        writer.sync()
    for folder, files in groupby(stored(writer.fd), attrgetter("folder")):
        _delete_files(writer, folder, [one for one in files if not needs.has(one)])
    if names:
        writer.sync()
        for name in names:
            with suppress(FileNotFoundError):
                writer.fs.unlink(name, dir_fd=writer.folder(layout.RETIRED))
        writer.fs.fsync(writer.folder(layout.RETIRED))
    return needs.amounts


def _delete_files(writer: Writer, folder: str, files: list[Stored]) -> None:
    """Delete files of one folder, and a folder of packs with its last."""
    if not files:
        return
    fd = os.open(folder, _DIRECTORY, dir_fd=writer.fd)
    try:
        for one in files:
            writer.fs.unlink(one.name, dir_fd=fd)
        is_empty = not os.listdir(fd)
    finally:
        os.close(fd)
    if is_empty and files[0].kind == layout.PACKS:
        writer.fs.rmdir(folder, dir_fd=writer.fd)
