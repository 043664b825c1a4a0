"""The shim for TUF's conformance suite does what the suite's protocol says, over real HTTP."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.trust.publishers import NOW, Publisher
from tests.trust.servers import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

SHIM = Path(__file__).parents[1] / "tuf_conformance.py"


@dataclass(frozen=True, slots=True)
class Client:
    """The shim as the suite calls it, and the server of the repository."""

    home: Path
    url: str
    requests: Path

    def run(self, *arguments: object) -> int:
        options = ("--metadata-dir", self.home / "metadata")
        done = subprocess.run(
            [sys.executable, SHIM, *options, *map(str, arguments)],
            check=False,
            timeout=60,
        )
        return done.returncode

    def init(self, root: Path) -> int:
        return self.run("init", root)

    def refresh(self) -> int:
        return self.run("--metadata-url", f"{self.url}/metadata", "refresh")

    def download(self, name: str) -> int:
        metadata = ("--metadata-url", f"{self.url}/metadata")
        target = ("--target-name", name, "--target-base-url", self.url)
        return self.run(*metadata, *target, "--target-dir", self.home / "targets", "download")

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.home / "metadata").iterdir()}


@pytest.fixture
def client(tmp_on_ext4: Path) -> Iterator[Client]:
    """Return a client of what is served from ``tmp_on_ext4/repo``."""
    home = tmp_on_ext4 / "client"
    for name in ("metadata", "targets"):
        (home / name).mkdir(parents=True)
    (tmp_on_ext4 / "repo").mkdir()
    log = tmp_on_ext4 / "requests"
    with serve(tmp_on_ext4 / "repo", log) as url:
        yield Client(home, url, log)


def test_init_refresh_and_download(client: Client, tmp_on_ext4: Path) -> None:
    """TU-3: success, the metadata and targets that the suite looks for, no needless request."""
    publisher = Publisher(tmp_on_ext4)
    publisher.publish(1)

    assert client.init(publisher.root) == 0
    assert client.requests.read_bytes() == b""
    assert set(client.files()) == {"root.json"}
    assert client.refresh() == 0
    assert set(client.files()) == {"root.json", "timestamp.json", "snapshot.json", "targets.json"}
    assert client.download("releases/1.json") == 0
    assert client.download("releases/1.json") == 0

    (found,) = (client.home / "targets").iterdir()
    assert found.read_bytes() == (publisher.repo / "releases/1.json").read_bytes()
    assert client.requests.read_bytes().count(b"GET /releases/1.json") == 1
    assert client.download("releases/2.json") == 1


def test_what_is_refused_gives_1_and_is_not_kept(client: Client, tmp_on_ext4: Path) -> None:
    """TU-3, TU-8."""
    publisher = Publisher(tmp_on_ext4)
    publisher.publish(1)
    assert client.init(publisher.root) == 0
    assert client.refresh() == 0
    before = client.files()
    (publisher.repo / "releases/1.json").write_text("another")
    assert client.download("releases/1.json") == 1
    publisher.clock = NOW.replace(year=2020)
    (publisher.repo / "releases/1.json").unlink()
    publisher.sign()

    assert client.refresh() == 1
    assert client.files()["snapshot.json"] == before["snapshot.json"]
    assert client.init(publisher.metadata / "timestamp.json") == 1
