"""An EFI system partition: a FAT on a disk of its own, made and read without the kernel.

The kernel of the machine that runs the tests need not know FAT (mtools does); that of the
machines in QEMU does, and systemd-boot reads it by the driver of the firmware.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.crash.writelog import SECTOR, read_log
from tests.filesystems import run

if TYPE_CHECKING:
    from random import Random

_LOADER: Final = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
_FIRMWARE: Final = Path("/usr/share/OVMF")
_SIZE_MIB: Final = 100


def make_esp(image: Path) -> None:
    """Make a disk that is one FAT, with systemd-boot where a firmware looks for a loader."""
    with image.open("wb") as file:
        file.truncate(_SIZE_MIB << 20)
    run("mkfs.vfat", str(image))
    for folder in ("EFI", "EFI/BOOT", "loader"):
        run("mmd", "-i", str(image), f"::/{folder}")
    run("mcopy", "-i", str(image), str(_LOADER), "::/EFI/BOOT/BOOTX64.EFI")


def as_disk(image: Path) -> tuple[str, ...]:
    """Return the options of QEMU that add a disk."""
    drive = f"driver=file,filename={image},node-name=second,cache.no-flush=on"
    return ("-blockdev", drive, "-device", "virtio-blk-pci,drive=second")


def as_firmware(home: Path) -> tuple[str, ...]:
    """Return the options of QEMU for a UEFI, whose variables are kept in ``home``."""
    variables = home / "variables"
    shutil.copy(_FIRMWARE / "OVMF_VARS_4M.fd", variables)
    code = _FIRMWARE / "OVMF_CODE_4M.fd"
    return (
        "-drive", f"if=pflash,format=raw,readonly=on,file={code}",
        "-drive", f"if=pflash,format=raw,file={variables}",
    )  # fmt: skip


def read_esp(image: Path, target: Path) -> None:
    """Copy what is in the FAT to the directory ``target``, which is made anew.

    A file whose clusters are not all there is without content. What is on its way to a name
    is nothing yet.
    """
    shutil.rmtree(target, ignore_errors=True)
    for folder in ("loader/entries", "rootman"):
        (target / folder).mkdir(parents=True)
        listed = subprocess.run(
            ("mdir", "-b", "-i", image, f"::/{folder}"), check=True, capture_output=True, text=True
        ).stdout
        for path in listed.splitlines():
            name = path.rpartition("/")[2]
            if name.endswith(".new"):
                continue
            copied = subprocess.run(
                ("mcopy", "-n", "-i", image, path, target / folder / name),
                check=False, capture_output=True,
            )  # fmt: skip
            if copied.returncode:
                (target / folder / name).write_bytes(b"")


def count_flushes(log: Path) -> int:
    """Return how often the disk was flushed so far."""
    return sum(write.flushed for write in read_log(log))


def cut_power(before: Path, log: Path, after: Path, random: Random, *, first: int) -> str:
    """Make ``after`` of the FAT ``before`` by a cut at a random moment; say which that was.

    It is not before flush number ``first``. A sector is written or not: a FAT has no larger
    unit, and no journal.
    """
    writes = list(read_log(log))
    flushes = [number for number, write in enumerate(writes) if write.flushed]
    which = random.randrange(first, len(flushes) - 1)
    start, end = flushes[which], flushes[which + 1]
    run("cp", "--sparse=always", str(before), str(after))
    lost = 0
    with after.open("r+b") as disk:
        for number, write in enumerate(writes[:end]):
            for at in range(0, len(write.data), SECTOR):
                if number >= start and random.random() < 0.5:
                    lost += 1
                    continue
                disk.seek(write.start + at)
                disk.write(write.data[at : at + SECTOR])
    return f"after flush {which} of {len(flushes)}, {lost} sectors lost"
