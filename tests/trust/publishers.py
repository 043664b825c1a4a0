"""A publisher with keys and a clock, and devices that trust them.

Out of scope: what an attacker makes of a repository (``attacks``).
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rootman.fsops import RealFs
from rootman.initialisation import Request as Initialisation
from rootman.initialisation import initialise
from rootman.repo.due import Request
from rootman.repo.export import export
from rootman.repo.framework import CryptoSigner
from rootman.repo.publish import Publication, publish
from rootman.repo.repository import Repository
from rootman.repo.signing import Outcome, change_keys, open_existing, sign
from rootman.repo.trusted import Vetting
from rootman.session import Session, session
from rootman.upgrade import Options, UpgradeResult, upgrade
from tests.builders import build, file
from tests.stores import PUBLISHED, Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rootman.fsops import Fs

NOW = datetime(2026, 11, 20, 17, 0, 0, tzinfo=UTC)
DAY = 86_400


def key() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


@dataclass(slots=True)
class Publisher:
    """Whoever fills the repository ``home/repo``; ``clock`` is theirs."""

    home: Path
    key: CryptoSigner = field(default_factory=key)
    clock: datetime = NOW
    make_fs: Callable[[], Fs] = RealFs
    repo_name: str = "repo"

    @property
    def repo(self) -> Path:
        return self.home / self.repo_name

    @property
    def metadata(self) -> Path:
        return self.repo / "metadata"

    @property
    def root(self) -> Path:
        return self.metadata / "1.root.json"

    def request(
        self,
        *signers: CryptoSigner,
        role: str | None = None,
        days: int | None = None,
        renew: bool = True,
    ) -> Request:
        keys = {f"key.{index}": one for index, one in enumerate(signers or (self.key,))}
        return Request(keys, role, days, renew=renew, now=self.clock)

    def publish(self, version: int, *signers: CryptoSigner, signed: bool = True) -> None:
        """Publish a tree in which ``version`` is written; sign it with the key, or others."""
        source = self.home / f"source.{version}"
        if not source.exists():
            build(source, {"version": file(str(version))})
        publish(
            str(source),
            str(self.repo),
            Publication(version, timestamp=PUBLISHED),
            fs=self.make_fs(),
            signing=self.request(*signers, renew=False) if signed else None,
        )

    def sign(
        self,
        *signers: CryptoSigner,
        role: str | None = None,
        days: int | None = None,
        fs: Fs | None = None,
    ) -> Outcome:
        with open_existing(fs or self.make_fs(), str(self.repo)) as writer:
            return sign(writer, self.request(*signers, role=role, days=days))

    def change(
        self,
        *roles: str,
        add: tuple[CryptoSigner, ...] = (),
        remove: tuple[CryptoSigner, ...] = (),
        threshold: int | None = None,
    ) -> None:
        with open_existing(self.make_fs(), str(self.repo)) as writer:
            change_keys(
                writer,
                roles,
                Request({}, now=self.clock),
                add=[one.public_key for one in add],
                remove=[one.public_key.keyid for one in remove],
                threshold=threshold,
            )

    def copy(self, name: str) -> Path:
        """Return a copy of the repository as it is now."""
        return shutil.copytree(self.repo, self.home / name)

    def export(self, version: int) -> Path:
        """Return a file with one release and all signatures."""
        path = self.home / f"{version}.rootman"
        export(str(self.repo), version, [None], str(path), fs=self.make_fs())
        return path

    def wait(self, days: int) -> None:
        self.clock += timedelta(days=days)

    def document(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.metadata / name).read_text())
        return found


@dataclass(slots=True)
class Device:
    """A store ``home/store`` that trusts ``root``; ``clock`` is what it takes for the time."""

    home: Path
    root: Path | None
    clock: float = NOW.timestamp()
    mirrors: tuple[str, ...] = ()
    heard: Listener = field(default_factory=Listener)

    def __post_init__(self) -> None:
        self.home.mkdir(exist_ok=True)
        root = None if self.root is None else str(self.root)
        initialise(str(self.store), Initialisation(trust=root), RealFs(), self.heard, forks=1)

    @property
    def store(self) -> Path:
        return self.home / "store"

    @property
    def trust(self) -> Path:
        return self.store / ".rootman/trust"

    def upgrade(
        self,
        location: object,
        *,
        fs: Fs | None = None,
        is_insecure: bool = False,
    ) -> UpgradeResult:
        """Upgrade from the repository or release at ``location``."""
        with self._opened(location, fs, insecure=is_insecure) as (opened, repository):
            return upgrade(opened, repository, Options())

    def versions(self, location: object, *, fs: Fs | None = None) -> list[int]:
        """Return the versions that the repository offers, and remember what was seen."""
        with self._opened(location, fs) as (_, repository):
            return repository.versions()

    @contextmanager
    def _opened(
        self, location: object, fs: Fs | None, *, insecure: bool = False
    ) -> Iterator[tuple[Session, Repository]]:
        with session(str(self.store), fs or RealFs(), self.heard, forks=1) as opened:
            vet = Vetting(
                opened.store,
                self.heard,
                opened.fs,
                is_insecure=insecure,
                clock=lambda: self.clock,
            )
            with Repository.open(str(location), self.mirrors, vet=vet) as repository:
                yield opened, repository

    def trusted(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.trust.iterdir()}

    def version(self, kind: str) -> int:
        """Return the version of the metadata that are trusted."""
        version: int = json.loads((self.trust / f"{kind}.json").read_text())["signed"]["version"]
        return version

    @property
    def floor(self) -> int:
        floor: int = json.loads((self.trust / "trust.json").read_text())["floor"]
        return floor
