"""Fresh loop-mounted filesystems, for the tests and for the bench.

Rootman freezes the filesystem that its store is on, so a store under test must
never be on the machine's own. Images are sparse files in a directory of their
own on ``/var/tmp``; what a killed run left mounted is removed by the next one.

Out of scope: what is done on the filesystem, and which tests may have one (see
``capabilities``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["ext4", "xfs", "btrfs"]

_SCRATCH = Path("/var/tmp")  # noqa: S108 - not /tmp, which may be memory
_PREFIX = "rootman-tests-"
_FITHAW = 0xC0045878
_PLENTY = 6 << 20  # KiB
_MKFS: dict[Kind, tuple[str, ...]] = {
    # Not lazily: the kernel would go on writing inode tables while blocks are counted.
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}


@dataclass(frozen=True, slots=True)
class LoopFilesystem:
    """A filesystem that nobody else uses."""

    kind: Kind
    path: Path
    """The mount point."""
    device: str
    """The loop device, ``/dev/loopN``; its statistics are in /sys/class/block/loopN/stat."""
    image: Path
    """The sparse file behind the device."""


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """Make a directory for images and mount points, and remove it with all mounts in it."""
    _remove_what_killed_runs_left()
    path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_SCRATCH))
    path.chmod(0o755)  # tests of the guard come through here as other users
    try:
        yield path
    finally:
        remove(path)


def image_directory(scratch: Path) -> Path:
    """Make a directory in ``scratch`` for images, in memory if there is plenty of it.

    What is synced to an image in memory waits for no disk, and is a filesystem all the same.

    Raises:
        subprocess.CalledProcessError: the machine cannot mount it.

    """
    path = scratch / "images"
    path.mkdir()
    if _available_memory() >= _PLENTY:
        run("mount", "-t", "tmpfs", "-o", "mode=755", "images", str(path))
    return path


def _available_memory() -> int:
    """Return how many KiB programs can have yet."""
    found = re.search(r"\nMemAvailable: *([0-9]+) kB\n", Path("/proc/meminfo").read_text())
    return int(found[1]) if found else 0


@contextlib.contextmanager
def loop_filesystem(
    scratch: Path,
    kind: Kind = "ext4",
    *,
    size_mib: int = 512,
    inodes: int | None = None,
    options: str = "",
) -> Iterator[LoopFilesystem]:
    """Make a filesystem in ``scratch`` and mount it until the end of the block.

    ``inodes`` limits their number (ext4 only); ``options`` are those of mount.

    Raises:
        subprocess.CalledProcessError: the machine cannot make or mount it.
        ValueError: ``inodes`` was given for a filesystem that makes them as it goes.

    """
    if inodes is not None and kind != "ext4":
        message = f"{kind} has no fixed number of inodes"
        raise ValueError(message)
    home = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=scratch))
    home.chmod(0o755)
    image, path = home / "image", home / "mnt"
    path.mkdir()
    image.touch()
    os.truncate(image, size_mib << 20)
    try:
        run(*_MKFS[kind], *(() if inodes is None else ("-N", str(inodes))), str(image))
        # The kernel gives the loop device back by itself when mount made it.
        run("mount", "-o", ",".join(filter(None, ("loop", options))), str(image), str(path))
        device = run("findmnt", "-n", "-o", "SOURCE", "--mountpoint", str(path)).strip()
        yield LoopFilesystem(kind, path, device, image)
    finally:
        remove(home)


def thaw(path: Path | str) -> bool:
    """Thaw the filesystem mounted at ``path``; return whether it was frozen."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, _FITHAW, 0)
    except OSError:
        return False  # EINVAL: it was not
    finally:
        os.close(descriptor)
    return True


def run(*command: str) -> str:
    """Run ``command`` and return what it printed.

    Raises:
        subprocess.CalledProcessError: it failed; the note says what it complained about.

    """
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr.strip())
        raise


def _remove_what_killed_runs_left() -> None:
    for path in _SCRATCH.glob(f"{_PREFIX}*"):
        owner = re.match(rf"{_PREFIX}([0-9]+)-", path.name)
        if owner is not None and not Path("/proc", owner[1]).exists():
            remove(path)


def remove(directory: Path) -> None:
    """Remove ``directory``, and first all mounts in it: what is mounted there stays whole."""
    for mountpoint in _mounts_below(directory):
        # A run that was killed at the wrong moment left it frozen, and a frozen
        # filesystem blocks whoever unmounts it.
        with contextlib.suppress(OSError):
            thaw(mountpoint)
        subprocess.run(("umount", "--lazy", mountpoint), check=False, capture_output=True)
    if _mounts_below(directory):
        return  # deleting now would delete what is mounted there
    shutil.rmtree(directory, ignore_errors=True)


def _mounts_below(directory: Path) -> list[str]:
    """Return the mount points below ``directory``, the innermost and latest first."""
    fields = (line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines())
    found = (re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), f[4]) for f in fields)
    return [path for path in found if path.startswith(f"{directory}/")][::-1]
