"""What a repository has to have signed below a root, and with which keys that can be done.

Out of scope: the root itself (``roots``), and in which order a new one appears (``signing``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from rootman.document import SIZE_LIMIT
from rootman.errors import Refused
from rootman.repo import layout
from rootman.repo.framework import Metadata, Root, Snapshot, T, TargetFile, Targets, Timestamp
from rootman.repo.metadata import SIGNED_AT, Document, put
from rootman.repo.roots import ONLINE, ROOT, TARGETS
from rootman.repo.versions import read_versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootman.repo.framework import CryptoSigner
    from rootman.repo.metadata import Published
    from rootman.repo.writer import Writer

# For how many days each role signs by default (TU-8).
DAYS: Final[Mapping[str, int]] = {ROOT: 5 * 365, TARGETS: 2 * 365, ONLINE: 90}

_TARGETS_ENTRY: Final = f"{Targets.type}.json"


@dataclass(frozen=True, slots=True)
class Request:
    """Who signs what.

    ``keys`` are signers by the name of their file. ``role`` None means what is due:
    targets where the releases changed or their list would expire first, and online.
    ``days`` None means the role's own. ``renew`` False leaves alone what names all
    releases already. ``without`` are versions that are to be listed no more.
    """

    keys: Mapping[str, CryptoSigner]
    role: str | None = None
    days: int | None = None
    renew: bool = True
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    without: frozenset[int] = frozenset()

    def expiry(self, role: str) -> datetime:
        """Return until when what ``role`` signs now is to hold."""
        return self.now + timedelta(days=self.days or DAYS[role])


class Due:
    """The targets, snapshot and timestamp below ``root``, those that were due signed anew.

    ``old`` is the root that readers still have while ``root`` is published; its keys sign
    too. Nothing is written before ``publish``.

    Raises:
        Refused: a role was asked for and these keys cannot sign it, or a release is not
            what was signed.
    """

    def __init__(
        self, writer: Writer, before: Published, root: Root, old: Root | None, request: Request
    ) -> None:
        self._writer = writer
        self._request = request
        self._roots = (root, *((old,) if old else ()))
        self._highest = before.highest
        self._targets, self._snapshot = before.targets, before.snapshot
        self._timestamp = before.timestamp
        self._below: list[Document[Targets] | Document[Snapshot]] = []
        self._last: Document[Timestamp] | None = None
        self.lacking: list[str] = []
        """The roles that have nothing valid, and these keys do not suffice for it."""
        self.waiting: list[str] = []
        """What is valid, but not the newest that it could be with other keys."""
        self._update_targets()
        if self._targets is not None and (request.renew or not self._is_current(self._targets)):
            self._update_online(self._targets)

    def is_valid(self, root: Root) -> bool:
        """Whether a reader who has ``root`` takes all of it."""
        chain = (self._timestamp, self._snapshot, self._targets)
        return all(document is not None and document.is_valid(root) for document in chain)

    def publish(self) -> tuple[str, ...]:
        """Write what was signed, the timestamp last; return it as ``targets 3``.

        Raises:
            OSError: the system refused; readers see what they saw before.
        """
        if self._below:
            put(self._writer, self._below)
        made = [*self._below, *([self._last] if self._last else [])]
        if self._last:
            put(self._writer, [self._last])
        return tuple(f"{document.signed.type} {document.signed.version}" for document in made)

    def _update_targets(self) -> None:
        request, current, root = self._request, self._targets, self._roots[0]
        listed = _listed(self._writer, current.signed if current else None, request.without)
        same = False
        if current is not None and current.is_valid(root):
            same = current.signed.targets == listed
            lasts = current.signed.expires >= request.expiry(ONLINE)
            if request.role == ONLINE or (same and lasts and request.role != TARGETS):
                return
        version = self._highest.get(Targets.type, 0) + 1
        made = self._sign(Targets(version, expires=request.expiry(TARGETS), targets=listed))
        if made is not None:
            self._targets = made
            self._below.append(made)
        elif current is None or not current.is_valid(root):
            self.lacking.append(TARGETS)
        elif request.role == TARGETS:
            raise _too_few(TARGETS)
        elif not same:
            self.waiting.append("the releases are not signed: their keys are those of targets")

    def _update_online(self, targets: Document[Targets]) -> None:
        """Sign a snapshot and a timestamp; both have one version, higher than any file's."""
        version = self._highest.get(Snapshot.type, 0) + 1
        if self._timestamp is not None:
            version = max(version, self._timestamp.signed.version + 1)
        until = self._request.expiry(ONLINE)
        entries = {_TARGETS_ENTRY: targets.entry}
        snapshot = self._sign(Snapshot(version, expires=until, meta=entries))
        timestamp = None
        if snapshot is not None:
            at = {SIGNED_AT: int(self._request.now.timestamp())}
            timestamp = self._sign(
                Timestamp(
                    version, expires=until, snapshot_meta=snapshot.entry, unrecognized_fields=at
                )
            )
        if snapshot is not None and timestamp is not None:
            self._below.append(snapshot)
            self._snapshot, self._timestamp, self._last = snapshot, timestamp, timestamp
        elif not self.is_valid(self._roots[0]):
            self.lacking.append(ONLINE)
        elif self._request.role != ROOT and not self._below:
            raise _too_few(ONLINE)
        elif self._below:
            self.waiting.append("targets are signed, but not announced: that is up to online")

    def _is_current(self, targets: Document[Targets]) -> bool:
        """Whether what readers are told is these targets."""
        if self._snapshot is None or not self.is_valid(self._roots[0]):
            return False
        return self._snapshot.signed.meta.get(_TARGETS_ENTRY) == targets.entry

    def _sign(self, signed: T) -> Document[T] | None:
        """Return ``signed`` with its signatures, None where these keys do not suffice."""
        made = Metadata(signed)
        allowed = {key for root in self._roots for key in root.roles[signed.type].keyids}
        for signer in self._request.keys.values():
            if signer.public_key.keyid in allowed:
                made.sign(signer, append=True)
        document = Document.of(made)
        return document if document.is_valid(self._roots[0]) else None


def _too_few(role: str) -> Refused:
    return Refused(
        f"these keys do not suffice to sign for {role}",
        hint="rootman repo keys list REPO shows whose do; --key may be given again",
    )


def _listed(
    writer: Writer, before: Targets | None, without: frozenset[int]
) -> dict[str, TargetFile]:
    """Return what the repository offers now; what was signed before must still be that (RL-6)."""
    versions = [one for one in read_versions(writer.fd).published if one not in without]
    paths = [layout.REPOSITORY, *map(layout.release_path, versions)]
    listed = {path: _target(writer, path) for path in paths}
    for path, target in listed.items():
        signed = before.targets.get(path) if before else None
        if path != layout.REPOSITORY and signed is not None and signed != target:
            raise Refused(
                f"{writer.path}/{path} is not the release that was signed",
                hint="put back what was published, or publish another version",
            )
    return listed


def _target(writer: Writer, path: str) -> TargetFile:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=writer.fd)
    with open(fd, "rb") as file:
        return TargetFile.from_data(path, file.read(SIZE_LIMIT), ["sha256"])
