"""Writing the boot block (spec/50-boot.md)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from rootman.boot.block import BLOCK_SIZE, serialise_block
from rootman.smallfiles import put_file
from rootman.store import BOOT_BLOCK

if TYPE_CHECKING:
    from rootman.boot.block import BootState
    from rootman.fsops import Fs
    from rootman.store import Store

_NEW: Final = "grubenv.new"


def write_boot(fs: Fs, store: Store, boot: BootState) -> None:
    """Make ``boot`` the boot state of ``store``, durably.

    A block that is there is written in place, by one call: GRUB, which replays no journal,
    finds a block that replaced another one late or not at all, and knows no block that moved
    when it is to write (BT-3). Only where there is none, or one of another size, a new one
    takes the place, and the filesystem is frozen to bring it there.

    Raises:
        OSError: the system refused; the state is the old one or the new one.
    """
    data = serialise_block(boot)
    try:
        fd = fs.reopen(BOOT_BLOCK, dir_fd=store.boot)
    except FileNotFoundError:
        _replace(fs, store, data)
        return
    try:
        is_whole = os.fstat(fd).st_size == BLOCK_SIZE
        if is_whole:
            fs.write(fd, data)
            fs.fsync(fd)
    finally:
        os.close(fd)
    if not is_whole:
        _replace(fs, store, data)


def _replace(fs: Fs, store: Store, data: bytes) -> None:
    put_file(fs, BOOT_BLOCK, data, new=_NEW, staging=store.staging, dir_fd=store.boot)
    fs.fsync(store.boot)
    fs.freeze_thaw(store.fd)
