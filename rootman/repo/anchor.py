"""The root of trust of a store: how its owner gives it, and what it says."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.errors import InvalidInput
from rootman.execute import explained
from rootman.names import CONTROL
from rootman.repo.framework import Metadata, Root, Signed, exceptions
from rootman.repo.refresh import check_root
from rootman.repo.roots import PARTS
from rootman.smallfiles import read_given
from rootman.trust import METADATA_FILES, ROOT_FILE, TRUST, Trust, begin_trust, read_trust

if TYPE_CHECKING:
    from datetime import datetime

    from rootman.session import Session

_SIZE_LIMIT: Final = 512_000  # bytes, as for a root that is fetched


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """Whose signatures a role needs: ``threshold`` of ``keys``, which are ids."""

    role: str
    threshold: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of metadata: which version is trusted, and until when it holds."""

    kind: str
    version: int
    expires: datetime


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a root says, and what was verified by it. ``floor`` is in seconds since 1970."""

    roles: tuple[RoleKeys, ...]
    parts: tuple[Part, ...]
    floor: int


def read_root(path: str) -> bytes:
    """Return the content of a root.json to be trusted.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is not root metadata signed by its own keys.
        SystemFailure: it cannot be read.
    """
    data = read_given(path, _SIZE_LIMIT + 1)
    if len(data) > _SIZE_LIMIT:
        raise InvalidInput(f"{path}: larger than {_SIZE_LIMIT} bytes")
    check_root(data, path)
    return data


def give_root(opened: Session, data: bytes) -> bool:
    """Trust the root ``data`` from now on; return False where it was the one given already.

    Giving it again changes nothing, so that what was seen since is not forgotten. Another
    root begins anew (TU-7).

    Raises:
        RootmanError: the store cannot be written.
    """
    given = hashlib.sha256(data).hexdigest()
    with explained(f"{opened.store.path}/{CONTROL}/{TRUST}"):
        before = read_trust(opened.store)
        if before is not None and before.given == given:
            return False
        begin_trust(opened.fs, opened.store, Trust({ROOT_FILE: data}, given))
    return True


def describe(trust: Trust) -> Anchor:
    """Return what ``trust`` comes to.

    Raises:
        InvalidInput: a file of it is damaged.
    """
    root = check_root(trust.files[ROOT_FILE], f"{CONTROL}/{TRUST}/{ROOT_FILE}")
    kinds = [name.removesuffix(".json") for name in METADATA_FILES if name in trust.files]
    signed = [_parse(trust, kind) for kind in kinds]
    parts = tuple(Part(one.type, one.version, one.expires) for one in signed)
    return Anchor(tuple(role_keys(root)), parts, trust.floor)


def role_keys(root: Root) -> list[RoleKeys]:
    """Return whose signatures ``root`` asks for."""
    found = []
    for role, parts in PARTS.items():
        of = root.roles[parts[0]]
        found.append(RoleKeys(role, of.threshold, tuple(of.keyids)))
    return found


def _parse(trust: Trust, kind: str) -> Signed:
    where = f"{CONTROL}/{TRUST}/{kind}.json"
    try:
        metadata: Metadata[Root] = Metadata.from_bytes(trust.files[f"{kind}.json"])
    except exceptions.RepositoryError as error:
        raise InvalidInput(
            f"{where}: damaged", hint="give the root again: rootman trust FILE"
        ) from error
    signed: Signed = metadata.signed
    if signed.type != kind:
        raise InvalidInput(f"{where}: says that it is {signed.type}")
    return signed
