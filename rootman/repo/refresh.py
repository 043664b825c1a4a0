"""Bringing what a store trusts up to date, by python-tuf's client (spec/36-trust.md).

The client works in a private directory, because it writes without making durable; what
it verified is handed to whoever keeps it. Out of scope: the store (``rootman.trust``).
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rootman.errors import InvalidInput, RootmanError
from rootman.repo import layout
from rootman.repo.framework import (
    FetcherInterface,
    Metadata,
    Root,
    TargetFile,
    Targets,
    Timestamp,
    Updater,
    UpdaterConfig,
    exceptions,
)
from rootman.repo.metadata import SIGNED_AT
from rootman.repo.refusals import Moment, Read, expired, printable, refusal
from rootman.repo.source import Missing
from rootman.trust import BEGINNING, METADATA_FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rootman.repo.source import Source
    from rootman.trust import Trust

_HERE: Final = f"{layout.METADATA}/"
# A clock cannot be set to a time before it; nothing has expired then (TU-11).
_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)


def refresh(
    source: Source,
    trust: Trust,
    *,
    clock: float,
    keep: Callable[[Trust], None],
    is_offline: bool = False,
) -> Mapping[str, TargetFile]:
    """Return what the newest metadata of ``source`` list: targets by their path.

    ``clock`` is the device's, in seconds since 1970. ``keep`` gets what is trusted then,
    before this returns or raises: also a root that was followed before something else was
    refused. With ``is_offline`` a timestamp and a snapshot may have expired, as they have
    no way to be renewed; nothing else is given up.

    Raises:
        Refused: what is there is older than what was seen, expired, or not signed.
        InvalidInput: it is not signed by whom it should be, or damaged.
        RootmanError: it cannot be read.
        OSError: the scratch directory cannot be written.
    """
    moment = Moment(int(clock), trust.floor)
    with tempfile.TemporaryDirectory(prefix="rootman-trust-") as scratch:
        for name, data in trust.files.items():
            with open(os.path.join(scratch, name), "wb") as file:
                file.write(data)
        client = _Client(scratch, source, _ALWAYS if is_offline else moment.reference)
        try:
            client.refresh()
            client.check_expiry(moment.reference)
        except (exceptions.RepositoryError, exceptions.DownloadError) as error:
            keep(replace(trust, files=_verified(scratch)))
            raise client.explained(error, moment) from error
        except RootmanError:
            keep(replace(trust, files=_verified(scratch)))
            raise
        keep(replace(trust, files=_verified(scratch), floor=moment.after(client.signed_at)))
        return client.targets


def check_root(data: bytes, origin: str) -> Root:
    """Return the root in ``data`` if it can be trusted to begin with.

    Raises:
        InvalidInput: it is no root metadata, or not signed by its own keys.
    """
    try:
        metadata: Metadata[Root] = Metadata.from_bytes(data)
        if not isinstance(metadata.signed, Root):
            raise InvalidInput(f"{origin}: is {metadata.signed.type} metadata, not a root")
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except exceptions.RepositoryError as error:
        raise InvalidInput(
            f"{origin}: not a root of trust: {printable(error)}",
            hint="the publisher has it in REPO/metadata, as N.root.json",
        ) from error
    return metadata.signed


class _Client(Updater):
    """python-tuf's client, at a time of our choice, reading from a source of ours."""

    def __init__(self, scratch: str, source: Source, reference: datetime) -> None:
        self._source = source
        self.fetcher = _Fetcher(source)
        try:
            super().__init__(scratch, _HERE, fetcher=self.fetcher, config=UpdaterConfig())
        except exceptions.RepositoryError as error:
            raise InvalidInput(
                f"the root of trust of this store is damaged: {printable(error)}",
                hint="give it again: rootman trust root.json",
            ) from error
        self._trusted_set.reference_time = reference

    def explained(self, error: Exception, moment: Moment) -> RootmanError:
        """Return what the refusal ``error`` means."""
        read = Read(self._source, self.fetcher.path, self.fetcher.data)
        if not isinstance(error, exceptions.ExpiredMetadataError):
            return refusal(read, error)
        for signed in self._trusted_set:
            if signed.type in {Root.type, Targets.type} and signed.is_expired(moment.reference):
                name = f"{signed.type} {signed.version} of {self._source.location}"
                return expired(name, signed.expires, moment)
        # Its signatures were verified before its expiry.
        metadata: Metadata[Timestamp] = Metadata.from_bytes(read.data)
        return expired(read.name, metadata.signed.expires, moment)

    def check_expiry(self, reference: datetime) -> None:
        """Refuse a root or targets that have expired, whatever time the client went by."""
        for signed in (self._trusted_set.root, self._trusted_set.targets):
            if signed.is_expired(reference):
                raise exceptions.ExpiredMetadataError(f"{signed.type} has expired")

    @property
    def targets(self) -> Mapping[str, TargetFile]:
        """What is listed."""
        return self._trusted_set.targets.targets

    @property
    def signed_at(self) -> int:
        """When the timestamp was signed, as far as it says so."""
        timestamp = self._trusted_set.timestamp
        said = timestamp.unrecognized_fields.get(SIGNED_AT)
        if type(said) is not int:
            return BEGINNING
        return min(said, int(timestamp.expires.timestamp()))


class _Fetcher(FetcherInterface):
    """Reads metadata from a source, and remembers what it read last."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.path = ""
        self.data = b""

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotImplementedError(url)  # a target; those are read by the catalogue

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return the metadata at ``url``, which is a path in the repository."""
        self.path = url
        try:
            self.data = self._source.read(url, max_length)
        except Missing as error:
            raise exceptions.DownloadHTTPError(str(error), 404) from error
        return self.data


def _verified(scratch: str) -> dict[str, bytes]:
    """Return the metadata that the client verified, by name."""
    found = {}
    for name in METADATA_FILES:
        with suppress(FileNotFoundError), open(os.path.join(scratch, name), "rb") as file:
            found[name] = file.read()
    return found
