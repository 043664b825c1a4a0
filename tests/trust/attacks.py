"""What an attacker makes of the repository in ``repo``; some have keys that they stole.

Each attack gets the publisher after a device saw version 2, and leaves the repository as
the attacker serves it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rootman.errors import InvalidInput, Refused
from rootman.repo.framework import JSONSerializer, Metadata, MetaFile
from tests.trust.publishers import key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rootman.errors import RootmanError
    from rootman.repo.framework import CryptoSigner, Root, Snapshot, Timestamp
    from tests.trust.publishers import Publisher

_ENDLESS: Final = 9 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack, and what whoever upgrades is told."""

    make: Callable[[Publisher], None]
    error: type[RootmanError]
    told: str
    """A regular expression; the line begins with the place, and then this is in it."""

    @property
    def name(self) -> str:
        return self.make.__name__


def forge(path: Path, change: Callable[[Any], None], *signers: CryptoSigner) -> bytes:
    """Change what is signed in the file ``path``, and sign it with ``signers`` alone."""
    metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    change(metadata.signed)
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    data = metadata.to_bytes(JSONSerializer())
    path.write_bytes(data)
    return data


def forge_online(
    publisher: Publisher, targets: int, *, snapshot: int | None = None, signer: CryptoSigner | None
) -> None:
    """Announce ``targets`` by a snapshot that is newer than all, or has the version given."""
    folder, keys = publisher.metadata, [signer] if signer else []
    newest = publisher.document("timestamp.json")["signed"]["version"]
    version = newest + 1 if snapshot is None else snapshot
    made = folder / f"{version}.snapshot.json"
    if not made.exists():
        shutil.copy(folder / f"{newest}.snapshot.json", made)

    def name_targets(signed: Snapshot) -> None:
        signed.version = version
        data = (folder / f"{targets}.targets.json").read_bytes()
        signed.meta["targets.json"] = MetaFile.from_data(targets, data, ["sha256"])

    data = forge(made, name_targets, *keys)

    def name_snapshot(signed: Timestamp) -> None:
        signed.version = newest + 1
        signed.snapshot_meta = MetaFile.from_data(version, data, ["sha256"])

    forge(folder / "timestamp.json", name_snapshot, *keys)


# --- without a key -----------------------------------------------------------------------


def another_release(publisher: Publisher) -> None:
    release = publisher.repo / "releases/2.json"
    release.write_bytes(release.read_bytes().replace(b'"entries": 2', b'"entries": 3'))


def a_release_nobody_signed(publisher: Publisher) -> None:
    publisher.publish(3, signed=False)


def another_repository_json(publisher: Publisher) -> None:
    path = publisher.repo / "repository.json"
    path.write_bytes(path.read_bytes().replace(b"olpc", b"evil"))


def an_old_copy(publisher: Publisher) -> None:
    shutil.rmtree(publisher.metadata)
    shutil.copytree(publisher.home / "old/metadata", publisher.metadata)


def an_old_snapshot(publisher: Publisher) -> None:
    publisher.publish(3)
    shutil.copy(publisher.metadata / "1.snapshot.json", publisher.metadata / "3.snapshot.json")


def old_targets(publisher: Publisher) -> None:
    publisher.publish(3)
    shutil.copy(publisher.metadata / "2.targets.json", publisher.metadata / "3.targets.json")


def an_endless_timestamp(publisher: Publisher) -> None:
    (publisher.metadata / "timestamp.json").write_bytes(b" " * _ENDLESS)


def an_endless_root(publisher: Publisher) -> None:
    (publisher.metadata / "2.root.json").write_bytes(b" " * _ENDLESS)


def endless_targets(publisher: Publisher) -> None:
    publisher.publish(3)
    (publisher.metadata / "3.targets.json").write_bytes(b" " * _ENDLESS)


def an_endless_release(publisher: Publisher) -> None:
    (publisher.repo / "releases/2.json").write_bytes(b" " * _ENDLESS)


def no_metadata(publisher: Publisher) -> None:
    shutil.rmtree(publisher.metadata)


def no_snapshot(publisher: Publisher) -> None:
    publisher.publish(3)
    (publisher.metadata / "3.snapshot.json").unlink()


def a_web_page(publisher: Publisher) -> None:
    (publisher.metadata / "timestamp.json").write_text("<html>Log in, please</html>")


def deep_json(publisher: Publisher) -> None:
    (publisher.metadata / "timestamp.json").write_text("[" * 8000 + "]" * 8000)


def a_signature_of_nothing(publisher: Publisher) -> None:
    path = publisher.metadata / "timestamp.json"
    document = json.loads(path.read_text())
    document["signed"]["version"] += 1
    path.write_text(json.dumps(document))


