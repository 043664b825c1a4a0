"""Verifying a whole repository in a folder: every byte that a release needs, and what lists it.

Nothing is changed, and nothing is taken for sound because another file says so: objects
are hashed, packs unpacked, signatures verified as a device verifies them. Memory grows by
some bytes for each object. Out of scope: mending; each finding says what to do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rootman.comparison import known_lines
from rootman.delta import hash_prefix
from rootman.document import SIZE_LIMIT
from rootman.errors import RootmanError, SystemFailure
from rootman.manifest import line_path
from rootman.repo import layout
from rootman.repo.endorsement import first_root, unsigned
from rootman.repo.findings import Finding, problem_with
from rootman.repo.folder import FolderSource
from rootman.repo.index import parse_index
from rootman.repo.inventory import Needed, content_of, files_in, stored
from rootman.repo.manifests import wrong_manifests
from rootman.repo.repository import Repository
from rootman.repo.soundness import Wanted, verify_objects, verify_packs
from rootman.repo.standstill import standing_still
from rootman.repo.versions import read_versions
from rootman.wanted import CompressedManifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.release import Release
    from rootman.repo.inventory import Content, Stored
    from rootman.repo.soundness import Verified
    from rootman.repo.versions import Versions
    from rootman.report import Reporter

_BACK: Final = "put it back from a copy, or prune the version"
_INDEX: Final = "rootman repo prune REPO --keep N writes it anew"


@dataclass(slots=True)
class Amount:
    """A number of files, and their bytes."""

    files: int = 0
    size: int = 0

    def add(self, size: int, files: int = 1) -> None:
        """Count ``files`` of ``size`` bytes."""
        self.files += files
        self.size += size


@dataclass(slots=True)
class Report:
    """What there is in a repository; only ``findings`` are wrong.

    ``objects`` are those that releases need, and their content. ``unneeded`` is what no
    release needs, None where a damaged release leaves that open; ``left`` is what an
    interrupted publish left in ``tmp``. ``untested`` packs lead from versions that are
    not here any more.
    """

    name: str
    versions: Versions
    is_signed: bool
    manifests: int = 0
    objects: Amount = field(default_factory=Amount)
    packs: Amount = field(default_factory=Amount)
    untested: int = 0
    unneeded: Amount | None = None
    left: Amount = field(default_factory=Amount)
    findings: list[Finding] = field(default_factory=list)


def check(path: str, reporter: Reporter) -> Report:
    """Verify the repository in the folder ``path``.

    Raises:
        InvalidInput: there is none, or its repository.json is damaged.
        Busy: another rootman changes it.
        SystemFailure: it cannot be read.
    """
    try:
        with standing_still(path) as fd, Repository(FolderSource(path, path)) as repository:
            return _Check(fd, repository, reporter).run()
    except OSError as error:
        where = f"{path}/{os.fsdecode(error.filename)}" if error.filename else path
        raise SystemFailure(f"{where}: {error.strerror}") from error


class _Check:
    """One look at a repository, from what lists to what is listed."""

    def __init__(self, fd: int, repository: Repository, reporter: Reporter) -> None:
        self._fd = fd
        self._repository = repository
        self._location = repository.location
        self._reporter = reporter
        self._versions = read_versions(fd)
        self._root = first_root(fd)
        self._report = Report(repository.name, self._versions, self._root is not None)
        self._is_open = False  # what is needed, as a release is damaged
        self._needed = Needed()
        # 64 bits of the hash and the size: that two manifests agree on it is verified, too.
        self._seen: set[int] = set()

    def run(self) -> Report:
        """Look at everything."""
        report, reporter, versions = self._report, self._reporter, self._versions
        reporter.step("verify what is listed")
        self._check_index()
        if self._root is not None:
            report.findings += unsigned(self._location, self._root, versions)
        releases = self._releases(sorted({*versions.published, *versions.retired}))
        reporter.step("verify manifests")
        sound = [release for release in releases if self._has_sound_manifests(release)]
        packs, total = self._tally()
        reporter.step("verify objects")
        self._take(verify_objects(self._location, self._wanted(sound)), report.objects, total)
        reporter.step("verify packs")
        self._take(verify_packs(self._location, packs), report.packs, len(packs))
        return report

    def _find(self, path: str, error: Exception, hint: str) -> None:
        problem = problem_with(path, self._location, error)
        self._report.findings.append(Finding(path, problem, hint))

    def _check_index(self) -> None:
        """Compare the index with the releases that are there (RL-13)."""
        try:
            data = self._repository.source.read(layout.INDEX, SIZE_LIMIT)
            listed = set(parse_index(data, layout.INDEX))
        except RootmanError as error:
            self._find(layout.INDEX, error, _INDEX)
            return
        published = set(self._versions.published)
        for problem, wrong in (
            ("does not list", published - listed),
            ("lists what is not published:", listed - published),
        ):
            if wrong:
                said = f"{problem} {', '.join(map(str, sorted(wrong)))}"
                self._report.findings.append(Finding(layout.INDEX, said, _INDEX))

    def _releases(self, versions: list[int]) -> list[Release]:
        found = []
        for version in versions:
            if version in self._versions.deleted:
                continue
            try:
                found.append(self._repository.read_release(version))
            except RootmanError as error:
                self._is_open = True
                self._find(layout.release_path(version), error, _BACK)
        return found

    def _has_sound_manifests(self, release: Release) -> bool:
        """Whether the manifests of a release are sound; then what they need is needed."""
        wrong = list(wrong_manifests(self._repository, release))
        for path, error in wrong:
            self._is_open = True
            self._find(path, error, _BACK)
        if wrong:
            return False
        self._needed.add(self._repository, release)
        self._report.manifests = len(self._needed.manifests)
        return True

    def _tally(self) -> tuple[list[Stored], int]:
        """Count what nobody needs; return the packs to be tested, and how many objects there are.

        A pack can be tested where what it leads from is still there.
        """
        report, needed = self._report, self._needed
        packs: list[Stored] = []
        unneeded, objects = Amount(), 0
        for one in stored(self._fd):
            objects += one.kind == layout.OBJECTS
            if not needed.has(one):
                unneeded.add(one.size)
            elif one.kind == layout.PACKS:
                if layout.parse_pack_file(one.name) in {"", *needed.manifests}:
                    packs.append(one)
                else:
                    report.untested += 1
        report.unneeded = None if self._is_open else unneeded
        for _, size in files_in(self._fd, layout.TEMPORARY):
            report.left.add(size)
        return packs, objects

    def _wanted(self, releases: list[Release]) -> Iterator[Wanted]:
        """Yield each object that releases need, once."""
        for release in releases:
            for bundle in release.bundles:
                with self._repository.open_manifest(bundle.manifest) as file:
                    lines = known_lines(CompressedManifest(file, bundle.manifest).stream())
                    title = f"{release.name}.{release.version}"
                    for line in lines:
                        content = content_of(line)
                        if content is not None and self._is_new(content):
                            path = line_path(line).decode("ascii")
                            yield Wanted(content, f"{title} needs it for {path}")

    def _is_new(self, content: Content) -> bool:
        key = content.size << 64 | hash_prefix(content.sha256)
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new

    def _take(self, parts: Iterator[Verified], amount: Amount, total: int) -> None:
        for part in parts:
            amount.add(part.size, part.files)
            self._report.findings += part.findings
            self._reporter.progress(amount.files, total)
