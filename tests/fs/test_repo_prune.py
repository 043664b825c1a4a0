"""Dropping versions from a repository: what goes, what stays, and when."""

from __future__ import annotations

import fcntl
import os
import time
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from rootman.errors import Busy, InvalidInput, Refused
from rootman.fsops import RealFs
from rootman.repo import layout
from rootman.repo.index import parse_index
from rootman.repo.packs import make_packs
from rootman.repo.prune import PruneResult, plan_prune, prune, rehearse
from rootman.repo.repository import Repository
from rootman.repo.versions import Versions
from rootman.report import Silent
from tests.builders import Tree, build, file
from tests.stores import Lab
from tests.trust.publishers import Device, Publisher, key
from tests.upkeep import files_of, retire_earlier, wrong_in

if TYPE_CHECKING:
    from pathlib import Path

    from rootman.repo.due import Request
    from tests.commands import Machine

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

DAY = 86_400.0
# Compresses badly alone and well with its like, so that packs win.
NOISE = Random(1).randbytes(8000).hex()


def tree(version: int) -> Tree:
    """Return a tree that shares a file with all, one with the next, and has one of its own."""
    names = {"bin/all": "all", "own": f"of {version} alone"}
    for first in (version - 1, version):
        names[f"etc/{first}"] = f"of {first} and the next"
    return {path: file(text + NOISE) for path, text in names.items()}


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    """Return a repository with versions 1 to 4, and packs from nothing to 1 and to 4."""
    lab = Lab(tmp_on_ext4)
    for version in range(1, 5):
        lab.publish(version, tree(version))
    for version in (1, 4):
        assert all(pack.kept for pack in packs(lab, version))
    return lab


def packs(lab: Lab, version: int, *origins: int) -> list[Any]:
    return list(make_packs(str(lab.repo), version, origins or [None], fs=RealFs()))


def drop(repo: Path, keep: int, grace: float = DAY, signing: Request | None = None) -> PruneResult:
    return prune(str(repo), keep, grace, fs=RealFs(), reporter=Silent(), signing=signing)


def listed(repo: Path) -> list[int]:
    with Repository.open(str(repo)) as repository:
        found = repository.versions()
    assert parse_index((repo / layout.INDEX).read_bytes(), "index") == found
    return found


@pytest.mark.parametrize(
    ("published", "retired", "keep", "grace", "wanted"),
    [
        # kept, retire, expired, waiting
        ((), {}, 2, 1.0, ((), (), (), {})),
        ((3,), {}, 2, 1.0, ((3,), (), (), {})),
        ((1, 2, 3), {}, 2, 5.0, ((2, 3), (1,), (), {1: 105.0})),
        ((1, 2, 3), {}, 1, 0.0, ((3,), (1, 2), (1, 2), {})),
        ((3,), {1: 90.0, 2: 99.0}, 1, 10.0, ((3,), (), (1,), {2: 109.0})),
        ((3, 4), {1: 90.0, 2: 99.0}, 1, 10.0, ((4,), (3,), (1,), {2: 109.0, 3: 110.0})),
        ((3,), {1: 500.0}, 1, 10.0, ((3,), (), (), {1: 510.0})),
    ],
)
def test_the_plan(
    published: tuple[int, ...],
    retired: dict[int, float],
    keep: int,
    grace: float,
    wanted: tuple[object, ...],
) -> None:
    """RL-15, RL-16: also where the clock was set back since."""
    plan = plan_prune(Versions(published, retired, frozenset()), keep, grace, 100.0)

    assert (plan.kept, plan.retire, plan.expired, plan.waiting) == wanted


def test_a_release_that_is_gone_is_finished_whatever_the_grace() -> None:
    """RL-17."""
    plan = plan_prune(Versions((3,), {1: 99.0}, frozenset({1})), 1, 10.0, 100.0)

    assert (plan.expired, plan.waiting) == ((1,), {})


