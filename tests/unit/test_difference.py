"""What differs between two lines, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rootman.comparison import Change
from rootman.difference import Differing, differing, path_differences
from rootman.errors import InvalidManifest
from rootman.manifest import Entry, format_line

FILE = Entry(b"a", "file", 0o644, 0, 0, 5, size=1, sha256="1" * 64)
LINK = Entry(b"a", "link", 0o777, 0, 0, 5, link=b"to")
DEVICE = Entry(b"a", "char", 0o600, 0, 0, 5, device=(1, 3))


def words(one: Entry, other: Entry) -> list[str]:
    return [str(it) for it in differing(format_line(one), format_line(other))]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (FILE, FILE, []),
        (FILE, replace(FILE, sha256="2" * 64), ["content"]),
        (FILE, replace(FILE, mode=0o4755), ["mode 0644 -> 4755"]),
        (FILE, replace(FILE, uid=7, gid=8), ["uid 0 -> 7", "gid 0 -> 8"]),
        (FILE, replace(FILE, time_ns=6), ["time"]),
        (FILE, replace(FILE, nlink=2, inode=9), ["hardlinks"]),
        (FILE, replace(FILE, xattrs=((b"user.a", b"1"),)), ["xattr.user.a added"]),
        (replace(FILE, xattrs=((b"user.a", b"1"),)), FILE, ["xattr.user.a removed"]),
        (
            replace(FILE, xattrs=((b"user.\n", b"1"),)),
            replace(FILE, xattrs=((b"user.\n", b"2"),)),
            [r"xattr.user.\012"],
        ),
        (LINK, replace(LINK, link=b"other place"), [r"target to -> other\040place"]),
        (DEVICE, replace(DEVICE, device=(1, 5)), ["device 1,3 -> 1,5"]),
        (FILE, LINK, ["type file -> link"]),
    ],
)
def test_each_kind_of_difference(one: Entry, other: Entry, expected: list[str]) -> None:
    assert words(one, other) == expected


def test_values_are_spelt_as_in_a_manifest() -> None:
    old, new = format_line(FILE), format_line(replace(FILE, time_ns=1_000_000_002))

    assert differing(old, new) == (Differing("time", "0.000000005", "1.000000002"),)


def test_a_path_is_added_removed_or_changed() -> None:
    line = format_line(FILE)
    changes = [
        Change(b"./a", None, line, 0, 0),
        Change(rb"./b\040c", line, None, 0, 0),
        Change(b"./d", line, line, 0, 0),
    ]

    found = [(one.path, one.kind) for one in path_differences(changes)]

    assert found == [(b"a", "added"), (b"b c", "removed"), (b"d", "changed")]


def test_what_is_no_line_is_refused() -> None:
    with pytest.raises(InvalidManifest):
        differing(format_line(FILE), b"./a type=file\n")
