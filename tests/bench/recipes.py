"""What is on the images: repositories, stores, plain trees, OSTree repositories.

In every image the device has version 2 of the tree and is to get version 3.
"""

from __future__ import annotations

import functools
import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.bench.images import digest_of_sources
from tests.bench.measure import execute
from tests.bench.trees import TreeSpec, advance_tree, write_tree
from tests.filesystems import loop_filesystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.images import Images

_TREES: Final = ("tests/bench/trees.py", "tests/bench/recipes.py")
_CORE: Final = (*_TREES, "rootman/**/*.py")
# Tiny files live in their inodes, and a tree of a million of them in a small image.
_INLINE: Final = ("-O", "inline_data")

REPOSITORY: Final = "repository"
STORE: Final = "rootfs"


@dataclass(frozen=True, slots=True)
class Recipes:
    """Makes the images for trees of one kind.

    ``rootman`` is the command. With ``same_store`` a store that other code made will do.
    """

    images: Images
    spec: TreeSpec
    rootman: Path
    same_store: bool = False

    def upgrade(self, filesystem: Path, version: int) -> tuple[str | Path, ...]:
        """Return the command that upgrades the store on ``filesystem`` to ``version``."""
        release = filesystem / REPOSITORY / "releases" / f"{version}.json"
        return (self.rootman, "--rootfs", filesystem / STORE, "upgrade", release)

    def repository(self) -> Path:
        """Return an image with the repository of versions 1, 2 and 3."""
        return self.images.made(
            f"repository-{self.spec.name}",
            self._publish,
            made_from=digest_of_sources(*_TREES) + _sample(self.rootman, self.images.scratch),
            size_mib=self._size_mib(),
            mkfs=_INLINE if self.spec.tiny else (),
        )

    def store(self) -> Path:
        """Return an image with that repository and a store: versions 1 and 2, and a spare."""

        def fill(path: Path) -> None:
            with self.images.mounted(self.repository()) as source:
                execute("cp", "-a", source.path / REPOSITORY, path / REPOSITORY)
            self.install(path)
            execute(*self.upgrade(path, 2))

        return self.images.made(
            f"store-{self.spec.name}",
            fill,
            made_from=digest_of_sources(*_CORE),
            same=self.same_store,
            size_mib=self._size_mib(),
            mkfs=_INLINE if self.spec.tiny else (),
        )

    def install(self, filesystem: Path) -> None:
        """Make a store and install version 1."""
        execute(self.rootman, "--rootfs", filesystem / STORE, "init")
        execute(*self.upgrade(filesystem, 1))

    def trees(self) -> Path:
        """Return an image with ``old`` (version 2), ``new`` (3) and ``changes``, their list."""

        def fill(path: Path) -> None:
            write_tree(str(path / "old"), self.spec, 2)
            write_tree(str(path / "new"), self.spec, 3)
            (path / "changes").write_text("\n".join(self.spec.changed_paths(3)) + "\n")

        return self.images.made(
            f"trees-{self.spec.name}",
            fill,
            made_from=digest_of_sources(*_TREES),
            size_mib=self._size_mib(),
        )

    def ostree(self, mode: str) -> Path:
        """Return an image with a repository of ``mode``, and a device that has version 2.

        The device is a bare repository and ``deploy/2``, checked out from it.
        """

        def fill(path: Path) -> None:
            published, device = path / "published", path / "device"
            execute("ostree", f"--repo={published}", "init", f"--mode={mode}")
            execute("ostree", f"--repo={device}", "init", "--mode=bare")
            with self._scratch() as tree:
                write_tree(str(tree), self.spec, 2)
                self._commit(published, tree, 2)
                advance_tree(str(tree), self.spec, 3)
                self._commit(published, tree, 3)
            execute("ostree", f"--repo={device}", "pull-local", published, "os/2")
            (path / "deploy").mkdir()
            execute("ostree", f"--repo={device}", "checkout", "-H", "os/2", path / "deploy" / "2")

        return self.images.made(
            f"ostree-{mode}-{self.spec.name}",
            fill,
            made_from=digest_of_sources(*_TREES),
            size_mib=self._size_mib(),
        )

    def _commit(self, repository: Path, tree: Path, version: int) -> None:
        names = (f"--branch=os/{version}", f"--tree=dir={tree}")
        execute("ostree", f"--repo={repository}", "commit", *names)

    def _publish(self, path: Path) -> None:
        with self._scratch() as tree:
            for version in (1, 2, 3):
                (write_tree if version == 1 else advance_tree)(str(tree), self.spec, version)
                _publish(self.rootman, tree, path / REPOSITORY, version)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """Yield the name of a tree to be, on a filesystem that goes away with it."""
        with loop_filesystem(self.images.scratch, size_mib=self._size_mib()) as filesystem:
            yield filesystem.path / "tree"

    def _size_mib(self) -> int:
        """Return enough for two trees and an object per file, at mkfs's 16 KiB per inode."""
        return max(1024, self.spec.entries // 16)


def _publish(rootman: Path, tree: Path, repository: Path, version: int) -> None:
    command = (rootman, "publish", tree, repository, "--version", str(version))
    execute(*command, "--no-packs")


@functools.cache
def _sample(rootman: Path, scratch: Path) -> str:
    """Return a hash of what ``rootman`` publishes for a small tree.

    A repository is made again when that changed, and not whenever the code did: to
    publish a million files takes minutes.
    """
    digest = hashlib.sha256()
    with loop_filesystem(scratch, size_mib=64) as filesystem:
        tree, repository = filesystem.path / "tree", filesystem.path / REPOSITORY
        write_tree(str(tree), TreeSpec(entries=100, changed=0), 1)
        _publish(rootman, tree, repository, 1)
        for path in sorted(repository.rglob("*")):
            digest.update(f"{path.relative_to(repository)}\n".encode())
            if path.parent.name == "releases":
                release = json.loads(path.read_text())
                release.pop("timestamp", None)
                digest.update(json.dumps(release).encode())
            elif path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()
