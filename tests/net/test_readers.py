"""Readers at work while versions are published, retired and deleted: nobody meets a hole."""

from __future__ import annotations

import mmap
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from rootman.document import SIZE_LIMIT
from rootman.repo import layout
from rootman.repo.index import parse_index
from rootman.repo.prune import prune
from rootman.repo.refresh import refresh
from rootman.repo.repository import Repository, locate
from rootman.repo.trusted import SignedCatalogue
from rootman.report import Silent
from rootman.trust import ROOT_FILE, Trust
from tests.builders import build, file
from tests.fault.faulty import Forked, Hasty
from tests.net.servers import web_server
from tests.trust.publishers import Publisher
from tests.upkeep import files_of, retire_earlier, wrong_in_release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

VERSIONS: Final = 25
DAY: Final = 86_400.0
_STOP: Final = 0  # the byte that tells readers to end; each has one of its own after it


class Rounds:
    """How many times each reader has begun anew, seen by all processes."""

    def __init__(self, readers: int) -> None:
        self._memory = mmap.mmap(-1, 8 * (readers + 1))
        self._readers = readers

    def begin(self, reader: int) -> bool:
        """Begin anew, and say whether that is still wanted."""
        self._set(reader + 1, self._get(reader + 1) + 1)
        return not self._get(_STOP)

    def counts(self) -> list[int]:
        return [self._get(reader + 1) for reader in range(self._readers)]

    def all_pass(self) -> None:
        """Wait until no reader knows a list that was read before now."""
        before = self.counts()
        while any(now <= then for now, then in zip(self.counts(), before, strict=True)):
            time.sleep(0.001)

    def stop(self) -> None:
        self._set(_STOP, 1)

    def _get(self, place: int) -> int:
        return int.from_bytes(self._memory[8 * place : 8 * place + 8], "little")

    def _set(self, place: int, value: int) -> None:
        self._memory[8 * place : 8 * place + 8] = value.to_bytes(8, "little")


def read_listed(location: str) -> list[str]:
    """Read every byte of every version that the repository lists; return what is wrong."""
    with Repository.open(location, insecure=True) as repository:
        return wrong_in_all(repository, repository.versions())


def read_indexed(location: str) -> list[str]:
    with Repository.open(location) as repository:
        data = repository.source.read(layout.INDEX, SIZE_LIMIT)
        return wrong_in_all(repository, parse_index(data, layout.INDEX))


def read_signed(root: bytes, location: str) -> list[str]:
    """Read what is signed, as a device does that was given ``root``."""
    source, _ = locate(location)
    try:
        clock = datetime.now(UTC).timestamp()
        targets = refresh(source, Trust({ROOT_FILE: root}), clock=clock, keep=lambda _: None)
        repository = Repository(source, None, SignedCatalogue(source, targets))
        return wrong_in_all(repository, repository.versions())
    finally:
        source.close()


def wrong_in_all(repository: Repository, versions: Iterable[int]) -> list[str]:
    found = list(versions)
    wrong = [] if found else ["nothing is listed"]
    # The oldest last: it is the first to go.
    for version in sorted(found, reverse=True):
        wrong += wrong_in_release(repository, version)
    return wrong


def reader(rounds: Rounds, number: int, read: Callable[[], list[str]]) -> list[str]:
    """Read in a loop, in a process of its own; return what was wrong first."""
    wrong: list[str] = []
    while rounds.begin(number):
        try:
            wrong = wrong or read()
        except Exception as error:  # noqa: BLE001 - told to the test
            wrong = wrong or [f"{type(error).__name__}: {error}"]
    return wrong


def publish(publisher: Publisher, version: int) -> None:
    names = {f"of {version} alone": "own", "shared by all": "all"}
    names |= {f"of {one} and the next": f"etc/{one}" for one in (version - 1, version)}
    tree = {path: file(text * 200) for text, path in names.items()}
    build(publisher.home / f"source.{version}", tree)
    publisher.publish(version)


def test_readers_at_work(tmp_on_ext4: Path) -> None:
    """RL-14, RL-15: in a folder, by its index, by signatures, and from a web server."""
    publisher = Publisher(tmp_on_ext4, clock=datetime.now(UTC), make_fs=Hasty)
    publish(publisher, 1)
    root = publisher.root.read_bytes()
    with ExitStack() as stack:
        url = stack.enter_context(web_server(publisher.repo)).url
        folder = str(publisher.repo)
        reads = [
            partial(read_listed, folder),
            partial(read_indexed, folder),
            partial(read_signed, root, folder),
            partial(read_listed, url),
            partial(read_signed, root, url),
        ]
        rounds = Rounds(len(reads))
        readers = [
            Forked(partial(reader, rounds, number, read)) for number, read in enumerate(reads)
        ]
        try:
            for version in range(2, VERSIONS):
                publish(publisher, version)
                drop(publisher)
                rounds.all_pass()
                for path in (publisher.repo / layout.RETIRED).glob("*.json"):
                    retire_earlier(publisher.repo, int(path.stem), 2 * DAY)
                drop(publisher)
        finally:
            rounds.stop()
            wrong = [one.surely() for one in readers]

    assert wrong == [[]] * len(reads)
    assert min(rounds.counts()) >= VERSIONS - 2
    # That something went: of 2 versions, an object each, two shared ones and that of all.
    left = [path for path in files_of(publisher.repo) if path.startswith("objects/")]
    assert len(left) == 2 + 3 + 1


def drop(publisher: Publisher) -> None:
    signing = publisher.request(renew=False)
    prune(str(publisher.repo), 2, DAY, fs=Hasty(), reporter=Silent(), signing=signing)
