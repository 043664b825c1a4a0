"""Loop devices and mounts that end with the process that made them, however it ends.

In scope: a mount namespace of the process's own, a device that is given back by itself,
mounting and unmounting without a process for each. Out of scope: what is on the device.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import os
import struct
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_CLONE_NEWNS: Final = 0x00020000
_MS_REC_PRIVATE: Final = 0x4000 | (1 << 18)
_MNT_DETACH: Final = 2
_BLKFLSBUF: Final = 0x1261
# linux/loop.h; of struct loop_config the size and where the flags are.
_LOOP_CONFIGURE: Final = 0x4C0A
_LOOP_CTL_GET_FREE: Final = 0x4C82
_LO_FLAGS_AUTOCLEAR: Final = 4
_CONFIG_SIZE: Final = 304
_CONFIG_FLAGS: Final = 60
_PATIENCE: Final = 2.0  # seconds until a busy filesystem is a finding

_libc: Final = ctypes.CDLL(None, use_errno=True)


def enter_namespace(scratch: Path, *, size: str) -> None:
    """Give this process mounts that nobody else sees, for good, and memory at ``scratch``."""
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None))
    _let_go_of_what_is_served()
    _check(_libc.mount(b"none", os.fsencode(scratch), b"tmpfs", 0, f"size={size}".encode()))


def _let_go_of_what_is_served() -> None:
    """Unmount what processes of other tests serve: as long as it is seen here, they do not end."""
    with open("/proc/self/mountinfo", "rb") as mounts:
        lines = [line.split(b" - ") for line in mounts]
    for here, what in reversed(lines):
        if what.startswith(b"fuse"):
            _libc.umount2(here.split()[4], _MNT_DETACH)  # or it went meanwhile


class LoopDevice:
    """A loop device on ``image``; it goes when it is closed or this process ends."""

    def __init__(self, image: Path) -> None:
        backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        try:
            self.path, self.fd = _attach(backing)
        finally:
            os.close(backing)

    def forget(self) -> None:
        """Drop what the kernel keeps of it in memory: the image was changed below."""
        fcntl.ioctl(self.fd, _BLKFLSBUF, 0)

    def close(self) -> None:
        """Give it back."""
        os.close(self.fd)


def _attach(backing: int) -> tuple[str, int]:
    """Return a new device on the open file, and a descriptor: when the last goes, so does it.

    By descriptor, because the file may be one that this process's own mounts hide.
    """
    config = bytearray(_CONFIG_SIZE)
    struct.pack_into("=I", config, 0, backing)
    struct.pack_into("=I", config, _CONFIG_FLAGS, _LO_FLAGS_AUTOCLEAR)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        while True:
            path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, _LOOP_CONFIGURE, config)
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:  # another was faster
                    raise
            else:
                return path, fd
    finally:
        os.close(control)


def mount(device: str, target: Path, kind: str, options: str = "") -> None:
    """mount(2).

    Raises:
        OSError: the filesystem cannot be mounted.
    """
    found = _libc.mount(
        device.encode(), os.fsencode(target), kind.encode(), 0, options.encode() or None
    )
    _check(found)


def unmount(target: Path) -> None:
    """umount(2); what still holds the filesystem open is a finding.

    Raises:
        OSError: EBUSY, after some patience with what is on its way out.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            _check(_libc.umount2(os.fsencode(target), 0))
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            gc.collect()
        else:
            return


def _check(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
