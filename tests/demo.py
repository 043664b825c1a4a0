"""``make demo``: two versions of a real system, from a build to a rollback, as a user types it.

On an ext4 in an image file of its own, because rootman freezes the filesystem that
its store is on. Nothing is left mounted; the image and the log stay, to be looked at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tests.commands import ROOTMAN
from tests.debian_trees import any_trees, usr_trees
from tests.filesystems import run, thaw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.debian_trees import Trees

HOME = Path("/var/tmp/rootman-demo")  # noqa: S108 - said to the user, who is root
IMAGE = HOME / "disk.img"
MOUNT = HOME / "mnt"
LOG = HOME / "log"
SIZE_MIB = 2048
# Files that differ in nothing but the time of the build keep their inode in version 2.
CLAMP = "1700000000"


@dataclass(slots=True)
class Screen:
    """What is shown, and kept in the log."""

    log: TextIO

    def say(self, text: str = "") -> None:
        print(text, flush=True)
        print(text, file=self.log, flush=True)

    def type(self, line: str) -> float:
        """Show a command line as typed, run it, show its output; return the seconds it took."""
        self.say(f"$ {line}")
        began = time.monotonic()
        environment = {
            **os.environ,
            "PATH": f"{ROOTMAN.parent}:{os.environ['PATH']}",
            "ROOTMAN_ROOTFS": str(MOUNT / "rootfs"),
        }
        done = subprocess.run(
            ["sh", "-c", line],
            check=False,
            cwd=MOUNT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        took = time.monotonic() - began
        for text in done.stdout.decode(errors="backslashreplace").splitlines():
            self.say(f"  {text}")
        self.say()
        if done.returncode:
            raise SystemExit(f"the demo stops: exit code {done.returncode}")
        return took


def main() -> None:
    """Run the demo."""
    if os.geteuid() != 0:
        raise SystemExit("the demo mounts an image file, which takes root: sudo make demo")
    began = time.monotonic()
    _tidy()
    HOME.mkdir(mode=0o755, exist_ok=True)
    with LOG.open("w") as log:
        screen = Screen(log)
        screen.say("Making two versions of a system (a minute the first time, kept afterwards) ...")
        trees = usr_trees() if "--usr" in sys.argv else any_trees(screen.say)
        screen.say(f"  {trees.origin}: {trees.first} and {trees.second}")
        screen.say(f"  made or found in {time.monotonic() - began:.0f} s\n")
        with _disk():
            _play(screen, trees)
        _conclude(screen, time.monotonic() - began)


def _play(screen: Screen, trees: Trees) -> None:
    screen.say(f"$ cd {MOUNT}; export ROOTMAN_ROOTFS={MOUNT}/rootfs\n")
    screen.say("Where the system is built: publish both versions.\n")
    for version, tree in enumerate((trees.first, trees.second), 1):
        screen.type(f"rootman publish {tree} repo --version {version} --clamp-mtime {CLAMP}")
    screen.say("On the device: install the first.\n")
    screen.type("rootman init")
    screen.type("rootman upgrade repo/releases/1.json")
    screen.say("Upgrade to the newest; first only to see what that would do.\n")
    screen.type("rootman upgrade repo --dry-run")
    screen.type("rootman upgrade repo")
    screen.type("rootman status")
    screen.type("rootman diff 1 2 | head -n 8")
    screen.type("rootman diff 1 2 | tail -n 1")
    screen.type("rootman verify")
    screen.say("It does not work out? Back, and forth again.\n")
    screen.type("rootman rollback")
    screen.type("rootman upgrade repo")
    screen.type("ls -l rootfs")
    screen.type("du -sm rootfs/olpc.1 rootfs/olpc.2   # the second: what it has for itself, in MiB")


def _conclude(screen: Screen, seconds: float) -> None:
    mounted = "mount -o loop " + str(IMAGE) + " /mnt"
    for line in (
        "What happened: two versions of a system were published; the first was installed, the",
        "second built beside it of links to what did not change, and made current by one rename.",
        "Every byte of it was verified; going back and forth took two more renames.",
        "",
        "Where to look (nothing is mounted now):",
        f"  {mounted}; export ROOTMAN_ROOTFS=/mnt/rootfs",
        "  ls /mnt/rootfs/current/            the trees are plain directories",
        f"  {ROOTMAN} status",
        "  umount /mnt                        when you are done",
        f"All of this is in {LOG}; the disk takes {_taken()} MiB.",
        f"The demo took {seconds:.0f} s.",
    ):
        screen.say(line)


def _taken() -> int:
    return IMAGE.stat().st_blocks * 512 >> 20


@contextmanager
def _disk() -> Iterator[None]:
    """Make a filesystem in the image and have it mounted for a while."""
    MOUNT.mkdir(exist_ok=True)
    IMAGE.touch()
    os.truncate(IMAGE, SIZE_MIB << 20)
    run("mkfs.ext4", "-q", "-F", str(IMAGE))
    run("mount", "-o", "loop", str(IMAGE), str(MOUNT))
    try:
        yield
    finally:
        _unmount()


def _unmount() -> None:
    with suppress(OSError):
        thaw(MOUNT)
    run("umount", str(MOUNT))


def _tidy() -> None:
    """Remove what an earlier demo left."""
    while os.path.ismount(MOUNT):
        _unmount()
    shutil.rmtree(HOME, ignore_errors=True)


if __name__ == "__main__":
    main()
