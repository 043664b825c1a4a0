"""Cells of the matrix: the directory that an operation works in, and what it is found with.

A cell is ``SITUATION/OPERATION/KIND`` in a tree. The situation says who else has the inodes
in it, the kind what ``subject`` is. Out of scope: what operations do, and comparing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.builders import TIME, char, directory, fifo, file, hardlink, symlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.builders import Node, Tree

FILE: Final = "file"
# Without the capability, of which the kernel takes care itself before each write, and so
# breaks what a handler forgot.
PLAIN: Final = "plain file"
SYMLINK: Final = "symlink"
FIFO: Final = "fifo"
DEVICE: Final = "device"
FILES: Final = (FILE, PLAIN)
KINDS: Final = (FILE, PLAIN, SYMLINK, FIFO, DEVICE)

OWNER: Final = 1234
GROUP: Final = 5678
OTHER_GROUP: Final = 777  # a supplementary group of the owner
FRIEND: Final = 42  # whom the access control list names
MODE: Final = 0o6755  # of a file
HOLE: Final = 1 << 14
CONTENT: Final = b"sealed content\n" * 350
SOURCE: Final = bytes(range(256)) * 40

# linux/posix_acl_xattr.h
_UNNAMED: Final = 0xFFFFFFFF


def acl(*, friend: int, group: int, mask: int, other: int) -> bytes:
    """Return the value of an access control list that names one user."""
    entries = ((1, 7, _UNNAMED), (2, friend, FRIEND), (4, group, _UNNAMED))
    rest = ((0x10, mask, _UNNAMED), (0x20, other, _UNNAMED))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries + rest)


def capability(number: int) -> bytes:
    """Return the value of security.capability for one permitted and effective capability."""
    return struct.pack("<IIIII", 0x02000001, 1 << number, 0, 0, 0)


_ACL: Final = acl(friend=7, group=5, mask=5, other=5)


def _subject(kind: str) -> Node:
    kept = {"trusted.kept": b"by root"}
    if kind == SYMLINK:
        return symlink("source", uid=OWNER, gid=GROUP, xattrs=kept)
    if kind == FIFO:
        return fifo(0o755, uid=OWNER, gid=GROUP, xattrs={**kept, "system.posix_acl_access": _ACL})
    if kind == DEVICE:
        return char(1, 3, 0o640, uid=OWNER, gid=GROUP, xattrs=kept)
    if kind == PLAIN:
        return file(CONTENT, uid=OWNER, gid=GROUP, hole=HOLE)
    return file(
        CONTENT, MODE, uid=OWNER, gid=GROUP, hole=HOLE,
        xattrs={
            **kept, "user.kept": b"value", "system.posix_acl_access": _ACL,
            "security.capability": capability(10),
        },
    )  # fmt: skip


def cell_entries(where: str, kind: str, *, pair: bool) -> Tree:
    """Return what is in the cell ``where``; a ``pair`` gives the subject a second name."""
    entries: Tree = {
        ".": directory(time=TIME),
        "below": directory(time=TIME),
        "link": symlink("subject"),
        "source": file(SOURCE, uid=OWNER, gid=GROUP),
        "subject": _subject(kind),
        "victim": _subject(kind),
    }
    if pair:
        entries["below/twin"] = hardlink(f"{where}/subject")
    return {f"{where}/{name}" if name != "." else where: one for name, one in entries.items()}


def matrix_tree(cells: Iterable[tuple[str, str, str]], pairs: frozenset[str]) -> Tree:
    """Return the tree of these cells; in the situations ``pairs`` subjects have two names."""
    tree: Tree = {".": directory(time=TIME)}
    for situation, operation, kind in cells:
        where = f"{situation}/{operation}/{kind}"
        tree |= cell_entries(where, kind, pair=situation in pairs)
    return tree


@dataclass(frozen=True, slots=True)
class Cell:
    """The names in one cell, as an operation uses them, in the mount or in the plain copy.

    ``pair`` says that ``twin`` is there. ``share`` has another tree link the subject, as an
    upgrade does while the guard is mounted; in the plain copy it does nothing.
    """

    root: str
    pair: bool
    share: Callable[[], None]

    @property
    def subject(self) -> str:
        return f"{self.root}/subject"

    @property
    def link(self) -> str:
        """A symlink to the subject."""
        return f"{self.root}/link"

    @property
    def twin(self) -> str:
        return f"{self.root}/below/twin"

    @property
    def other_name(self) -> str:
        """The second name of the subject where there is one, else its only name."""
        return self.twin if self.pair else self.subject

    @property
    def victim(self) -> str:
        """Something of the same kind and situation."""
        return f"{self.root}/victim"

    @property
    def source(self) -> str:
        """A file of the same situation, which a subject that is a symlink leads to."""
        return f"{self.root}/source"

    @property
    def fresh(self) -> str:
        """A name that nothing has."""
        return f"{self.root}/fresh"

    @property
    def fresh_below(self) -> str:
        """A name that nothing has, in another directory."""
        return f"{self.root}/below/fresh"
