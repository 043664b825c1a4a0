"""The two links, and the order in which they change (S2, S3)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from rootman.names import CURRENT, PREVIOUS

if TYPE_CHECKING:
    from rootman.fsops import Fs
    from rootman.store import Store

# In staging, so that no temporary link is ever seen beside the two.
TEMPORARY: Final = "link"

# A filesystem without RENAME_EXCHANGE says one of these.
_NO_EXCHANGE: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def point(fs: Fs, store: Store, link: str, tree: str) -> None:
    """Point ``link`` at the directory ``tree``, durably, by one rename.

    Raises:
        OSError: the system refused; the link is then as it was.
    """
    _replace(fs, store, link, tree)
    publish(fs, store)


def exchange(fs: Fs, store: Store) -> None:
    """Exchange ``current`` and ``previous``, durably, by one rename.

    Where the filesystem cannot exchange names, by two, ``previous`` first.

    Raises:
        OSError: the system refused; both links still resolve.
    """
    try:
        fs.exchange(CURRENT, PREVIOUS, source_fd=store.fd, target_fd=store.fd)
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
        old_current = os.readlink(CURRENT, dir_fd=store.fd)
        new_current = os.readlink(PREVIOUS, dir_fd=store.fd)
        _replace(fs, store, PREVIOUS, old_current)
        publish(fs, store)
        _replace(fs, store, CURRENT, new_current)
    publish(fs, store)


def publish(fs: Fs, store: Store) -> None:
    """Bring a change of names in the store's directory where every loader sees it (S3).

    Raises:
        OSError: the system refused.
    """
    fs.fsync(store.fd)
    fs.freeze_thaw(store.fd)


def _replace(fs: Fs, store: Store, link: str, tree: str) -> None:
    fs.symlink(tree, TEMPORARY, dir_fd=store.staging)
    fs.rename(TEMPORARY, link, source_fd=store.staging, target_fd=store.fd)
