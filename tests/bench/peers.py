"""The tools that bring a new tree to a device over HTTP or their own protocol.

Each has an image of what its server has and one of a device with the old tree. What
turns old into new is made in a copy of the first. Out of scope: what is measured.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from rootman.names import CONTROL, CURRENT, StageKind, StageName, TreeNumber
from tests.bench.images import digest_of_sources
from tests.bench.measure import execute
from tests.bench.recipes import REPOSITORY, STORE
from tests.bench.webserver import apache, rsync_daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.bench.images import Images
    from tests.debian_trees import Trees

    Command = tuple[str | Path, ...]

ROOTMAN: Final = "rootman"
CLAMPED: Final = "rootman, times clamped"
"""What OSTree does as well: no file has a time, so a file that is built anew is shared."""

AGAIN: Final = "rootman, clamped, from the spare"
"""The same on a device that was upgraded before, and so has the seed of the next upgrade."""

OSTREE: Final = "ostree delta"
"""Its delta, the one file, got by curl and applied."""

PULL: Final = "ostree pull"
"""That of Debian 12 asks for objects, too, while it applies the delta (issue 2053 of theirs)."""

CASYNC: Final = "casync"
RSYNC: Final = "rsync -z"
_CLAMP: Final = ("--clamp-mtime", "1")
_CORE: Final = ("rootman/**/*.py", "tests/bench/peers.py")
_OWN: Final = ("tests/bench/peers.py",)
_BRANCH: Final = "os"
_APPLY: Final = f"""
curl --fail --silent --output "$2/delta" "$1/delta"
ostree --repo="$2/device" static-delta apply-offline "$2/delta"
ostree --repo="$2/device" checkout -H \
    "$(curl --fail --silent "$1/published/refs/heads/{_BRANCH}")" "$2/2"
