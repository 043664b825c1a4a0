"""The publisher's side: keys, roles, renewal, rotation, and signing that is interrupted."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from rootman.errors import InvalidInput, NotFound, Refused
from rootman.fsops import RealFs
from rootman.repo.keys import make_key, read_public_key, read_signer
from rootman.repo.signing import look_published
from tests.fault.faulty import Fault, Forked, Hasty, attempt, interposed
from tests.numbers import number
from tests.trust.publishers import NOW, Device, Publisher, key

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from rootman.repo.framework import CryptoSigner
    from tests.fault.faulty import Call, Mode

pytestmark = [pytest.mark.root, pytest.mark.loopfs]


def expiry(publisher: Publisher, name: str) -> timedelta:
    text = publisher.document(name)["signed"]["expires"]
    return type(NOW).fromisoformat(text) - NOW


# --- one person ----------------------------------------------------------------------------


def test_the_first_signing_makes_all_there_has_to_be(publisher: Publisher) -> None:
    """TU-1, TU-8, TU-12."""
    names = sorted(path.name for path in publisher.metadata.iterdir())

    assert names == ["1.root.json", "1.snapshot.json", "1.targets.json", "timestamp.json"]
    targets = publisher.document("1.targets.json")["signed"]["targets"]
    assert set(targets) == {"repository.json", "releases/1.json"}
    assert all(set(one["hashes"]) == {"sha256"} for one in targets.values())
    root = publisher.document("1.root.json")["signed"]
    assert root["consistent_snapshot"] is True
    keyid = publisher.key.public_key.keyid
    assert all(one == {"keyids": [keyid], "threshold": 1} for one in root["roles"].values())
    assert {name: expiry(publisher, name).days for name in names} == {
        "1.root.json": 1825, "1.targets.json": 730, "1.snapshot.json": 90, "timestamp.json": 90,
    }  # fmt: skip


def test_a_signed_release_is_there_and_publishing_again_signs_nothing(publisher: Publisher) -> None:
    publisher.publish(2)
    before = sorted(path.name for path in publisher.metadata.iterdir())

    publisher.publish(2)

    assert sorted(path.name for path in publisher.metadata.iterdir()) == before
    assert "releases/2.json" in publisher.document("2.targets.json")["signed"]["targets"]


def test_what_was_published_without_a_key_is_signed_later(
    publisher: Publisher, device: Device
) -> None:
    publisher.publish(2, signed=False)
    assert device.versions(publisher.repo) == [1]

    outcome = publisher.sign()

    assert outcome.signed == ("targets 2", "snapshot 2", "timestamp 2")
    assert device.versions(publisher.repo) == [1, 2]


def test_renewing_signs_what_is_due(publisher: Publisher) -> None:
    """TU-8."""
    publisher.wait(30)
    assert publisher.sign().signed == ("snapshot 2", "timestamp 2")

    publisher.wait(620)  # the list would expire before what announces it
    assert publisher.sign(days=200).signed == ("targets 2", "snapshot 3", "timestamp 3")
    assert publisher.sign(role="root").signed == ("root 2", "snapshot 4", "timestamp 4")
    assert publisher.sign(role="targets").signed == ("targets 3", "snapshot 5", "timestamp 5")
    assert publisher.sign(role="online").signed == ("snapshot 6", "timestamp 6")


def test_a_release_that_was_changed_is_not_signed_again(publisher: Publisher) -> None:
    """TU-12, RL-6."""
    release = publisher.repo / "releases/1.json"
    release.write_bytes(release.read_bytes().replace(b"0.1", b"0.2"))

    with pytest.raises(Refused, match=r"releases/1\.json is not the release that was signed"):
        publisher.sign()

    assert publisher.document("timestamp.json")["signed"]["version"] == 1


def test_a_release_that_was_removed_is_not_offered_any_more(
    publisher: Publisher, device: Device
) -> None:
    publisher.publish(2)
    device.upgrade(publisher.repo)
    (publisher.repo / "releases/1.json").unlink()

    publisher.sign()

    assert device.versions(publisher.repo) == [2]


def test_a_strange_key_is_refused_before_anything_is_published(publisher: Publisher) -> None:
    """TU-12."""
    with pytest.raises(Refused, match=r"key\.0: no key of this repository"):
        publisher.publish(2, key())

    assert not (publisher.repo / "releases/2.json").exists()


# --- a team --------------------------------------------------------------------------------


def test_a_root_is_signed_by_several_in_turn(publisher: Publisher, device: Device) -> None:
    """TU-12: each has a copy of the metadata; the last signature publishes."""
    alice, bob, online = key(), key(), key()
    publisher.change("root", add=(alice, bob), remove=(publisher.key,), threshold=2)
    publisher.change("online", add=(online,), remove=(publisher.key,))

    first = publisher.sign(alice, role="root")
    stick = publisher.home / "stick"
    shutil.copytree(publisher.metadata, stick / "repo/metadata")
    shutil.copy(publisher.repo / "repository.json", stick / "repo")
    second = Publisher(stick).sign(bob, role="root")
    shutil.copy(stick / "repo/metadata/staged.root.json", publisher.metadata)
    third = publisher.sign(publisher.key, role="root")

    assert first.waiting == (
        "root 2: 1 of 2 signatures by the keys it has",
        "root 2: 0 of 1 signatures by the keys of the root before it",
    )
    assert second.waiting == ("root 2: 0 of 1 signatures by the keys of the root before it",)
    # The old key of online signs for readers of the old root, the new one for all to come.
    assert third.signed == ()
    assert third.waiting == ("root 2 is signed; to publish it, the keys of online sign too",)
    assert device.versions(publisher.repo) == [1]
    assert publisher.sign(online, publisher.key).signed == ("root 2", "snapshot 2", "timestamp 2")
    assert device.versions(publisher.repo) == [1]
    assert device.version("root") == 2
    assert not (publisher.metadata / "staged.root.json").exists()
    assert publisher.sign(online).signed == ("snapshot 3", "timestamp 3")


def test_a_team_begins_with_a_root_of_its_own(tmp_on_ext4: Path) -> None:
    """TU-12."""
    publisher, signers = Publisher(tmp_on_ext4), [key() for _ in range(4)]
    alice, bob, lister, online = signers
    publisher.publish(1, signed=False)
    publisher.change("root", add=(alice, bob), threshold=2)
    assert publisher.sign(alice, role="root").waiting == (
        "root 1: targets has 0 keys, and 1 have to sign",
        "root 1: online has 0 keys, and 1 have to sign",
        "root 1: 1 of 2 signatures by the keys it has",
    )
    publisher.change("targets", add=(lister,))
    publisher.change("online", add=(online,))
    publisher.sign(alice, role="root")

    outcome = publisher.sign(bob, lister, online, role="root")

    assert outcome.signed == ("root 1", "targets 1", "snapshot 1", "timestamp 1")
    assert Device(tmp_on_ext4, publisher.root).upgrade(publisher.repo).number == number(1)


def test_roles_have_keys_of_their_own(publisher: Publisher, device: Device) -> None:
    lister, online = key(), key()
    publisher.change("targets", add=(lister,), remove=(publisher.key,))
    publisher.change("online", add=(online,), remove=(publisher.key,))
    publisher.sign(publisher.key, lister, online, role="root")

    publisher.publish(2, lister)
    assert device.versions(publisher.repo) == [1]  # listed, but not announced
    assert publisher.sign(online).signed == ("snapshot 3", "timestamp 3")
    assert device.versions(publisher.repo) == [1, 2]
    publisher.publish(3, signed=False)
    outcome = publisher.sign(online)
    assert outcome.waiting == ("the releases are not signed: their keys are those of targets",)
    with pytest.raises(Refused, match="do not suffice to sign for targets"):
        publisher.sign(online, role="targets")
    with pytest.raises(Refused, match="do not suffice to sign for online"):
        publisher.sign(publisher.key)
    with pytest.raises(Refused, match="none of these keys may sign the root"):
        publisher.sign(online, role="root")


def test_changes_that_leave_too_few_keys_are_refused(publisher: Publisher) -> None:
    with pytest.raises(InvalidInput, match="root would have 1 keys, and 2 have to sign"):
        publisher.change("root", threshold=2)
    with pytest.raises(InvalidInput, match="online would have 0 keys, and 1 have to sign"):
        publisher.change("online", remove=(publisher.key,))
    with pytest.raises(NotFound, match="not one of targets"):
        publisher.change("targets", remove=(key(),))


# --- what readers see meanwhile --------------------------------------------------------------


def rotated(publisher: Publisher) -> CryptoSigner:
    """Prepare a root in which another key has every role; return the old one."""
    old, publisher.key = publisher.key, key()
    publisher.change("root", "targets", "online", add=(publisher.key,), remove=(old,))
    return old


def test_a_reader_at_any_moment_of_a_rotation_sees_a_whole_repository(
    publisher: Publisher, device: Device
) -> None:
    """TU-5: looked at before every call that changes the repository."""
    publisher.publish(2, signed=False)
    old = rotated(publisher)
    seen = []

    def look(_: Call) -> None:
        seen.append((device.versions(publisher.repo), device.version("root")))

    publisher.sign(old, publisher.key, role="root", fs=interposed(RealFs(), look))

    assert len(seen) > 10
    assert seen[0] == ([1], 1)
    assert ([1, 2], 1) in seen
    assert device.versions(publisher.repo) == [1, 2]
    assert device.version("root") == 2
    fresh = Device(publisher.home / "fresh", publisher.metadata / "2.root.json")
    assert fresh.versions(publisher.repo) == [1, 2]


@pytest.mark.parametrize("mode", ["kill", "EIO", "full"])
def test_an_interrupted_signing_is_whole_for_readers_and_the_next_finishes(
    publisher: Publisher, mode: Mode
) -> None:
    """TU-5: a rotation and a new release, with a fault at every call."""
    publisher.publish(2, signed=False)
    old = rotated(publisher)
    begun = publisher.copy("begun")
    fired, at = True, 0
    while fired:
        at += 1
        shutil.rmtree(publisher.repo)
        shutil.copytree(begun, publisher.repo)
        fault = Fault(mode, at)

        def run(fault: Fault = fault) -> bool:
            fs = interposed(Hasty(), fault)
            attempt(lambda: publisher.sign(old, publisher.key, role="root", fs=fs))
            return bool(fault.fired)

        result = Forked(run).result() if mode == "kill" else run()
        fired = result is None or result

        reader = Device(publisher.home / f"reader.{at}", begun / "metadata/1.root.json")
        assert reader.versions(publisher.repo) in ([1], [1, 2])
        if not (publisher.metadata / "2.root.json").exists():
            publisher.sign(old, publisher.key, role="root")
        else:  # the old key has no say any more
            publisher.sign()
        assert reader.versions(publisher.repo) == [1, 2]
        assert reader.version("root") == 2
        shutil.rmtree(reader.home)
    assert at > 15


# --- key files -------------------------------------------------------------------------------


def test_a_key_is_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    """TU-12."""
    path = tmp_path / "k"

    public = make_key(str(path))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert read_signer(str(path)).public_key == public
    assert read_public_key(f"{path}.pub") == read_public_key(str(path)) == public
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(Refused, match="a key is never overwritten"):
            make_key(str(path))
        (tmp_path / "k.pub").unlink(missing_ok=True)
    assert path.read_bytes() == before
    assert not (tmp_path / "k.pub").exists()


@pytest.mark.parametrize("kind", ["ed25519", "EC", "RSA"])
def test_keys_of_openssl_do_too(publisher: Publisher, kind: str) -> None:
    path = publisher.home / "other.pem"
    options = ["-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "EC" else []
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", kind, *options, "-out", path],
        check=True,
        capture_output=True,
    )
    signer = read_signer(str(path))
    publisher.change("targets", add=(signer,))
    publisher.sign(role="root")
    publisher.publish(2, signed=False)

    publisher.sign(signer, publisher.key, role="targets")

    root = publisher.metadata / "2.root.json"
    assert Device(publisher.home, root).versions(publisher.repo) == [1, 2]


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k"
    make_key(str(path))
    secret = tmp_path / "secret"
    options = ("-aes256", "-passout", "pass:x", "-out", secret)
    subprocess.run(["openssl", "pkey", "-in", path, *options], check=True, capture_output=True)
    torn = tmp_path / "torn"
    torn.write_bytes(path.read_bytes()[:60])

    for name, told in (("k.pub", "not a private key"), ("secret", "is encrypted"), ("torn", "key")):
        with pytest.raises(InvalidInput, match=told):
            read_signer(str(tmp_path / name))
    with pytest.raises(NotFound, match="no such key"):
        read_signer(str(tmp_path / "none"))
    (tmp_path / "page").write_text("<html>")
    with pytest.raises(InvalidInput, match="not a public key"):
        read_public_key(str(tmp_path / "page"))


def test_metadata_that_are_damaged_are_named_to_their_publisher(publisher: Publisher) -> None:
    (publisher.metadata / "1.targets.json").write_text("{")

    with pytest.raises(InvalidInput, match=r"metadata/1\.targets\.json: not metadata"):
        publisher.sign()

    (publisher.metadata / "1.targets.json").write_bytes(publisher.root.read_bytes())
    with pytest.raises(InvalidInput, match=r"1\.targets\.json: says that it is root"):
        look_published(str(publisher.repo))
    with pytest.raises(InvalidInput, match="not a repository"):
        look_published(str(publisher.home))


def test_files_of_an_interrupted_signing_are_not_used_again(
    publisher: Publisher, device: Device
) -> None:
    """TU-5: what has a name never changes, though nothing names it."""
    for kind in ("targets", "snapshot"):
        shutil.copy(publisher.metadata / f"1.{kind}.json", publisher.metadata / f"7.{kind}.json")
    publisher.publish(2, signed=False)

    outcome = publisher.sign()

    assert outcome.signed == ("targets 8", "snapshot 8", "timestamp 8")
    assert device.versions(publisher.repo) == [1, 2]
    assert json.loads((publisher.metadata / "7.targets.json").read_text())
