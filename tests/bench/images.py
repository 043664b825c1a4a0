"""Filesystem images that are made once, and the fresh copies that are measured on.

Making a filesystem and filling it takes longer than what is measured on it, so
that is done once and kept in a cache; each measurement gets a copy, mounted anew,
which is as good as a fresh mkfs filled in the same way: nothing was deleted on it,
and nothing of it is in the cache of the kernel. An image is made again when what
it was made from changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench.measure import CHECKOUT
from tests.filesystems import LoopFilesystem, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_CACHE: Final = Path("/var/tmp/rootman-bench")  # noqa: S108 - not /tmp, which may be memory
# Not lazily: the kernel would go on writing while blocks are counted. The journal is
# the default of the smaller images, so that the larger ones have no other.
_MKFS: Final = (
    *("mkfs.ext4", "-q", "-F"),
    *("-E", "lazy_itable_init=0,lazy_journal_init=0", "-J", "size=128"),
)
# Reading must not write: without noatime the first walk over an image from yesterday would.
_MOUNT: Final = "loop,noatime"
_SETTLE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Images:
    """The cache, and the directory for copies and mount points."""

    cache: Path
    scratch: Path

    def made(
        self,
        name: str,
        fill: Callable[[Path], None],
        *,
        made_from: str,
        same: bool = False,
        size_mib: int,
        mkfs: tuple[str, ...] = (),
    ) -> Path:
        """Return the image ``name``, made and filled now if it is not in the cache.

        ``made_from`` stands for everything that the content depends on; images of the
        same name made from something else are removed, or taken with ``same``.
        """
        self.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = hashlib.sha256(f"{made_from} {size_mib} {_MKFS} {mkfs}".encode()).hexdigest()[:12]
        image = self.cache / f"{name}.{key}.ext4"
        if image.exists():
            return image
        for other in self.cache.glob(f"{name}.*.ext4*"):
            if same and other.suffix == ".ext4":
                return other
            other.unlink()
        began = time.monotonic()
        new = image.with_suffix(".ext4.new")
        new.touch()
        os.truncate(new, size_mib << 20)
        run(*_MKFS, *mkfs, str(new))
        with self.mounted(new) as filesystem:
            fill(filesystem.path)
        run("sync", str(new))
        new.rename(image)
        print(f"  made {image} ({time.monotonic() - began:.0f} s)", flush=True)
        return image

    @contextmanager
    def fresh(self, image: Path) -> Iterator[LoopFilesystem]:
        """Mount a copy of ``image`` for the context; everything is on the disk before."""
        copy = Path(tempfile.mkdtemp(prefix="copy-", dir=self.scratch), image.name)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, copy.parent)
            run("cp", "--sparse=auto", "--reflink=auto", str(image), str(copy))
            run("sync", str(copy))
            filesystem = stack.enter_context(self.mounted(copy))
            run("sync", "-f", str(self.scratch))
            time.sleep(_SETTLE)
            yield filesystem

    @contextmanager
    def mounted(self, image: Path) -> Iterator[LoopFilesystem]:
        """Mount ``image`` itself for the context."""
        path = Path(tempfile.mkdtemp(prefix="mnt-", dir=self.scratch))
        run("mount", "-o", _MOUNT, str(image), str(path))
        try:
            device = run("findmnt", "-n", "-o", "SOURCE", "--mountpoint", str(path)).strip()
            yield LoopFilesystem("ext4", path, device, image)
        finally:
            _unmount(path)
        path.rmdir()


def _unmount(path: Path) -> None:
    """Unmount; a process that ends this moment may still have a hand on it."""
    for _ in range(50):
        if not subprocess.run(("umount", str(path)), check=False, capture_output=True).returncode:
            return
        time.sleep(0.1)
    run("umount", str(path))


def digest_of_sources(*patterns: str) -> str:
    """Return one hash of all files of the checkout that ``patterns`` match."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in CHECKOUT.glob(pattern)}):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def forget(cache: Path) -> None:
    """Remove the cache."""
    shutil.rmtree(cache, ignore_errors=True)