"""
_HERE: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Peer:
    """One tool, with the images of a server and of a device.

    ``prepare`` gets a copy of the first and makes what a device will ask for. ``serve``
    yields the port where it can ask, with the commands that ``download`` returns for the
    device's copy; then the new tree is at ``result`` on it. Where the command goes on with
    something else when it is in use and durable, ``is_switched`` says whether it is.
    """

    served: Path
    device: Path
    prepare: Callable[[Path], None]
    serve: Callable[[Path], AbstractContextManager[int]]
    download: Callable[[Path, int], Sequence[Command]]
    result: str
    is_switched: Callable[[Path], bool] | None = None


@dataclass(frozen=True, slots=True)
class Peers:
    """The peers for a pair of trees; ``rootman`` is the command."""

    images: Images
    trees: Trees
    rootman: Path

    def made(self, *names: str) -> dict[str, Peer]:
        """Return the peers of these names, with their images made."""
        makers: dict[str, Callable[[], Peer]] = {
            ROOTMAN: self._rootman,
            CLAMPED: partial(self._rootman, *_CLAMP),
            AGAIN: partial(self._rootman, *_CLAMP, before=2),
            OSTREE: partial(self._ostree, self._apply),
            PULL: partial(self._ostree, self._pull),
            CASYNC: self._casync,
            RSYNC: self._rsync,
        }
        return {name: makers[name]() for name in names}

    def _rootman(self, *options: str, before: int = 1) -> Peer:
        """Publish the first tree as the versions up to ``before``, the second as the next."""
        trees = [*[self.trees.first] * before, self.trees.second]

        def publish(path: Path) -> None:
            for version, tree in enumerate(trees, 1):
                names = (tree, path / REPOSITORY, "--version", str(version))
                execute(self.rootman, "publish", *options, *names)

        kind = "".join(options) + (f"-{before}" if before > 1 else "")
        published = self._made(f"repository{kind}", publish, _CORE)

        def install(path: Path) -> None:
            store = ("--rootfs", path / STORE)
            execute(self.rootman, *store, "init")
            with self.images.mounted(published) as source:
                for version in range(1, before + 1):
                    release = source.path / REPOSITORY / "releases" / f"{version}.json"
                    execute(self.rootman, *store, "upgrade", release)

        def prepare(path: Path) -> None:
            repository = path / REPOSITORY
            shutil.rmtree(repository / "packs", ignore_errors=True)
            versions = (str(before + 1), str(before))
            execute(sys.executable, "-m", "tests.bench.packing", repository, *versions)

        def download(path: Path, port: int) -> Sequence[Command]:
            url = f"http://{_HERE}:{port}/{REPOSITORY}"
            return [(self.rootman, "--rootfs", path / STORE, "upgrade", "--insecure", url)]

        store = self._made(f"store{kind}", install, _CORE)
        switched = partial(_switched, version=before + 1)
        result = f"{STORE}/olpc.{before + 1}"
        return Peer(published, store, prepare, apache, download, result, switched)

    def _ostree(self, download: Callable[[Path, int], Sequence[Command]]) -> Peer:
        """Make the commits with fixed times: the same ones on the server and on the device."""

        def publish(path: Path) -> None:
            repository = f"--repo={path}/published"
            execute("ostree", repository, "init", "--mode=archive")
            for number, tree in enumerate((self.trees.first, self.trees.second), 1):
                _commit(repository, tree, number)

        def install(path: Path) -> None:
            repository = f"--repo={path}/device"
            execute("ostree", repository, "init", "--mode=bare")
            commit = _commit(repository, self.trees.first, 1)
            execute("ostree", repository, "remote", "add", "--no-gpg-verify", "origin", "http://x/")
            execute("ostree", repository, "refs", f"--create=origin:{_BRANCH}", commit)
            execute("ostree", repository, "checkout", "-H", commit, path / "1")

        def prepare(path: Path) -> None:
            published = path / "published"
            repository = f"--repo={published}"
            # With large files in it, too; otherwise it could not be applied alone.
            options = ("--inline", "--min-fallback-size=0")
            execute("ostree", repository, "static-delta", "generate", *options, _BRANCH)
            execute("ostree", repository, "summary", "--update")
            (delta,) = (published / "deltas").rglob("superblock")
            (path / "delta").hardlink_to(delta)

        published = self._made("ostree", publish, _OWN)
        device = self._made("deployed", install, _OWN)
        return Peer(published, device, prepare, apache, download, "2")

    def _apply(self, path: Path, port: int) -> Sequence[Command]:
        return [("sh", "-ec", _APPLY, "sh", f"http://{_HERE}:{port}", path)]

    def _pull(self, path: Path, port: int) -> Sequence[Command]:
        repository, url = f"--repo={path}/device", f"http://{_HERE}:{port}/published"
        only = ("--require-static-deltas", f"--url={url}")
        return [
            ("ostree", repository, "pull", *only, "origin", _BRANCH),
            ("ostree", repository, "checkout", "-H", f"origin:{_BRANCH}", path / "2"),
        ]

    def _casync(self) -> Peer:
        def publish(path: Path) -> None:
            store = f"--store={path}/store.castr"
            execute("casync", "make", store, path / "tree.caidx", self.trees.second)

        def download(path: Path, port: int) -> Sequence[Command]:
            url = f"http://{_HERE}:{port}"
            sources = (f"--store={url}/store.castr", f"--seed={path}/1")
            return [("casync", "extract", *sources, f"{url}/tree.caidx", path / "2")]

        published = self._made("casync", publish, _OWN)
        return Peer(published, self._plain(1), _nothing, apache, download, "2")

    def _rsync(self) -> Peer:
        def download(path: Path, port: int) -> Sequence[Command]:
            url = f"rsync://{_HERE}:{port}/tree/2/"
            old = f"--link-dest={path}/1"
            return [("rsync", "-aHXz", "--numeric-ids", old, url, path / "2")]

        return Peer(self._plain(2), self._plain(1), _nothing, rsync_daemon, download, "2")

    def _plain(self, number: int) -> Path:
        tree = (self.trees.first, self.trees.second)[number - 1]

        def copy(path: Path) -> None:
            execute("cp", "-a", tree, path / str(number))

        return self._made(f"plain-{number}", copy, _OWN)

    def _made(self, name: str, fill: Callable[[Path], None], sources: Sequence[str]) -> Path:
        home = self.trees.first.parent.name
        made_from = digest_of_sources(*sources) + home
        return self.images.made(f"{home}-{name}", fill, made_from=made_from, size_mib=4096)


def _commit(repository: str, tree: Path, number: int) -> str:
    """Commit ``tree`` and return the commit, which is the same wherever that is done."""
    names = (f"--branch={_BRANCH}", f"--tree=dir={tree}", f"--timestamp=@{number}")
    return execute("ostree", repository, "commit", *names).output.strip()


def _switched(path: Path, version: int) -> bool:
    """Whether the store's link leads to the new tree, durably: nothing is deleted before (S3)."""
    store = path / STORE
    stage = StageName(StageKind.BUILDING, TreeNumber(version))
    is_current = os.readlink(store / CURRENT) == f"olpc.{version}"
    return is_current and not (store / CONTROL / "staging" / str(stage)).exists()


def _nothing(path: Path) -> None:
    """Prepare nothing."""
    del path