def test_what_is_retired_is_not_listed_and_still_there(lab: Lab) -> None:
    """RL-14, RL-15."""
    before = files_of(lab.repo)

    result = drop(lab.repo, 2)

    assert (result.plan.kept, result.plan.retire, result.plan.expired) == ((3, 4), (1, 2), ())
    assert (result.amounts.files, result.amounts.freed) == (0, 0)
    assert listed(lab.repo) == [3, 4]
    assert before - {layout.INDEX} <= files_of(lab.repo)
    for version in (1, 2, 3, 4):
        assert wrong_in(lab.repo, version) == []


def test_what_only_retired_versions_need_goes_after_the_grace(lab: Lab) -> None:
    """RL-16."""
    first = drop(lab.repo, 2)
    before = files_of(lab.repo)
    retire_earlier(lab.repo, 1, DAY + 60)

    second = drop(lab.repo, 2)
    retire_earlier(lab.repo, 2, DAY + 60)
    gone = before - files_of(lab.repo)
    third = drop(lab.repo, 2)

    assert (second.plan.expired, third.plan.expired) == ((1,), (2,))
    # Of 1: two objects, the manifest and the pack; besides, the release and its marker.
    assert second.amounts.files == 4
    assert len(gone) == 4 + 2
    assert third.amounts.files == 3  # etc/2 is also of 3
    assert second.amounts.freed + third.amounts.freed == first.amounts.pending
    assert listed(lab.repo) == [3, 4]
    for version in (3, 4):
        assert wrong_in(lab.repo, version) == []
    assert {path for path in files_of(lab.repo) if path.startswith(("releases", "retired"))} == {
        "releases/3.json", "releases/4.json", layout.INDEX,
    }  # fmt: skip


def test_what_is_left_is_what_was_ever_published_of_it(lab: Lab, tmp_on_ext4: Path) -> None:
    """RL-16: nothing more and nothing less than a repository of the kept versions has."""
    other = Lab(tmp_on_ext4 / "other")
    other.home.mkdir()
    for version in (3, 4):
        other.publish(version, tree(version))
    packs(other, 4)

    drop(lab.repo, 2, grace=0)

    assert files_of(lab.repo) == files_of(other.repo)
    assert os.listdir(lab.repo / layout.RETIRED) == []


def test_a_pack_stays_as_long_as_where_it_leads(lab: Lab) -> None:
    """RL-16: a device may still have the version that a pack leads from."""
    assert all(pack.kept for pack in packs(lab, 4, 1)), "too small a pack to be a test"
    before = {path for path in files_of(lab.repo) if path.endswith(".pack")}

    drop(lab.repo, 1, grace=0)

    left = {path for path in files_of(lab.repo) if path.endswith(".pack")}
    assert len(before) == 3
    assert len(left) == 2
    with Repository.open(str(lab.repo)) as repository:
        new = repository.read_release(4).base.manifest
    assert {path.split("/")[1] for path in left} == {new}
    assert os.listdir(lab.repo / layout.PACKS) == [new]


def test_what_nothing_ever_needed_goes_too(lab: Lab) -> None:
    """RL-16: what is called like nothing of ours stays."""
    path = lab.repo / "objects/ab" / f"{'ab' * 32}.zst"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"left")
    (lab.repo / "objects/README").write_bytes(b"not ours")
    (lab.repo / "objects/ab/README").write_bytes(b"not ours")

    result = drop(lab.repo, 9)

    assert (result.amounts.files, result.amounts.freed) == (1, 4)
    assert not path.exists()
    assert (lab.repo / "objects/README").exists()
    assert (lab.repo / "objects/ab/README").exists()


def test_a_rehearsal_tells_the_same_and_changes_nothing(lab: Lab) -> None:
    drop(lab.repo, 3)
    retire_earlier(lab.repo, 1, DAY + 60)
    before = {path: path.stat().st_mtime_ns for path in lab.repo.rglob("*")}

    told = rehearse(str(lab.repo), 1, DAY, reporter=Silent())

    assert {path: path.stat().st_mtime_ns for path in lab.repo.rglob("*")} == before
    done = drop(lab.repo, 1)
    assert told.amounts == done.amounts
    assert (told.plan.kept, told.plan.retire, told.plan.expired) == ((4,), (2, 3), (1,))
    assert done.plan.expired == (1,)


