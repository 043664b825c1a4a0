"""Reading a repository: what is taken for one, and what is said of what is not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rootman.errors import InvalidInput, NotFound, SystemFailure
from rootman.release import Bundle, Release, serialise, serialise_repository
from rootman.repo import layout
from rootman.repo.repository import Repository

if TYPE_CHECKING:
    from pathlib import Path

HASH = "ab" * 32


def release(version: int, name: str = "olpc") -> bytes:
    bundle = Bundle("base", HASH, 10, 1, 0)
    return serialise(Release(name, version, "2026-11-20T17:00:00Z", (bundle,)))


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Return a repository with releases 2 and 10; reading needs no filesystem of its own."""
    path = tmp_path / "repo"
    for folder in ("releases", "manifests", "objects/ab", "tmp"):
        (path / folder).mkdir(parents=True)
    (path / "repository.json").write_bytes(serialise_repository("olpc"))
    for version in (2, 10):
        (path / f"releases/{version}.json").write_bytes(release(version))
    (path / f"manifests/{HASH}.zst").write_bytes(b"manifest")
    (path / f"objects/ab/{HASH}.zst").write_bytes(b"object")
    return path


def test_a_folder_means_its_newest_release(repo: Path) -> None:
    with Repository.open(str(repo)) as repository:
        assert repository.name == "olpc"
        assert repository.named_version is None
        assert repository.versions() == [2, 10]
        assert repository.newest_version() == 10
        assert repository.chosen_release().version == 10


def test_a_release_file_means_itself(repo: Path) -> None:
    with Repository.open(f"{repo}/releases/2.json") as repository:
        assert repository.named_version == 2
        assert repository.chosen_release().version == 2
        assert repository.newest_version() == 10


def test_a_relative_name_will_do(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo / "releases")

    for location, version in (("..", 10), ("2.json", 2), ("./2.json", 2)):
        with Repository.open(location) as repository:
            assert repository.chosen_release().version == version


def test_manifests_and_objects_are_opened(repo: Path) -> None:
    with Repository.open(str(repo)) as repository:
        with repository.open_manifest(HASH) as manifest:
            assert manifest.read() == b"manifest"
        with repository.source.open(layout.object_path(HASH)) as content:
            assert content.read() == b"object"


def test_only_canonical_names_are_releases(repo: Path) -> None:
    """RL-4."""
    for name in (
        "01.json",
        "0.json",
        "-1.json",
        "+3.json",
        "3.JSON",
        "3.json~",
        "3",
        "x.json",
        "4294967296.json",
        ".5.json",
        "٣.json",
    ):
        (repo / "releases" / name).write_bytes(release(3))

    with Repository.open(str(repo)) as repository:
        assert repository.versions() == [2, 10]


@pytest.mark.parametrize(
    "location", ["nothing", "nothing/releases/7.json", "repo/repository.json/x"]
)
def test_what_is_not_there_is_not_found(repo: Path, location: str) -> None:
    with pytest.raises(NotFound, match="no such file or directory"):
        Repository.open(str(repo.parent / location))


@pytest.mark.parametrize(
    "location",
    [
        "empty",
        "repo/releases",
        "repo/tmp",
        "repo/repository.json",
        "repo/manifests/7.json",
        "repo/releases/latest.json",
        "releases/7.json",
        "a.mtree",
    ],
)
def test_what_is_no_repository_is_refused(repo: Path, location: str) -> None:
    outside = repo.parent
    (outside / "empty").mkdir()
    (outside / "releases").mkdir()
    (outside / "releases/7.json").write_bytes(release(7))
    (outside / "a.mtree").write_text("#mtree\n")
    (repo / "manifests/7.json").write_bytes(release(7))
    (repo / "releases/latest.json").symlink_to("10.json")

    with pytest.raises(InvalidInput, match="neither a repository nor a release in one") as caught:
        Repository.open(str(outside / location))

    assert caught.value.hint is not None


def test_a_release_that_is_missing_is_not_found(repo: Path) -> None:
    with Repository.open(str(repo)) as repository, pytest.raises(NotFound, match="no release 3"):
        repository.read_release(3)


def test_an_empty_repository_says_how_to_fill_it(repo: Path) -> None:
    for file in (repo / "releases").iterdir():
        file.unlink()

    with Repository.open(str(repo)) as repository, pytest.raises(NotFound) as caught:
        repository.chosen_release()

    assert caught.value.hint == f"rootman publish TREE {repo} --version 1"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (release(3), "version: says 3"),
        (release(2, "other"), "name: says other"),
        (release(2)[:-5], "not a release"),
        (b"", "not a release"),
        (b" " * (1 << 20) + release(2), "larger than"),
    ],
)
def test_a_wrong_release_is_refused(repo: Path, data: bytes, message: str) -> None:
    """RL-4, and what a parser refuses."""
    (repo / "releases/2.json").write_bytes(data)

    with Repository.open(str(repo)) as repository, pytest.raises(InvalidInput, match=message):
        repository.read_release(2)


def test_an_unknown_format_of_repository_is_refused(repo: Path) -> None:
    (repo / "repository.json").write_text('{"format": 2, "name": "olpc"}')

    with pytest.raises(InvalidInput, match="newer than this rootman") as caught:
        Repository.open(str(repo))

    assert caught.value.hint == "update rootman first"


def test_missing_content_is_named(repo: Path) -> None:
    other = "cd" * 32
    with Repository.open(str(repo)) as repository:
        with pytest.raises(InvalidInput, match=f"objects/cd/{other}.zst is missing"):
            repository.source.open(layout.object_path(other))
        with pytest.raises(InvalidInput, match=f"manifests/{other}.zst is missing"):
            repository.open_manifest(other)


def test_what_is_no_file_blocks_nobody(repo: Path) -> None:
    path = repo / f"objects/ab/{HASH}.zst"
    path.unlink()
    os.mkfifo(path)
    (repo / "releases/5.json").mkdir()

    with Repository.open(str(repo)) as repository:
        with pytest.raises(InvalidInput, match="is not a file"):
            repository.source.open(layout.object_path(HASH))
        with pytest.raises(InvalidInput, match="is not a file"):
            repository.read_release(5)


def test_a_repository_without_releases_is_a_failure(repo: Path) -> None:
    (repo / "releases").rename(repo / "r")

    with Repository.open(str(repo)) as repository, pytest.raises(SystemFailure, match="releases"):
        repository.versions()


def test_no_descriptor_stays_open(repo: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    with Repository.open(str(repo)) as repository:
        repository.chosen_release()
    (repo / "repository.json").write_text("{}")
    with pytest.raises(InvalidInput):
        Repository.open(str(repo))

    assert count() == before
