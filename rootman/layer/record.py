"""What a layer changed in a tree, as its seal record keeps it (ST-28).

So what came with it is known from what somebody changes afterwards.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.errors import InvalidInput
from rootman.manifest import field_path
from rootman.seal import compressed
from rootman.store import LAYER_FILE, open_below
from rootman.textstream import decompress
from rootman.treedirs import TreeDirs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootman.seal import SealRecord

Mark = tuple[int, int]
"""Inode number and modification time in nanoseconds of what is at a path."""
_NOTHING: Final[Mark] = (0, 0)


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """The packages that were layered into a tree, and the marks of what that changed, by field."""

    packages: tuple[str, ...]
    marks: Mapping[bytes, Mark]

    def serialise(self) -> bytes:
        """Return the content of the file, compressed."""
        lines = [" ".join(self.packages).encode()]
        lines += [b"%b %d %d" % (field, *mark) for field, mark in sorted(self.marks.items())]
        return compressed(b"".join(line + b"\n" for line in lines))


def read_layer(record: SealRecord) -> LayerRecord | None:
    """Return the layer of a tree, None for one that has none.

    Raises:
        InvalidInput: it is damaged.
    """
    origin = f"{record.origin}/{LAYER_FILE}"
    try:
        with open_below(LAYER_FILE, record.dir_fd) as file:
            head, *lines = b"".join(decompress(file, origin)).splitlines()
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InvalidInput(f"{origin}: damaged") from error
    try:
        marks = {
            field: (int(inode), int(time_ns))
            for field, inode, time_ns in (line.split(b" ") for line in lines)
        }
        return LayerRecord(tuple(head.decode().split()), marks)
    except ValueError as error:
        raise InvalidInput(f"{origin}: damaged") from error


def is_layered(record: SealRecord) -> bool:
    """Return whether packages were layered into the tree that has this record."""
    try:
        os.stat(LAYER_FILE, dir_fd=record.dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def marks_of(root_fd: int, fields: Iterable[bytes]) -> dict[bytes, Mark]:
    """Return what is at the paths of a tree now.

    Raises:
        OSError: it cannot be looked at.
    """
    found = {}
    with TreeDirs(root_fd) as dirs:
        for field in fields:
            status = dirs.status(field_path(field))
            found[field] = _NOTHING if status is None else (status.st_ino, status.st_mtime_ns)
    return found
