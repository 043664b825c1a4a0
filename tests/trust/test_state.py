"""What a device remembers of whom it trusts, when it is interrupted and when its clock is wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from rootman.errors import InvalidInput, Refused
from rootman.fsops import RealFs
from rootman.repo.anchor import describe, give_root, read_root
from rootman.session import session
from rootman.store import open_store
from rootman.trust import BEGINNING, read_trust
from tests.fault.faulty import Fault, Forked, Hasty, attempt, interposed
from tests.numbers import number
from tests.trust.publishers import DAY, NOW, Device, Publisher, key

if TYPE_CHECKING:
    from pathlib import Path

    from rootman.fsops import Fs
    from tests.fault.faulty import Call, Mode

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

SIGNED = int(NOW.timestamp())
KINDS = ("root", "timestamp", "snapshot", "targets")


def give(device: Device, root: Path, fs: Fs | None = None) -> bool:
    with session(str(device.store), fs or RealFs(), device.heard, forks=1) as opened:
        return give_root(opened, read_root(str(root)))


def rotate(publisher: Publisher) -> None:
    """Publish root 2, with another key for every role, and all that is below it."""
    old, publisher.key = publisher.key, key()
    publisher.change("root", "targets", "online", add=(publisher.key,), remove=(old,))
    publisher.sign(old, publisher.key, role="root")


# --- what is kept --------------------------------------------------------------------------


def test_what_is_trusted_is_what_was_signed(publisher: Publisher, device: Device) -> None:
    """TU-6."""
    assert set(device.trusted()) == {"root.json", "trust.json"}

    device.upgrade(publisher.repo)

    trusted = device.trusted()
    for kind in KINDS:
        name = f"{kind}.json" if kind == "timestamp" else f"1.{kind}.json"
        assert trusted[f"{kind}.json"] == (publisher.metadata / name).read_bytes()
    given = hashlib.sha256(publisher.root.read_bytes()).hexdigest()
    assert trusted["trust.json"].decode() == (
        f'{{\n  "floor": {SIGNED},\n  "format": 1,\n  "given": "{given}"\n}}\n'
    )
    assert (device.store / ".rootman/staging").exists()
    assert not list((device.store / ".rootman/staging").glob("trust*"))


def test_a_refresh_that_finds_nothing_new_writes_nothing(
    publisher: Publisher, device: Device
) -> None:
    device.versions(publisher.repo)
    calls: list[str] = []

    device.versions(publisher.repo, fs=interposed(RealFs(), lambda call: calls.append(call.op)))

    assert calls == []


def test_the_same_root_again_forgets_nothing(publisher: Publisher, device: Device) -> None:
    """TU-7."""
    device.versions(publisher.repo)
    before = device.trusted()

    assert not give(device, publisher.root)

    assert device.trusted() == before


def test_another_root_begins_anew(publisher: Publisher, device: Device) -> None:
    """TU-7."""
    device.versions(publisher.repo)
    other = Publisher(publisher.home / "other")
    other.home.mkdir()
    other.publish(1)

    assert give(device, other.root)

    assert set(device.trusted()) == {"root.json", "trust.json"}
    assert device.floor == BEGINNING
    with pytest.raises(InvalidInput, match="not signed by those whom"):
        device.versions(publisher.repo)
    assert device.versions(other.repo) == [1]


def test_a_root_is_described(publisher: Publisher, device: Device) -> None:
    device.versions(publisher.repo)
    with open_store(str(device.store)) as store:
        trust = read_trust(store)
    assert trust is not None

    anchor = describe(trust)

    keys = (publisher.key.public_key.keyid,)
    assert [(one.role, one.threshold, one.keys) for one in anchor.roles] == [
        ("root", 1, keys), ("targets", 1, keys), ("online", 1, keys),
    ]  # fmt: skip
    assert [(part.kind, part.version) for part in anchor.parts] == [(kind, 1) for kind in KINDS]
    assert anchor.floor == SIGNED


@pytest.mark.parametrize("name", ["root.json", "trust.json"])
def test_what_is_damaged_on_the_disk_is_named(
    publisher: Publisher, device: Device, name: str
) -> None:
    """TU-6, ST-17."""
    (device.trust / name).write_text("{")

    with pytest.raises(InvalidInput, match=r"root of trust of this store is damaged|trust\.json"):
        device.versions(publisher.repo)


@pytest.mark.parametrize("kind", ["timestamp", "snapshot", "targets"])
def test_what_is_lost_on_the_disk_is_fetched_again(
    publisher: Publisher, device: Device, kind: str
) -> None:
    """TU-6."""
    device.versions(publisher.repo)
    before = device.trusted()
    (device.trust / f"{kind}.json").write_text("{")

    assert device.versions(publisher.repo) == [1]

    assert device.trusted() == before


# --- what is interrupted -------------------------------------------------------------------


def test_a_root_is_durable_before_what_it_verifies(publisher: Publisher, device: Device) -> None:
    """TU-6: with the old root an old timestamp would be as good as any."""
    device.versions(publisher.repo)
    rotate(publisher)
    told: list[tuple[str, str]] = []

    def look(call: Call) -> None:
        told.append((call.op, os.path.basename(call.paths[-1])))

    device.versions(publisher.repo, fs=interposed(RealFs(), look))

    renames = [name for op, name in told if op == "rename"]
    assert renames == ["root.json", "timestamp.json", "snapshot.json", "targets.json"]
    root = told.index(("rename", "root.json"))
    assert told[root - 1 : root + 2] == [
        ("fsync", "trust.new"), ("rename", "root.json"), ("fsync", "trust"),
    ]  # fmt: skip
    assert told[-1] == ("fsync", "trust")
    for at, (op, _) in enumerate(told):
        assert op != "rename" or told[at - 1] == ("fsync", "trust.new")


@pytest.mark.parametrize("mode", ["kill", "EIO", "full"])
def test_an_interrupted_refresh_is_never_lower_and_goes_on(
    publisher: Publisher, device: Device, mode: Mode
) -> None:
    """TU-6: new keys and a new release, with a fault at every call."""
    device.versions(publisher.repo)
    before, begun = device.trusted(), device.home / "begun"
    shutil.copytree(device.trust, begun)
    rotate(publisher)
    publisher.publish(2)
    device.versions(publisher.repo)
    after = device.trusted()
    fired, at = True, 0
    while fired:
        at += 1
        shutil.rmtree(device.trust)
        shutil.copytree(begun, device.trust)
        fault = Fault(mode, at)

        def run(fault: Fault = fault) -> bool:
            fs = interposed(Hasty(), fault)
            attempt(lambda: device.versions(publisher.repo, fs=fs))
            return bool(fault.fired)

        result = Forked(run).result() if mode == "kill" else run()
        fired = result is None or result

        now = device.trusted()
        assert set(now) == set(before)
        assert all(now[name] in (before[name], after[name]) for name in now)
        if any(now[name] != before[name] for name in now):
            assert now["root.json"] == after["root.json"]
        assert device.versions(publisher.repo) == [1, 2]
        assert device.trusted() == after
    assert at > 12


@pytest.mark.parametrize("mode", ["kill", "EIO", "full"])
def test_an_interrupted_giving_is_the_old_root_or_the_new_one(
    publisher: Publisher, device: Device, mode: Mode
) -> None:
    """TU-7."""
    device.versions(publisher.repo)
    before, begun = device.trusted(), device.home / "begun"
    shutil.copytree(device.trust, begun)
    other = Publisher(publisher.home / "other")
    other.home.mkdir()
    other.publish(1)
    fired, at = True, 0
    while fired:
        at += 1
        shutil.rmtree(device.trust)
        shutil.copytree(begun, device.trust)
        fault = Fault(mode, at)

        def run(fault: Fault = fault) -> bool:
            fs = interposed(Hasty(), fault)
            attempt(lambda: give(device, other.root, fs))
            return bool(fault.fired)

        result = Forked(run).result() if mode == "kill" else run()
        fired = result is None or result

        if device.trusted()["root.json"] == before["root.json"]:
            assert device.trusted() == before
        else:
            assert device.versions(other.repo) == [1]
        give(device, other.root)
        assert device.versions(other.repo) == [1]
    assert at > 8


def test_the_first_giving_that_was_interrupted_is_none(publisher: Publisher) -> None:
    """TU-7: the directory alone trusts nobody."""
    device = Device(publisher.home, None)
    (device.store / ".rootman/trust").mkdir()

    assert device.versions(publisher.repo) == [1]
    assert give(device, publisher.root)
    assert device.versions(publisher.repo) == [1]
    assert device.version("timestamp") == 1


# --- clocks --------------------------------------------------------------------------------


def test_a_clock_at_1970_is_told_and_updates_go_on(publisher: Publisher, device: Device) -> None:
    """TU-9."""
    device.clock = 300
    assert device.upgrade(publisher.repo).number == number(1)
    assert device.floor == SIGNED
    publisher.wait(10)
    publisher.publish(2)

    assert device.upgrade(publisher.repo).number == number(2)

    assert device.floor == SIGNED + 10 * DAY
    first, second = device.heard.warnings
    assert "the clock says 1970-01-01 00:05 UTC" in first
    assert "2026-11-01 00:00 UTC, the time of what was signed last (hint: set it: date)" in first
    assert "2026-11-20 17:00 UTC" in second


def test_with_a_clock_at_1970_what_expired_by_the_floor_is_refused(
    publisher: Publisher, device: Device
) -> None:
    """TU-9: the online key is a thief's, who announces what has long expired."""
    publisher.wait(400)
    publisher.sign()
    device.clock = 300
    device.versions(publisher.repo)
    publisher.wait(-390)
    publisher.sign()

    with pytest.raises(Refused, match=r"expired on .*, and metadata signed on 2027-12-25 17:00"):
        device.versions(publisher.repo)


