"""The script of the initramfs, in mounts of its own, on a disk with a store."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.boot.shells import DATA, SHELLS

if TYPE_CHECKING:
    from pathlib import Path

_SCRIPT: Final = """
. "$1/choose.sh"
. "$1/initramfs.sh"
rootman_disk=$2
rootman_options "$3"
mkdir -p "$2/run" "$2/root"
mount -t tmpfs tmpfs /run
cp -r "$2/run" "$rootman_run"
if rootman_bring_up "$2/root"; then
    cp "$rootman_run/booted" "$rootman_run/lacks" "$2/run"
    root=$2/root
    eval "$4"
else
    echo "problem: $rootman_problem"
    rootman_help
    exit 1
fi
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What a boot said, and what was looked for afterwards said, line by line."""

    code: int
    lines: list[str]


def bring_up(
    disk: Path,
    shell: str,
    command_line: str,
    probe: str = ":",
    *,
    answers: str = "",
    data: Path = DATA,
) -> Said:
    """Boot with a kernel command line, and run ``probe`` where the root is $root.

    ``disk`` is the mounted filesystem with the store; ``answers`` are typed at the console.
    """
    done = subprocess.run(
        (
            "unshare", "--mount", "--propagation", "private", *SHELLS[shell], "-c",
            _SCRIPT, "driver", data, disk, command_line, probe,
        ),
        input=answers, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return Said(done.returncode, done.stdout.splitlines())


def booted(disk: Path) -> list[str]:
    """Return what the script noted of the tree that it brought up: its name, why, and how."""
    return (disk / "run/booted").read_text().splitlines()
