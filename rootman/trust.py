"""What a store trusts: ``.rootman/trust``, read and written (spec/36-trust.md).

The metadata are kept as they were signed. They are only ever replaced by newer ones that
follow from them, each file by a rename; whatever a power cut leaves of that is a state
that the next refresh goes on from. Out of scope: what they mean (``repo.refresh``).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.document import FORMAT, Fields, Shape, check_format, decode, encode
from rootman.fsops import open_dir
from rootman.names import CONTROL
from rootman.smallfiles import put_file
from rootman.store import open_below

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootman.fsops import Fs
    from rootman.store import Store

TRUST: Final = "trust"
ROOT_FILE: Final = "root.json"
STATE_FILE: Final = "trust.json"
# In the order in which they are replaced: what follows is verified by the root.
METADATA_FILES: Final = (ROOT_FILE, "timestamp.json", "snapshot.json", "targets.json")

# No clock is right that says an earlier time: rootman was not there yet (2026-11-01).
BEGINNING: Final = 1_793_491_200

_SIZE_LIMIT: Final = 8 << 20  # bytes; more than any of them may have when it is fetched
_MAX_TIME: Final = 253_402_300_799  # the end of the year 9999
_KEYS: Final = frozenset({"format", "given", "floor"})
# Empty after a giving that was interrupted, until the root is given again.
_GIVEN: Final = Shape(re.compile(r"([0-9a-f]{64})?"), "a SHA-256 in lower-case hexadecimal")
_NEW: Final = "trust.new"


@dataclass(frozen=True, slots=True)
class Trust:
    """What is trusted: files of metadata by name, of which the root is always there.

    ``given`` is the SHA-256 of the root that the store's owner gave, in hexadecimal.
    ``floor`` is in seconds since 1970: it is certainly later than that.
    """

    files: Mapping[str, bytes]
    given: str = ""
    floor: int = BEGINNING


def read_trust(store: Store) -> Trust | None:
    """Return what ``store`` trusts, None where nothing was given to it.

    Raises:
        InvalidInput: what is there is damaged.
        OSError: it cannot be read.
    """
    try:
        fd = open_dir(TRUST, dir_fd=store.control)
    except FileNotFoundError:
        return None
    try:
        files = {name: data for name in METADATA_FILES if (data := _read(fd, name)) is not None}
        state = _read(fd, STATE_FILE)
    finally:
        os.close(fd)
    if ROOT_FILE not in files:
        return None
    if state is None:  # the giving of the root was interrupted
        return Trust(files)
    where = f"{store.path}/{CONTROL}/{TRUST}/{STATE_FILE}"
    document = decode(state, where, "state of trust")
    check_format(document, where)
    fields = Fields(where, "", document, _KEYS)
    return Trust(files, fields.text("given", _GIVEN), fields.number("floor", 0, _MAX_TIME))


def _read(folder: int, name: str) -> bytes | None:
    try:
        with open_below(name, folder) as file:
            return file.read(_SIZE_LIMIT)
    except FileNotFoundError:
        return None


def begin_trust(fs: Fs, store: Store, trust: Trust) -> None:
    """Trust the root in ``trust`` from now on, and nothing that was trusted before.

    The state comes last: until it is there, giving the same root again does all of this.

    Raises:
        OSError: the system refused; what is trusted is the old root or the new one.
    """
    with suppress(FileExistsError):
        fs.mkdir(TRUST, 0o700, dir_fd=store.control)
        fs.fsync(store.control)
    folder = open_dir(TRUST, dir_fd=store.control)
    try:
        _replace(fs, store, folder, ROOT_FILE, trust.files[ROOT_FILE])
        fs.fsync(folder)
        for name in METADATA_FILES[1:]:
            with suppress(FileNotFoundError):
                fs.unlink(name, dir_fd=folder)
        fs.fsync(folder)
        _replace(fs, store, folder, STATE_FILE, _state(trust))
        fs.fsync(folder)
    finally:
        os.close(folder)


def advance_trust(fs: Fs, store: Store, before: Trust, after: Trust) -> None:
    """Keep what a refresh made of ``before``.

    A root is durable before what it verifies: with the old root, a newer timestamp would
    count for nothing, and an older one of a liar would do.

    Raises:
        OSError: the system refused; each file is the old one or the new one.
    """
    if before == after:
        return
    folder = open_dir(TRUST, dir_fd=store.control)
    try:
        for name in METADATA_FILES:
            if (data := after.files.get(name)) is not None and data != before.files.get(name):
                _replace(fs, store, folder, name, data)
                if name == ROOT_FILE:
                    fs.fsync(folder)
        if _state(after) != _state(before):
            _replace(fs, store, folder, STATE_FILE, _state(after))
        fs.fsync(folder)
    finally:
        os.close(folder)


def _state(trust: Trust) -> bytes:
    return encode({"format": FORMAT, "given": trust.given, "floor": trust.floor})


def _replace(fs: Fs, store: Store, folder: int, name: str, data: bytes) -> None:
    put_file(fs, name, data, new=_NEW, staging=store.staging, dir_fd=folder)
