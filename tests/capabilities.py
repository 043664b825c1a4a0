"""What a test may need from the machine, found out by trying it.

A marker of the same name on a test asks for it. Where the machine lacks it the
test is skipped with the reason, but on continuous integration (``CI`` is set)
it fails: there, a test that does not run is a hole that nobody sees.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.filesystems import loop_filesystem, run, scratch_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MIRROR = "http://deb.debian.org/debian/dists/bookworm/Release"


def require(capability: str) -> None:
    """Skip the running test, or fail it on continuous integration, without ``capability``."""
    reason = lack(capability)
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"needs {capability}: {reason}", pytrace=False)
    pytest.skip(f"needs {capability}: {reason}")


@functools.cache
def lack(capability: str) -> str | None:
    """Return why this machine lacks ``capability``, or None when it has it."""
    try:
        PROBES[capability]()
    except subprocess.CalledProcessError as error:
        notes = getattr(error, "__notes__", ())
        return f"{error.cmd[0]} failed: {' '.join(notes) or error.returncode}"
    except (OSError, ImportError) as error:
        return str(error)
    except AssertionError as error:  # of a process of its own; the last line is the reason
        return str(error).strip().rpartition("\n")[2]
    return None


def _root() -> None:
    if os.geteuid() != 0:
        raise PermissionError("not root")


def _loopfs() -> None:
    _root()
    with scratch_directory() as scratch, loop_filesystem(scratch, size_mib=16):
        pass


def _debian() -> None:
    _root()
    _command("mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="rootman-tests-") as directory:
        # The way that mmdebstrap itself goes: apt with the machine's own proxy and certificates.
        run("/usr/lib/apt/apt-helper", "download-file", MIRROR, f"{directory}/Release")


def _fuse() -> None:
    _root()
    import pyfuse3  # noqa: F401 - is it there

    with tempfile.TemporaryDirectory(prefix="rootman-tests-") as directory:
        device = os.open("/dev/fuse", os.O_RDWR)
        try:
            options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
            subprocess.run(
                ("mount", "-i", "-t", "fuse", "-o", options, "rootman-probe", directory),
                check=True,
                capture_output=True,
                pass_fds=(device,),
            )
            run("umount", "--lazy", directory)
        finally:
            os.close(device)


def _qemu() -> None:
    _command(f"qemu-system-{platform.machine()}")


def _atheris() -> None:
    import atheris  # noqa: F401 - is it there


def _crash() -> None:
    _root()
    for name in ("grub-fstest", "mkfs.btrfs", "mkfs.ext4", "mkfs.xfs", "setpriv"):
        _command(name)
    from tests.crash.disk import try_disk

    with scratch_directory() as scratch:
        try_disk(scratch)


def _spin() -> None:
    _command("spin")
    _command("gcc")


def _loaders() -> None:
    for name in ("grub-emu", "busybox", "dash", "mkfs.ext4", "debugfs", "script"):
        _command(name)


def _command(name: str) -> None:
    if shutil.which(name) is None:
        raise FileNotFoundError(f"no command {name}")


PROBES: Mapping[str, Callable[[], None]] = {
    "root": _root,
    "loopfs": _loopfs,
    "debian": _debian,
    "fuse": _fuse,
    "qemu": _qemu,
    "atheris": _atheris,
    "crash": _crash,
    "spin": _spin,
    "loaders": _loaders,
}

MEANINGS: Mapping[str, str] = {
    "root": "needs to be root",
    "loopfs": "needs to make and mount filesystems in image files",
    "debian": "needs mmdebstrap and a Debian mirror",
    "fuse": "needs /dev/fuse and pyfuse3",
    "qemu": "needs the QEMU of this architecture",
    "atheris": "needs atheris, which has wheels for x86-64 alone",
    "crash": "needs qemu-storage-daemon with FUSE, grub-fstest, and three filesystems",
    "spin": "needs spin and gcc",
    "loaders": "needs grub-emu, busybox and dash",
}