def test_a_publisher_whose_clock_is_ahead_moves_no_floor_beyond_ours(
    publisher: Publisher, device: Device
) -> None:
    """TU-10."""
    publisher.wait(3000)
    publisher.sign()
    assert device.versions(publisher.repo) == [1]
    assert device.floor == SIGNED
    publisher.wait(-3000)

    publisher.sign()

    assert device.versions(publisher.repo) == [1]


def test_a_stick_may_be_old_but_not_older_than_what_was_seen(
    publisher: Publisher, device: Device
) -> None:
    """TU-11."""
    device.versions(publisher.repo)
    old = publisher.copy("old")
    stick = publisher.export(1)
    device.clock += 400 * DAY
    with pytest.raises(Refused, match="expired"):
        device.versions(old)

    assert device.versions(stick) == [1]

    publisher.wait(400)
    publisher.publish(2)
    assert device.versions(publisher.repo) == [1, 2]
    with pytest.raises(Refused, match="older than what this store has seen"):
        device.versions(stick)


def test_a_stick_offers_what_is_on_it(publisher: Publisher, device: Device) -> None:
    """TU-11, OF-3: not all that is signed; and it is upgraded from."""
    publisher.publish(2)
    publisher.publish(3)

    stick = publisher.export(2)

    assert device.versions(stick) == [2]
    assert device.upgrade(stick).number == number(2)


@pytest.mark.parametrize(("days", "what"), [(731, "targets 1"), (1826, "root 1")])
def test_a_stick_whose_list_or_keys_have_expired_is_refused(
    publisher: Publisher, device: Device, days: int, what: str
) -> None:
    """TU-11."""
    device.clock += days * DAY

    with pytest.raises(Refused, match=rf"{what} of .*1.rootman expired on 20"):
        device.versions(publisher.export(1))
