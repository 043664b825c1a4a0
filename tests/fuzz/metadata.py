"""A repository in memory whose metadata are anything."""

from __future__ import annotations

import io
import json
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rootman.errors import InvalidInput, RootmanError
from rootman.repo.anchor import describe
from rootman.repo.framework import (
    CryptoSigner,
    JSONSerializer,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    T,
    TargetFile,
    Targets,
    Timestamp,
)
from rootman.repo.metadata import SIGNED_AT
from rootman.repo.refresh import check_root, refresh
from rootman.repo.source import Alone, Missing
from rootman.repo.trusted import SignedCatalogue
from rootman.trust import ROOT_FILE, Trust

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CLOCK: Final = datetime(2026, 11, 20, 17, tzinfo=UTC)
_UNTIL: Final = _CLOCK + timedelta(days=9)
_SIGNER: Final = CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def _signed(signed: T) -> bytes:
    metadata = Metadata(signed)
    metadata.sign(_SIGNER)
    return metadata.to_bytes(JSONSerializer())


def _root(version: int) -> bytes:
    root = Root(version, expires=_UNTIL, consistent_snapshot=True)
    for part in root.roles:
        root.add_key(_SIGNER.public_key, part)
    return _signed(root)


# Without hashes, so that what is in a file is looked at, whatever it is.
_FIRST: Final = _root(1)
_SOUND: Final = {
    "2.root.json": _root(2),
    "timestamp.json": _signed(
        Timestamp(1, expires=_UNTIL, unrecognized_fields={SIGNED_AT: int(_CLOCK.timestamp())})
    ),
    "1.snapshot.json": _signed(Snapshot(1, expires=_UNTIL, meta={"targets.json": MetaFile(1)})),
    "1.targets.json": _signed(
        Targets(
            1,
            expires=_UNTIL,
            targets={
                name: TargetFile.from_data(name, b"{}", ["sha256"])
                for name in ("repository.json", "releases/7.json")
            },
        )
    ),
}
# The first has all in one; libFuzzer drops a document whose soundness covers nothing new.
SEEDS: Final = [
    json.dumps({name: json.loads(data) for name, data in _SOUND.items()}).encode(),
    *(json.dumps({name: json.loads(data)}).encode() for name, data in _SOUND.items()),
]


class _Files(Alone):
    """A source of metadata."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.location = "repo"
        self._files = files

    @property
    def is_near(self) -> bool:
        return False

    @property
    def is_complete(self) -> bool:
        return True

    def name_of(self, path: str) -> str:
        return f"repo/{path}"

    def versions(self) -> list[int]:
        return []

    def read(self, path: str, limit: int) -> bytes:
        data = self.open(path).read(limit + 1)
        if len(data) > limit:
            raise InvalidInput(f"{path}: larger than {limit} bytes")
        return data

    def open(self, path: str, offset: int = 0) -> BinaryIO:
        name = path.removeprefix("metadata/")
        if name not in self._files:
            raise Missing(f"{path} is missing")
        return io.BytesIO(self._files[name][offset:])

    def close(self) -> None:
        pass


def check_metadata(data: bytes) -> None:
    """TU-4: whoever signed it, what is no metadata is refused, and what is kept can be shown.

    ``data`` has documents by the names of their files, and what it has not is sound; or else
    it is the timestamp. Once signatures are verified, once it is as if all had been made.
    """
    with suppress(InvalidInput):
        check_root(data, "root.json")
    source = _Files({**_SOUND, **_files(data)})
    _refresh(source)
    with _any_signature():
        _refresh(source)


def _files(data: bytes) -> dict[str, bytes]:
    with suppress(ValueError, RecursionError):
        found = json.loads(data)
        if isinstance(found, dict) and found.keys() & _SOUND.keys():
            return {name: json.dumps(one).encode() for name, one in found.items()}
    return {"timestamp.json": data}


def _refresh(source: _Files) -> None:
    kept: list[Trust] = []
    with suppress(RootmanError):
        begun = Trust({ROOT_FILE: _FIRST})
        targets = refresh(source, begun, clock=_CLOCK.timestamp(), keep=kept.append)
        catalogue = SignedCatalogue(source, targets)
        for version in catalogue.versions():
            assert 0 < version < 1 << 31
        with suppress(InvalidInput):
            catalogue.read("releases/7.json", 1 << 20)
    for trust in kept:
        assert trust.floor <= int(_CLOCK.timestamp())
        describe(trust)


@contextmanager
def _any_signature() -> Iterator[None]:
    """Let everything be signed by whoever should have."""
    verify = Root.verify_delegate
    Root.verify_delegate = lambda *_: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Root.verify_delegate = verify  # type: ignore[method-assign]