def test_a_retired_number_is_not_used_again(lab: Lab) -> None:
    """RL-14."""
    drop(lab.repo, 1)

    with pytest.raises(Refused, match="version 3 was published and is retired") as caught:
        lab.publish(3)

    assert caught.value.hint == "use --version 5"
    lab.publish(5, tree(5))
    assert listed(lab.repo) == [4, 5]


@pytest.mark.parametrize("damage", ["missing", "damaged", "no release"])
def test_nothing_is_deleted_where_what_is_kept_cannot_be_read(lab: Lab, damage: str) -> None:
    """RL-16."""
    with Repository.open(str(lab.repo)) as repository:
        manifest = lab.repo / layout.manifest_path(repository.read_release(4).base.manifest)
    if damage == "missing":
        manifest.unlink()
    elif damage == "damaged":
        manifest.write_bytes(next((lab.repo / "objects").rglob("*.zst")).read_bytes())
    else:
        (lab.repo / "releases/4.json").write_bytes(b"{}")
    before = files_of(lab.repo)

    with pytest.raises(InvalidInput, match=r"^nothing is deleted: ") as caught:
        drop(lab.repo, 1, grace=0)

    assert caught.value.hint == f"rootman repo check {lab.repo}"
    assert files_of(lab.repo) == before
    assert listed(lab.repo) == [1, 2, 3, 4]


def test_one_at_a_time(lab: Lab) -> None:
    with (lab.repo / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="is at work here"):
            rehearse(str(lab.repo), 1, 0, reporter=Silent())
        fcntl.flock(lock, fcntl.LOCK_SH)
        rehearse(str(lab.repo), 1, 0, reporter=Silent())
        with pytest.raises(Busy, match="is at work here"):
            drop(lab.repo, 1)


# --- signed ----------------------------------------------------------------------------------


@pytest.fixture
def publisher(tmp_on_ext4: Path) -> Publisher:
    """Return a publisher with versions 1 to 3, signed."""
    made = Publisher(tmp_on_ext4)
    for version in (1, 2, 3):
        made.publish(version)
    return made


def test_a_signed_repository_needs_its_key(publisher: Publisher) -> None:
    """RL-14."""
    before = files_of(publisher.repo)

    with pytest.raises(Refused, match="has to be signed again without version 1, 2") as caught:
        drop(publisher.repo, 1)

    assert caught.value.hint == "give the key: --sign FILE"
    assert files_of(publisher.repo) == before
    assert listed(publisher.repo) == [1, 2, 3]


def test_another_key_retires_nothing(publisher: Publisher) -> None:
    with pytest.raises(Refused, match="no key of this repository"):
        drop(publisher.repo, 1, signing=publisher.request(key(), renew=False))

    assert not (publisher.repo / layout.RETIRED).exists()
    assert listed(publisher.repo) == [1, 2, 3]


def test_what_is_retired_is_not_signed_any_more(publisher: Publisher) -> None:
    """RL-14: and devices that trust the publisher follow."""
    device = Device(publisher.home, publisher.root)
    assert device.versions(publisher.repo) == [1, 2, 3]

    result = drop(publisher.repo, 1, signing=publisher.request(renew=False))

    assert result.outcome is not None
    assert result.outcome.signed == ("targets 4", "snapshot 4", "timestamp 4")
    assert device.versions(publisher.repo) == [3]
    # Who signs again for another reason does not list it again.
    publisher.publish(4)
    publisher.sign()
    assert device.versions(publisher.repo) == [3, 4]
    retire_earlier(publisher.repo, 1, DAY + 60)
    retire_earlier(publisher.repo, 2, DAY + 60)
    assert drop(publisher.repo, 2).plan.expired == (1, 2)
    assert device.versions(publisher.repo) == [3, 4]


