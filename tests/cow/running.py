"""A system that runs from a tree of a store, in mounts of its own, as an initramfs leaves it.

The tree is at ``/`` there, and the programs of this machine are mounted in it where the tree
has but an empty directory. The first process lives as long as the context, and what is mounted
and what was started by then ends with it. Out of scope: booting (``tests.boot``).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Final

from tests.builders import directory, symlink
from tests.commands import ROOTMAN, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.builders import Tree

# These directories the system has from its tree.
OWN: Final = ("etc", "opt", "srv")
_MADE: Final = ("proc", "rootfs", "run")

_SETTING: Final = """
set -e
# What other tests serve would not end as long as it is seen here.
while read -r _ point kind _; do
    case $kind in fuse*) umount --lazy "$point" || : ;; esac
done </proc/self/mounts
store=$1 tree=$2 root=$3 mode=$4
mount --bind "$store/$tree" "$root"
case $mode in
ro | config) mount -o remount,bind,ro "$root" ;;
overlay)
    layer=$store/.rootman/overlay/${tree#*.}
    mkdir -p "$layer/upper" "$layer/work"
    mount -t overlay overlay "$root" -o \
        "lowerdir=$store/$tree,upperdir=$layer/upper,workdir=$layer/work"
    ;;
guard) "$5" --rootfs "$store" mount "${tree#*.}" "$root" >/dev/null ;;
esac
mount --make-shared "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount --bind "$store" "$root/rootfs"
mkdir -m 700 "$root/run/rootman"
if [ "$mode" = config ]; then
    mode=ro
    mkdir "$root/run/rootman/whole"
    "$5" --rootfs "$store" mount --storage-daemon "${tree#*.}" "$root/run/rootman/whole" >/dev/null
    mount --bind "$root/run/rootman/whole/etc" "$root/etc"
fi
printf '%s\\n' "$tree" 'of the loader' "$mode" >"$root/run/rootman/booted"
shift 5
for name; do
    mount --rbind "/$name" "$root/$name"
done
exec chroot "$root" sh -c 'echo ready; exec cat'
"""


def rooms() -> Tree:
    """Return what a tree must have for the programs of this machine to run from it."""
    found: Tree = {name: directory() for name in (*OWN, *_MADE, *_shown())}
    for entry in os.scandir("/"):
        if entry.is_symlink():
            found[entry.name] = symlink(os.readlink(entry.path))
    return found


def _shown() -> list[str]:
    """Return the directories of this machine that such a system sees."""
    return [
        entry.name
        for entry in os.scandir("/")
        if entry.is_dir(follow_symlinks=False) and entry.name not in (*OWN, *_MADE, "lost+found")
    ]


class System:
    """What runs: ``machine`` gives commands in it."""

    def __init__(self, machine: Machine, init: int) -> None:
        self.init = init
        inside = ("nsenter", f"--target={init}", "--mount", "--pid", "--root", "--wdns=/")
        self.machine = Machine(machine.home, inside)
        self._inside = inside

    def sh(self, script: str) -> str:
        """Run a line of shell in it, which must succeed; return what it says."""
        done = subprocess.run(
            (*self._inside, "sh", "-c", script), check=True, capture_output=True, text=True
        )
        return done.stdout.rstrip("\n")

    def fails(self, script: str) -> str:
        """Run a line of shell in it, which must fail; return what it complains of."""
        done = subprocess.run(
            (*self._inside, "sh", "-c", script), check=False, capture_output=True, text=True
        )
        assert done.returncode != 0, done.stdout
        return done.stderr


@contextlib.contextmanager
def running(machine: Machine, tree: str, mode: str) -> Iterator[System]:
    """Run the tree of this name in a mode, until the context ends: that is the power cut.

    ``config`` is ``ro`` of a release with configuration, which is changed through a guard.
    """
    root = machine.home / "root"
    root.mkdir(exist_ok=True)
    process = subprocess.Popen(
        (
            "unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
            "sh", "-c", _SETTING, "sh", machine.store, tree, root, mode,
            ROOTMAN, *_shown(),
        ),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield System(machine, _child_of(process.pid))
        finally:
            process.kill()


def _child_of(pid: int) -> int:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return int(file.read())
