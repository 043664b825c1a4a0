"""The catalogue of a repository that is signed: it lists and gives only what was signed."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, TypeVar

from rootman.errors import InvalidInput, Refused, RootmanError, SystemFailure, Unreachable
from rootman.execute import explained
from rootman.names import CONTROL
from rootman.repo import layout
from rootman.repo.repository import refuse_remote
from rootman.repo.source import Missing
from rootman.trust import TRUST, advance_trust, read_trust

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rootman.fsops import Fs
    from rootman.repo.framework import TargetFile
    from rootman.repo.source import Catalogue, Source
    from rootman.report import Reporter
    from rootman.store import Store
    from rootman.trust import Trust

_T = TypeVar("_T")


class SignedCatalogue:
    """What ``targets`` list of the files of ``source``."""

    def __init__(self, source: Source, targets: Mapping[str, TargetFile]) -> None:
        self._source = source
        self._targets = targets

    def versions(self) -> list[int]:
        """Return the versions whose releases are signed, in ascending order.

        A file with one release has the signatures of all.
        """
        found = {layout.parse_release_path(path) for path in self._targets} - {None}
        if not self._source.is_complete:
            found &= set(self._source.versions())
        return sorted(version for version in found if version is not None)

    def read(self, path: str, limit: int) -> bytes:
        """Return the whole of the small file ``path``, of a place that has what was signed."""
        target = self._targets.get(path)
        if target is None:
            raise Missing(f"{self._source.name_of(path)} is not among what is signed")
        most = min(limit, target.length)
        return _of_any_copy(self._source, lambda source: _verified(source, path, most, target))


def _verified(source: Source, path: str, most: int, target: TargetFile) -> bytes:
    from rootman.repo.framework import exceptions

    data = source.read(path, most)
    try:
        target.verify_length_and_hashes(io.BytesIO(data))
    except exceptions.LengthOrHashMismatchError as error:
        raise InvalidInput(
            f"{source.name_of(path)}: not the one that was signed",
            hint="somebody changed it; try another mirror",
        ) from error
    return data


def _of_any_copy(source: Source, ask: Callable[[Source], _T]) -> _T:
    """Return the answer of the first copy of ``source`` that is not refused.

    Raises:
        RootmanError: all are; what was wrong with the first is told.
    """
    first: RootmanError | None = None
    for copy in source.copies:
        try:
            return ask(copy)
        except (InvalidInput, Refused, SystemFailure, Unreachable) as error:
            first = first or error
    raise first or AssertionError("a source is its own copy")


class Vetting:
    """Judges a source by what ``store`` trusts, before anything of it is taken.

    What was verified is kept by way of ``fs``; without it the store is left as it is.
    ``is_insecure`` takes every source at its word, whatever the store trusts.
    ``clock`` tells the seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        reporter: Reporter,
        fs: Fs | None = None,
        *,
        is_insecure: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._reporter = reporter
        self._fs = fs
        self._is_insecure = is_insecure
        self._clock = clock
        self._where = f"{store.path}/{CONTROL}/{TRUST}"

    def __call__(self, source: Source) -> Catalogue | None:
        """Return the catalogue of what is signed, None where the source is taken at its word.

        Raises:
            Refused, InvalidInput: it is not to be trusted.
            RootmanError: it cannot be read, or what it told cannot be kept.
        """
        with explained(self._where):
            trust = read_trust(self._store)
        if trust is not None and not self._is_insecure:
            return SignedCatalogue(source, self._refresh(source, trust))
        if not self._is_insecure:
            refuse_remote(source)
        self._reporter.warn(_unverified(source, trust))
        return None

    def _refresh(self, source: Source, trust: Trust) -> Mapping[str, TargetFile]:
        """Return what is signed by the first copy of ``source`` that is not refused."""
        from rootman.repo.refresh import refresh

        clock = self._clock()
        if clock < trust.floor:
            self._reporter.warn(
                f"the clock says {_date(clock)}, which is past; taken for {_date(trust.floor)},"
                " the time of what was signed last (hint: set it: date)"
            )

        def keep(after: Trust) -> None:
            nonlocal trust
            if self._fs is not None:
                advance_trust(self._fs, self._store, trust, after)
            trust = after

        def ask(copy: Source) -> Mapping[str, TargetFile]:
            # A file that was carried here cannot be fresh.
            is_offline = not copy.is_complete
            return refresh(copy, trust, clock=clock, keep=keep, is_offline=is_offline)

        with explained(self._where):
            return _of_any_copy(source, ask)


def _unverified(source: Source, trust: Trust | None) -> str:
    if trust is None and source.is_near:
        return (
            f"{source.location} is taken at its word: this store has no root of trust to verify"
            " it by (hint: rootman trust root.json)"
        )
    return f"{source.location} is taken at its word: --insecure asks for that"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
