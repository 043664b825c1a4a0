"""The root of trust of a repository: whose keys sign what, and how the next root comes to be.

A new root is staged until it has the signatures that the old root and the new one ask
for; several people may sign it in turn. Out of scope: publishing it (``signing``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rootman.errors import InvalidInput, NotFound, Refused
from rootman.repo.framework import Metadata, Root, Snapshot, Targets, Timestamp
from rootman.repo.metadata import Document

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from rootman.repo.framework import CryptoSigner, SSlibKey

ROOT: Final = "root"
TARGETS: Final = "targets"
ONLINE: Final = "online"

# What each role of ours is in TUF.
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    ROOT: (Root.type,),
    TARGETS: (Targets.type,),
    ONLINE: (Snapshot.type, Timestamp.type),
}


def first_root(keys: Iterable[SSlibKey], expires: datetime) -> Document[Root]:
    """Return the first root of whoever begins alone: ``keys`` have every role."""
    root = Root(version=1, expires=expires, consistent_snapshot=True)
    for key in keys:
        for part in root.roles:
            root.add_key(key, part)
    return Document.of(Metadata(root))


def successor(root: Root, expires: datetime) -> Document[Root]:
    """Return the next version of ``root``, with the same keys and no signature yet."""
    following = Root.from_dict(root.to_dict())
    following.version += 1
    following.expires = expires
    return Document.of(Metadata(following))


def changed_root(
    staged: Root,
    role: str,
    *,
    add: Collection[SSlibKey] = (),
    remove: Collection[str] = (),
    threshold: int | None = None,
) -> Document[Root]:
    """Return ``staged`` with other keys for ``role``; what signatures it had are void.

    ``remove`` has ids of keys. ``threshold`` is how many of the keys have to sign, None
    as many as before.

    Raises:
        NotFound: a key to be removed is not one of the role.
        InvalidInput: the role would have fewer keys than have to sign.
    """
    root = Root.from_dict(staged.to_dict())
    for part in PARTS[role]:
        for key in add:
            root.add_key(key, part)
        for keyid in remove:
            if keyid not in root.roles[part].keyids:
                raise NotFound(f"key {keyid}: not one of {role}", hint="rootman repo keys list")
            root.revoke_key(keyid, part)
        wanted = threshold or root.roles[part].threshold
        if wanted > len(root.roles[part].keyids):
            raise InvalidInput(
                f"{role} would have {len(root.roles[part].keyids)} keys, and {wanted} have to sign",
                hint="add keys, or give a lower --threshold",
            )
        root.roles[part].threshold = wanted
    return Document.of(Metadata(root))


def sign_root(
    staged: Document[Root], before: Document[Root] | None, signers: Iterable[CryptoSigner]
) -> Document[Root]:
    """Return ``staged`` with the signatures of those who may sign it, by either root.

    Raises:
        Refused: none of them may.
    """
    roots = [staged.signed, *([before.signed] if before else [])]
    allowed = {key for root in roots for key in root.roles[Root.type].keyids}
    able = [signer for signer in signers if signer.public_key.keyid in allowed]
    if not able:
        raise Refused("none of these keys may sign the root", hint="rootman repo keys list REPO")
    for signer in able:
        staged.metadata.sign(signer, append=True)
    return Document.of(staged.metadata)


def lacking(staged: Document[Root], before: Document[Root] | None) -> tuple[str, ...]:
    """Return what ``staged`` lacks to be published after ``before``; nothing if it is ready."""
    root = staged.signed
    roles = {role: root.roles[parts[0]] for role, parts in PARTS.items()}
    found = [
        f"{role} has {len(keys.keyids)} keys, and {keys.threshold} have to sign"
        for role, keys in roles.items()
        if keys.threshold > len(keys.keyids)
    ]
    signatures, data = staged.metadata.signatures, staged.metadata.signed_bytes
    result = root.get_root_verification_result(before.signed if before else None, data, signatures)
    parts = {"the keys it has": result.second}
    if before is not None:
        parts["the keys of the root before it"] = result.first
    found += [
        f"{len(part.signed)} of {part.threshold} signatures by {whose}"
        for whose, part in parts.items()
        if part.missing
    ]
    return tuple(f"root {root.version}: {what}" for what in found)
