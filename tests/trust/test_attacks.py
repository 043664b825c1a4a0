"""Whoever serves a repository can lie in every way that TUF knows, and gets nothing by it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rootman.errors import InvalidInput, NotFound, Refused
from tests.numbers import number
from tests.trust.attacks import ATTACKS, a_release_nobody_signed, another_release
from tests.trust.publishers import DAY, Device
from tests.trust.servers import serve

if TYPE_CHECKING:
    from tests.trust.attacks import Attack
    from tests.trust.publishers import Publisher

pytestmark = [pytest.mark.root, pytest.mark.loopfs]


def older(device: Device, before: dict[str, bytes]) -> list[str]:
    """Return what the device trusts now that is not what it was, nor newer."""
    kinds = ("root", "timestamp", "snapshot", "targets")
    newer = {kind for kind in kinds if device.version(kind) > _version(before[f"{kind}.json"])}
    after = device.trusted()
    changed = {name for name in before if after.get(name) != before[name]}
    return sorted(changed - {f"{kind}.json" for kind in newer} - {"trust.json"})


def _version(data: bytes) -> int:
    found = re.search(rb'"version": ([0-9]+)', data)
    assert found
    return int(found[1])


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_refused_with_its_own_line(
    publisher: Publisher, device: Device, place: str, attack: Attack
) -> None:
    """TU-2, TU-3, TU-4, TU-6: refused, and told; what is trusted never becomes older."""
    publisher.copy("old")
    device.upgrade(publisher.repo)
    publisher.publish(2)
    device.versions(publisher.repo)
    honest = publisher.copy("honest")
    before = device.trusted()
    attack.make(publisher)

    with pytest.raises(attack.error, match=attack.told) as caught:
        device.upgrade(place)

    assert type(caught.value) is attack.error
    assert re.fullmatch(r"[ -~]+", str(caught.value))
    assert caught.value.hint or "larger than" in str(caught.value)
    assert (device.store / "current").readlink().name == "olpc.1"
    assert older(device, before) == []
    if device.version("root") == 1:  # else the publisher had changed keys, before the attack
        shutil.rmtree(publisher.repo)
        honest.rename(publisher.repo)
        for _ in range(3):  # until it is newer than anything the attack was seen with
            publisher.sign(role="targets")
        assert device.upgrade(place).number == number(2)


def test_a_release_that_nobody_signed_does_not_exist(
    publisher: Publisher, device: Device, place: str
) -> None:
    """TU-2."""
    a_release_nobody_signed(publisher)

    assert device.upgrade(place).number == number(1)
    with pytest.raises(NotFound, match="there is no release 3"):
        device.upgrade(f"{place}/releases/3.json")


@pytest.mark.parametrize(
    ("days", "what"),
    [(91, r"timestamp\.json"), (731, r"timestamp\.json"), (5 * 366, "root 1 of ")],
)
def test_what_is_not_renewed_is_refused_and_nothing_is_recorded(
    device: Device, place: str, days: int, what: str
) -> None:
    """TU-8, TU-10: a freeze, or a clock years ahead; the right time later finds all as it was."""
    before = device.trusted()
    device.clock += days * DAY

    with pytest.raises(Refused, match=rf"{what}.* expired on 20.*the clock says 20") as caught:
        device.upgrade(place)

    assert "date" in (caught.value.hint or "")
    assert device.trusted() == before
    device.clock -= days * DAY
    assert device.upgrade(place).number == number(1)


def test_expired_targets_are_named(publisher: Publisher, device: Device, place: str) -> None:
    """TU-8: the list itself was signed for two years, whatever announces it."""
    publisher.wait(3 * 365)
    publisher.sign(role="online")
    device.clock = publisher.clock.timestamp()

    with pytest.raises(Refused, match=r"1\.targets\.json expired on 2028-11-19"):
        device.upgrade(place)


def test_a_store_that_was_given_no_root_takes_folders_with_a_warning(publisher: Publisher) -> None:
    """TU-13."""
    device = Device(publisher.home, None)

    assert device.upgrade(publisher.repo).number == number(1)

    (warning,) = device.heard.warnings
    assert warning.endswith("(hint: rootman trust root.json)")
    assert not device.trust.exists()


def test_a_mirror_that_lies_is_passed_over(publisher: Publisher, device: Device) -> None:
    """TU-3: an old copy, and one whose release was changed, before one that is right."""
    publisher.copy("old")
    publisher.publish(2)
    shutil.copytree(publisher.repo, publisher.home / "bad")
    device.versions(publisher.repo)
    another_release(replace(publisher, repo_name="bad"))
    with serve(publisher.home, publisher.home / "requests") as url:
        device.mirrors = (f"{url}/bad", f"{url}/repo")

        assert device.upgrade(f"{url}/old").number == number(2)


def test_without_a_root_no_server_is_asked(publisher: Publisher) -> None:
    """TU-13."""
    device = Device(publisher.home, None)
    with serve(publisher.home, publisher.home / "requests") as url:
        with pytest.raises(Refused, match="there is no trust by which to know"):
            device.upgrade(f"{url}/repo")
        assert (publisher.home / "requests").read_bytes() == b""
        assert device.upgrade(f"{url}/repo", is_insecure=True).number == number(1)


def test_insecure_takes_what_is_not_signed_and_says_so(
    publisher: Publisher, device: Device, place: str
) -> None:
    """TU-13."""
    a_release_nobody_signed(publisher)
    before = device.trusted()

    assert device.upgrade(place, is_insecure=True).number == number(3)

    assert [line for line in device.heard.warnings if "--insecure" in line]
    assert device.trusted() == before


def test_a_root_that_is_none_is_not_trusted(publisher: Publisher, device: Device) -> None:
    """TU-7: what is given has to be a root that its own keys have signed."""
    for name, told in (
        ("timestamp.json", "is timestamp metadata, not a root"),
        ("../repository.json", "not a root of trust"),
    ):
        with pytest.raises(InvalidInput, match=told):
            Device(publisher.home / "other", publisher.metadata / name)
    forged = publisher.home / "forged.json"
    forged.write_bytes(publisher.root.read_bytes().replace(b'"threshold": 1', b'"threshold": 2'))
    with pytest.raises(InvalidInput, match="not a root of trust: root was signed by 0/2 keys"):
        Device(publisher.home / "other", forged)
    assert not (publisher.home / "other/store").exists()  # looked at before it is made
    assert device.version("root") == 1
