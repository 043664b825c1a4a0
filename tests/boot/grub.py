"""The choice as GRUB makes it: the shipped fragment, run by GRUB itself (grub-emu) on an ext4.

grub-emu is GRUB as a program, with GRUB's own filesystem drivers on a disk image.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.boot.states import lay_out, read_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootman.boot.block import BootState
    from tests.boot.states import Case

DATA: Final = Path(__file__).parents[2] / "rootman" / "boot" / "data"
_ESCAPES: Final = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]|\r|\x1b.|      \[ [^\]]*\]")

_ENVIRONMENT: Final = {"TERM": "dumb", "PATH": os.environ["PATH"]}
# It gets slower with everything that it has done.
_AT_A_TIME: Final = 200

# For each store: the tree, else the version, and why.
_DRIVER: Final = """
set rootman_os=olpc
source /rootman.cfg
for path in {paths}; do
    set rootman_store=($root)/$path
    unset rootman_skip
    if rootman_choose; then
        if [ -n "$rootman_name" ]; then unset rootman_version; fi
        echo "@$path $rootman_name/$rootman_version,$rootman_why@"
    else
        echo "@$path /,@"
    fi
done
exit
"""


@dataclass(frozen=True, slots=True)
class GrubChoice:
    """What GRUB boots, a tree or any of a version, why, and the boot state afterwards."""

    tree: str
    version: str
    reason: str
    after: BootState


def run_grub(disk: Path, place: Path, prefix: str) -> str:
    """Let GRUB run the grub.cfg in ``prefix`` of the image ``disk``; return what it says."""
    (place / "device.map").write_text(f"(hd0) {disk}\n")
    command = f"grub-emu -m {place / 'device.map'} -r hd0 -d {prefix}"
    # On a terminal, for GRUB draws on one.
    said = subprocess.run(
        ("script", "-qec", f"stty cols 250; {command}", "/dev/null"),
        stdin=subprocess.DEVNULL, capture_output=True, check=True, env=_ENVIRONMENT,
    ).stdout  # fmt: skip
    return _ESCAPES.sub(b"", said).decode()


def _path(number: int) -> str:
    """Return where a store is: GRUB reads directories from one end to the other."""
    return f"{number // 1024}/{number // 32 % 32}/{number % 32}"


class Image:
    """An ext4 image with the stores of ``cases``, in the directory ``place``.

    ``fragment`` is the shipped one where no other is given.
    """

    def __init__(self, place: Path, cases: Sequence[Case], fragment: bytes = b"") -> None:
        self._place = place
        self._file = place / "disk.img"
        self._paths = [_path(number) for number in range(len(cases))]
        root = place / "root"
        for path, (layout, boot) in zip(self._paths, cases, strict=True):
            lay_out(root / path, layout, boot)
        (root / "rootman.cfg").write_bytes(fragment or (DATA / "rootman.cfg").read_bytes())
        for start in range(0, len(cases), _AT_A_TIME):
            (root / "grub" / str(start)).mkdir(parents=True)
            paths = " ".join(self._paths[start : start + _AT_A_TIME])
            (root / "grub" / str(start) / "grub.cfg").write_text(_DRIVER.format(paths=paths))
        with self._file.open("wb") as file:
            file.truncate((16 << 20) + len(cases) * (128 << 10))
        subprocess.run(
            ("mkfs.ext4", "-q", "-i", "4096", "-d", root, self._file),
            check=True, capture_output=True,
        )  # fmt: skip

    def choose(self) -> list[GrubChoice]:
        """Let GRUB choose in every store."""
        starts = range(0, len(self._paths), _AT_A_TIME)
        text = "".join(run_grub(self._file, self._place, f"/grub/{start}") for start in starts)
        found = re.findall(r"@([0-9/]+) ([^/@]*)/([^,@]*),([^@]*)@", text)
        assert [one[0] for one in found] == self._paths, text[-2000:]
        return [
            GrubChoice(tree, version, why, after)
            for (_, tree, version, why), after in zip(found, self._blocks(), strict=True)
        ]

    def _blocks(self) -> list[BootState]:
        """Return the boot state of each store now."""
        out = self._place / "blocks"
        out.mkdir()
        commands = "".join(
            f"dump /{path}/.rootman/boot/grubenv {out / str(number)}\n"
            for number, path in enumerate(self._paths)
        )
        subprocess.run(
            ("debugfs", "-f", "-", self._file),
            input=commands.encode(), check=True, capture_output=True,
        )  # fmt: skip
        return [read_block(out / str(number)) for number in range(len(self._paths))]
