"""The choice as U-Boot makes it: the shipped script, run by U-Boot itself on an emulated ARM board.

U-Boot reads the image by its own ext4 driver and writes the boot state with its own disk driver.
"""

from __future__ import annotations

import itertools
import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from rootman.boot.uboot import script_image
from tests.boot.states import lay_out, read_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootman.boot.block import BootState
    from tests.boot.states import Case

DATA: Final = Path(__file__).parents[2] / "rootman" / "boot" / "data"
_FIRMWARE: Final = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"
_COMMAND: Final = (
    "qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a57", "-m", "256", "-nic", "none",
    "-nographic", "-bios", _FIRMWARE,
)  # fmt: skip
_SECTORS_OF_A_BLOCK: Final = 8
_START: Final = 2048  # sectors before the partition
_OVER: Final = "can be loaded"  # what the script ends with; U-Boot would go on to other things

_HEAD: Final = """
setenv rootman_part ${devtype} ${devnum}:${distro_bootpart}
part start ${devtype} ${devnum} ${distro_bootpart} rootman_start
if test -z "${rootman_start}"; then setenv rootman_start 0; fi
"""
_EACH: Final = """
setenv rootman_store /PATH
setenv rootman_sector SECTOR
setenv bootcount COUNT
setenv bootlimit ALLOWED
echo @PATH
run rootman_f_choose
echo ${rootman_which},${rootman_why},${rootman_told}@
"""
# What it says to a command that it has not, and goes on.
_RESET: Final = "Unknown command 'bootcount'"


@dataclass(frozen=True, slots=True)
class UbootChoice:
    """What U-Boot tells the kernel, why it takes that, and the boot state afterwards.

    ``told`` is what it tells of its counter, ``is_reset`` whether that was to begin anew.
    """

    which: str
    reason: str
    after: BootState
    told: str
    is_reset: bool


def _said(disk: Path, *, readonly: bool = False) -> str:
    """Have U-Boot boot from a disk, and return what it says until it is off, or has given up."""
    drive = f"if=none,file={disk},format=raw,id=disk,readonly={'on' if readonly else 'off'}"
    command = (*_COMMAND, "-drive", drive, "-device", "virtio-blk-device,drive=disk")
    said = ""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as board:  # fmt: skip
        assert board.stdout is not None
        for line in board.stdout:
            said += line
            if _OVER in line:
                board.kill()
    return said


def run_uboot(filesystem: Path, place: Path, block: str) -> tuple[str, BootState]:
    """Let U-Boot boot from a copy of an ext4; return what it says, and the boot state then."""
    disk = place / "disk"
    with disk.open("wb") as file:
        _write_table(file, filesystem.stat().st_size)
        file.seek(_START * 512)
        file.write(filesystem.read_bytes())
    said = _said(disk)
    subprocess.run(
        ("debugfs", "-R", f"dump /{block} {place}/block", f"{disk}?offset={_START * 512}"),
        check=True, capture_output=True,
    )  # fmt: skip
    return said, read_block(place / "block")


def _write_table(file: BinaryIO, size: int) -> None:
    """Write a partition table, of one partition of ``size`` bytes, into an empty file."""
    file.truncate(_START * 512 + size)
    file.seek(446)
    entry = (0x80, b"\0\2\0", 0x83, b"\xff" * 3, _START, size // 512)
    file.write(struct.pack("<B3sB3sII", *entry))
    file.seek(510)
    file.write(b"\x55\xaa")


class Image:
    """An ext4 image with the stores of ``cases``, in the directory ``place``.

    With ``lost`` the script is told a wrong sector, as if the block had moved. ``counters`` are the
    variables ``bootcount`` and ``bootlimit``, for one store after another; ``change`` is a mistake
    in the script.
    """

    def __init__(
        self,
        place: Path,
        cases: Sequence[Case],
        *,
        lost: bool = False,
        counters: Sequence[tuple[str, str]] = (("", ""),),
        change: tuple[str, str] = ("", ""),
    ) -> None:
        self._place = place
        self._file = place / "disk.img"
        self._count = len(cases)
        root = place / "root"
        for number, (layout, boot) in enumerate(cases):
            lay_out(root / str(number), layout, boot)
        (root / "boot").mkdir()
        # As large as it will be: it is written again, once it is known where the blocks are.
        (root / "boot/boot.scr").write_bytes(bytes(1 << 20))
        self._make(root)
        sectors = [0x10 if lost else sector for sector in self._sectors()]
        text = _HEAD + (DATA / "uboot.cmd").read_text()
        text = text.replace(*change) if change[0] else text
        for number, (sector, (count, allowed)) in enumerate(
            zip(sectors, itertools.cycle(counters), strict=False)
        ):
            each = _EACH.replace("PATH", str(number)).replace("SECTOR", f"{sector:x}")
            text += each.replace("COUNT", count).replace("ALLOWED", allowed)
        script = script_image(text + "poweroff\n")
        (place / "boot.scr").write_bytes(script)
        self._debugfs(f"rm /boot/boot.scr\nwrite {place}/boot.scr /boot/boot.scr\n")
        assert self._sectors() == sectors or lost

    def _make(self, root: Path) -> None:
        """Make a disk of one partition."""
        size = (16 << 20) + self._count * (128 << 10)
        with self._file.open("wb") as file:
            _write_table(file, size)
        subprocess.run(
            (
                "mkfs.ext4", "-q", "-b", "4096", "-i", "4096", "-d", root,
                "-E", f"offset={_START * 512}", self._file, f"{size >> 10}k",
            ),
            check=True, capture_output=True,
        )  # fmt: skip

    def _debugfs(self, commands: str) -> str:
        return subprocess.run(
            ("debugfs", "-w", "-f", "-", f"{self._file}?offset={_START * 512}"),
            input=commands, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    def _sectors(self) -> list[int]:
        """Return where the boot state of each store lies."""
        paths = (f"/{number}/.rootman/boot/grubenv" for number in range(self._count))
        said = self._debugfs("".join(f"bmap {path} 0\n" for path in paths))
        # It says each command before its answer.
        return [int(line) * _SECTORS_OF_A_BLOCK for line in said.splitlines() if line.isdigit()]

    def choose(self, *, readonly: bool = False) -> list[UbootChoice]:
        """Let U-Boot choose in every store, on a disk that takes what is written, or does not."""
        said = _said(self._file, readonly=readonly)
        found = re.findall(r"@([0-9]+)\n([^@]*\n)?([^,@\n]*),([^,@]*),([^@]*)@", said)
        assert [int(one[0]) for one in found] == list(range(self._count)), said[-3000:]
        return [
            UbootChoice(which, why, after, told, _RESET in meanwhile)
            for (_, meanwhile, which, why, told), after in zip(found, self._blocks(), strict=True)
        ]

    def _blocks(self) -> list[BootState]:
        out = self._place / "blocks"
        out.mkdir()
        self._debugfs(
            "".join(
                f"dump /{number}/.rootman/boot/grubenv {out / str(number)}\n"
                for number in range(self._count)
            )
        )
        return [read_block(out / str(number)) for number in range(self._count)]
