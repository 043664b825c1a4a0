"""What a refusal of python-tuf's client means, in one line for whoever upgrades."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rootman.errors import InvalidInput, Refused
from rootman.repo.framework import (
    Root,
    Targets,
    Timestamp,
    exceptions,
)

if TYPE_CHECKING:
    from rootman.errors import RootmanError
    from rootman.repo.source import Source

_CONTROLS: Final = re.compile(r"[^ -~]")


@dataclass(frozen=True, slots=True)
class Moment:
    """What time it is: ``clock`` as the device says it, ``floor`` as signed metadata prove.

    Both are in seconds since 1970.
    """

    clock: int
    floor: int

    @property
    def is_behind(self) -> bool:
        """Whether the clock is certainly wrong."""
        return self.clock < self.floor

    @property
    def reference(self) -> datetime:
        """The time that expiry is compared with (TU-9)."""
        return datetime.fromtimestamp(max(self.clock, self.floor), UTC)

    def after(self, signed_at: int) -> int:
        """Return the floor once metadata are accepted that were signed ``signed_at``.

        A publisher's clock that is ahead does not move the floor beyond ours, unless ours
        is known to be wrong.
        """
        return max(self.floor, signed_at if self.is_behind else min(signed_at, self.clock))


@dataclass(frozen=True, slots=True)
class Read:
    """The file of metadata that was read last, and where."""

    source: Source
    path: str
    data: bytes

    @property
    def name(self) -> str:
        """Its full name."""
        return self.source.name_of(self.path)

    @property
    def role(self) -> str:
        """What it should be: root, timestamp, snapshot or targets."""
        return os.path.basename(self.path).removesuffix(".json").rpartition(".")[2]


def expired(name: str, expires: datetime, moment: Moment) -> Refused:
    """Return the error that what is called ``name`` has expired."""
    now = f"the clock says {_date(moment.reference)}"
    if moment.is_behind:
        now = f"metadata signed on {_date(moment.reference)} were seen already"
    return Refused(
        f"{name} expired on {_date(expires)}, and {now}: it was not renewed, or newer metadata are"
        " kept back, or the clock is wrong",
        hint="look at the clock: date; whoever publishes renews by rootman repo sign",
    )


def refusal(read: Read, error: Exception) -> RootmanError:
    """Return what any other refusal means."""
    said = printable(error)
    if isinstance(error, exceptions.DownloadHTTPError):
        return _missing(read)
    if isinstance(error, exceptions.BadVersionNumberError):
        return _wrong_version(read, said)
    if isinstance(error, exceptions.UnsignedMetadataError):
        return InvalidInput(
            f"{read.name}: not signed by those whom this store trusts: {said}",
            hint="rootman trust shows whose signatures count",
        )
    if isinstance(error, exceptions.LengthOrHashMismatchError):
        said = "not the one that the metadata above it name"
    elif error.__cause__ is not None:
        said = f"not metadata: {printable(error.__cause__)}"
    return InvalidInput(f"{read.name}: {said}", hint="try again later, or another mirror")


def _missing(read: Read) -> RootmanError:
    if read.role != Timestamp.type:
        return InvalidInput(f"{read.name} is missing", hint="try again later, or another mirror")
    return Refused(
        f"{read.source.location} is not signed, and this store takes only what is",
        hint="whoever publishes signs it by rootman repo sign; --insecure takes it as it is",
    )


def _wrong_version(read: Read, said: str) -> RootmanError:
    if read.role == Root.type:
        return InvalidInput(
            f"{read.name}: not the root that comes next: {said}",
            hint="try again later, or another mirror",
        )
    # What the client says of a snapshot is either of its own version or of one that it names.
    if read.role == Targets.type or said.startswith("Expected snapshot version"):
        return InvalidInput(
            f"{read.name}: of another set than the metadata above it: {said}",
            hint="try again later, or another mirror",
        )
    return Refused(
        f"{read.name}: older than what this store has seen: {said}",
        hint="somebody serves an old copy; try later, or another mirror",
    )


def printable(error: BaseException) -> str:
    """Return what ``error`` says as one short line; it may quote what came over the wire."""
    return _CONTROLS.sub("?", str(error))[:200] or type(error).__name__


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