# --- with a key of their own -------------------------------------------------------------


def their_own_timestamp(publisher: Publisher) -> None:
    forge_online(publisher, 2, signer=key())


def their_own_root(publisher: Publisher) -> None:
    theirs = key()

    def change(signed: Root) -> None:
        signed.version = 2
        for part in signed.roles:
            signed.add_key(theirs.public_key, part)

    shutil.copy(publisher.root, publisher.metadata / "2.root.json")
    forge(publisher.metadata / "2.root.json", change, theirs)


# --- with keys that they stole -----------------------------------------------------------


def a_root_with_a_gap(publisher: Publisher) -> None:
    shutil.copy(publisher.root, publisher.metadata / "2.root.json")
    forge(
        publisher.metadata / "2.root.json",
        lambda signed: setattr(signed, "version", 3),
        publisher.key,
    )


def a_lower_snapshot(publisher: Publisher) -> None:
    forge_online(publisher, 1, snapshot=1, signer=publisher.key)


def lower_targets(publisher: Publisher) -> None:
    """Take release 2 out of what is listed, by a snapshot that is new."""
    forge_online(publisher, 1, signer=publisher.key)


def a_revoked_key(publisher: Publisher) -> None:
    stolen, publisher.key = publisher.key, key()
    publisher.change("root", "targets", "online", add=(publisher.key,), remove=(stolen,))
    publisher.sign(stolen, publisher.key, role="root")
    forge_online(publisher, 3, signer=stolen)


def one_key_of_two(publisher: Publisher) -> None:
    second = key()
    publisher.change("targets", add=(second,), threshold=2)
    publisher.sign(publisher.key, second, role="root")
    shutil.copy(publisher.metadata / "3.targets.json", publisher.metadata / "4.targets.json")
    forge(
        publisher.metadata / "4.targets.json",
        lambda signed: setattr(signed, "version", 4),
        publisher.key,
    )
    forge_online(publisher, 4, signer=publisher.key)


def one_key_twice(publisher: Publisher) -> None:
    one_key_of_two(publisher)
    path = publisher.metadata / "4.targets.json"
    document = json.loads(path.read_text())
    document["signatures"] *= 2
    path.write_text(json.dumps(document))
    forge_online(publisher, 4, signer=publisher.key)


ATTACKS: Final = (
    Attack(another_release, InvalidInput, r"releases/2\.json: not the one that was signed"),
    Attack(another_repository_json, InvalidInput, r"repository\.json: not the one that was signed"),
    Attack(an_old_copy, Refused, r"timestamp\.json: older than what this store has seen"),
    Attack(an_old_snapshot, InvalidInput, r"3\.snapshot\.json: not the one that the metadata"),
    Attack(old_targets, InvalidInput, r"3\.targets\.json: not the one that the metadata above"),
    Attack(an_endless_timestamp, InvalidInput, r"timestamp\.json: larger than 16384 bytes"),
    Attack(an_endless_root, InvalidInput, r"2\.root\.json: larger than 512000 bytes"),
    Attack(endless_targets, InvalidInput, r"3\.targets\.json: larger than [0-9]+ bytes"),
    Attack(an_endless_release, InvalidInput, r"2\.json: larger than [0-9]+ bytes"),
    Attack(no_metadata, Refused, r" is not signed, and this store takes only what is"),
    Attack(no_snapshot, InvalidInput, r"3\.snapshot\.json is missing"),
    Attack(a_web_page, InvalidInput, r"timestamp\.json: not metadata: "),
    Attack(deep_json, InvalidInput, r"timestamp\.json: not metadata: "),
    Attack(a_signature_of_nothing, InvalidInput, r"timestamp\.json: not signed by those whom"),
    Attack(their_own_timestamp, InvalidInput, r"timestamp\.json: not signed by those whom this"),
    Attack(their_own_root, InvalidInput, r"2\.root\.json: not signed by those whom this store"),
    Attack(a_root_with_a_gap, InvalidInput, r"2\.root\.json: not the root that comes next"),
    Attack(a_lower_snapshot, Refused, r"timestamp\.json: older than what this store has seen"),
    Attack(lower_targets, Refused, r"snapshot\.json: older than what this store has seen"),
    Attack(a_revoked_key, InvalidInput, r"timestamp\.json: not signed by those whom this store"),
    Attack(one_key_of_two, InvalidInput, r"4\.targets\.json: not signed by those whom .* 1/2"),
    Attack(one_key_twice, InvalidInput, r"4\.targets\.json: not metadata: "),
)