def test_what_was_never_signed_is_not_signed_to_be_retired(publisher: Publisher) -> None:
    """RL-14."""
    device = Device(publisher.home, publisher.root)
    publisher.publish(4, signed=False)
    publisher.publish(5, signed=False)

    drop(publisher.repo, 1, signing=publisher.request(renew=False))

    assert device.versions(publisher.repo) == listed(publisher.repo) == [5]


def test_nothing_is_retired_before_readers_are_told(publisher: Publisher) -> None:
    """RL-14: a team signs in turn, and the last of it says so."""
    device = Device(publisher.home, publisher.root)
    online = key()
    publisher.change("online", add=(online,), remove=(publisher.key,))
    publisher.sign(publisher.key, online, role="root")

    with pytest.raises(Refused, match="version 1, 2 cannot be retired") as caught:
        drop(publisher.repo, 1, signing=publisher.request(renew=False))

    assert "up to online" in str(caught.value)
    assert not (publisher.repo / layout.RETIRED).exists()
    assert device.versions(publisher.repo) == [1, 2, 3]
    publisher.sign(online, role="online")
    assert device.versions(publisher.repo) == [3]
    assert drop(publisher.repo, 1).plan.retire == (1, 2)


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def published(machine: Machine) -> Machine:
    for version in (1, 2, 3):
        machine.publish(version, {"own": file(f"{version}\n" * 1000)})
    return machine


def test_the_command_tells_what_it_does(published: Machine) -> None:
    arguments = ("repo", "prune", published.repo, "--keep", 1)

    rehearsed = published.run(*arguments, "--dry-run").lines
    done = published.run(*arguments).lines
    later = published.run(*arguments).lines
    end = published.run(*arguments, "--grace", 0).lines

    assert rehearsed[0] == "would be retired: 1, 2"
    assert done[0] == "retired: 1, 2"
    assert rehearsed[1].startswith("to be deleted: 1, 2: ")
    assert done[1] == later[0]
    assert len(end) == 1
    assert end[0].startswith("deleted: 1, 2: 4 files, ")
    assert published.run(*arguments).lines == ["nothing to delete"]


def test_the_document_of_the_command(published: Machine) -> None:
    arguments = ("repo", "prune", published.repo, "--keep", 2)
    now = time.time()

    first = published.document(*arguments)
    second = published.document(*arguments, "--grace", 0, "--dry-run")
    third = published.document(*arguments, "--grace", 0)

    assert now + DAY - 5 <= first["waiting"][0].pop("until") <= time.time() + DAY
    assert first.pop("bytes_pending") == second["bytes_freed"] == third["bytes_freed"] > 0
    assert first == {
        "dry_run": False, "kept": [2, 3], "retired": [1], "deleted": [],
        "waiting": [{"version": 1}], "files_deleted": 0, "bytes_freed": 0, "signed": [],
    }  # fmt: skip
    assert (second["deleted"], third["deleted"]) == ([1], [1])
    assert third["files_deleted"] == 2


def test_the_command_signs(machine: Machine) -> None:
    machine.run("repo", "keys", "new", machine.home / "key")
    for version in (1, 2):
        source = build(machine.source(version), {"version": file(str(version))})
        machine.run(
            "publish", source, machine.repo, "--version", version, "--sign", machine.home / "key"
        )

    line = machine.refused("repo", "prune", machine.repo, "--keep", 1, code=4)
    document = machine.document(
        "repo", "prune", machine.repo, "--keep", 1, "--sign", machine.home / "key"
    )

    assert line == (
        f"rootman: repo prune: {machine.repo} is signed, and has to be signed again"
        " without version 1"
        " (hint: give the key: --sign FILE)"
    )
    assert document["signed"] == ["targets 3", "snapshot 3", "timestamp 3"]


def test_where_no_repository_is(machine: Machine) -> None:
    line = machine.refused("repo", "prune", machine.home, "--keep", 1, code=3)

    assert "neither a repository nor a release in one" in line
