"""Entries and manifests out of hypothesis, for the tests of what works on them."""

from __future__ import annotations

import string
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from rootman.manifest import HEADER, ROOT, Entry, EntryType, format_line, path_field

if TYPE_CHECKING:
    from collections.abc import Iterable

TYPES: tuple[EntryType, ...] = ("file", "dir", "link", "char", "block", "fifo", "socket")
IDS = st.integers(0, 2**32 - 2)
TIMES = st.integers(-(10**12 - 1) * 10**9, 10**21 - 1)
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)

# Any bytes but NUL and slash; the short ones of the second kind meet each other often.
NAMES = st.one_of(
    st.binary(min_size=1, max_size=20).map(lambda name: name.translate(None, b"\0/")),
    st.text("ab-. \\", min_size=1, max_size=3).map(str.encode),
).filter(lambda name: name not in (b"", b".", b".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
WORDS = st.binary(min_size=1, max_size=20).map(lambda name: name.translate(None, b"\0")).filter(len)
XATTRS = st.dictionaries(WORDS, st.binary(max_size=40), max_size=3).map(
    lambda found: tuple(sorted(found.items(), key=lambda pair: path_field(pair[0])))
)


@st.composite
def entries(draw: st.DrawFn, paths: st.SearchStrategy[bytes] = PATHS) -> Entry:
    """Return an entry of any type, as a manifest may have it."""
    kind = draw(st.sampled_from(TYPES))
    entry = Entry(
        path=draw(paths),
        type=kind,
        mode=0o777 if kind == "link" else draw(st.integers(0, 0o7777)),
        uid=draw(IDS),
        gid=draw(IDS),
        time_ns=draw(TIMES),
        xattrs=draw(XATTRS),
    )
    if kind == "file":
        entry = replace(entry, size=draw(st.integers(0, 2**63 - 1)), sha256=draw(HASHES))
    elif kind == "link":
        entry = replace(entry, link=draw(WORDS))
    elif kind in ("char", "block"):
        device = draw(st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1)))
        entry = replace(entry, device=device)
    if kind != "dir" and draw(st.booleans()):
        entry = replace(
            entry, nlink=draw(st.integers(2, 70_000)), inode=draw(st.integers(0, 2**60))
        )
    return entry


def entry(path: str, kind: EntryType = "file", *, content: str = "x", nlink: int = 1) -> Entry:
    """Return a plain entry; ``content`` decides on size, hash, target and inode."""
    made = Entry(os_bytes(path), kind, 0o777 if kind == "link" else 0o644, 0, 0, 10**18)
    if kind == "file":
        made = replace(made, size=len(content), sha256=f"{hash_number(content):064x}")
    elif kind == "link":
        made = replace(made, link=content.encode())
    elif kind in ("char", "block"):
        made = replace(made, device=(1, 3))
    return replace(made, nlink=nlink, inode=hash_number(content)) if nlink > 1 else made


def os_bytes(text: str) -> bytes:
    """Return the bytes of a path that is ASCII."""
    return text.encode("ascii")


def hash_number(content: str) -> int:
    """Return a number that stands for ``content``, the same in every run."""
    number = 0
    for character in content:
        number = number * 128 + string.printable.index(character)
    return number % 2**60


def line(path: str, kind: EntryType = "file", *, content: str = "x", nlink: int = 1) -> bytes:
    """Return the line of ``entry`` with these arguments."""
    return format_line(entry(path, kind, content=content, nlink=nlink))


def manifest(found: Iterable[Entry]) -> bytes:
    """Return a manifest of these entries, in order."""
    return HEADER + b"".join(sorted_lines(found))


def sorted_lines(found: Iterable[Entry]) -> list[bytes]:
    """Return the lines of these entries, in order, as a model does it: by their first word."""
    return sorted(map(format_line, found), key=lambda one: one.split(b" ")[0])


def cut(data: bytes, size: int) -> list[bytes]:
    """Return ``data`` as a stream of pieces of ``size`` bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]


ROOT_ENTRY = Entry(ROOT, "dir", 0o755, 0, 0, 10**18)
