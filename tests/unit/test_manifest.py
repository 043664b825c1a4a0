"""One line of a manifest: written in one way, read in that way only."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rootman.errors import InvalidManifest
from rootman.manifest import (
    Entry,
    decode,
    encode,
    field_path,
    format_line,
    group_inode,
    line_path,
    parent_field,
    parse_line,
    path_field,
    printable,
)
from tests.unit.entries import NAMES, PATHS, TYPES, WORDS, entries

HASH = "0123456789abcdef" * 4
FILE = Entry(b"usr/bin/foo", "file", 0o755, 0, 0, 17 * 10**17 + 123456789, size=12, sha256=HASH)
FILE_LINE = (
    b"./usr/bin/foo type=file mode=0755 uid=0 gid=0 size=12 time=1700000000.123456789"
    b" sha256digest=%b\n" % HASH.encode()
)
DIR_LINE = b"./d type=dir mode=0755 uid=0 gid=0 time=0.000000000\n"
LINK_LINE = b"./l type=link mode=0777 uid=0 gid=0 time=0.000000000 link=target\n"
CHAR_LINE = b"./c type=char mode=0666 uid=0 gid=0 time=0.000000000 device=native,1,3\n"


def refusal(line: bytes) -> str | None:
    """Return why ``line`` is refused, None where it is not."""
    try:
        parse_line(line)
    except InvalidManifest as error:
        return str(error)
    return None


@given(entries())
@example(FILE)
def test_an_entry_comes_back(entry: Entry) -> None:
    """MF-3: every type, any bytes in names."""
    line = format_line(entry)

    assert parse_line(line) == entry


@given(entries())
def test_a_line_is_one_line_of_printable_ascii(entry: Entry) -> None:
    """MF-1, MF-4: so that sort, comm and diff work on it."""
    line = format_line(entry)

    assert line.endswith(b"\n")
    assert re.fullmatch(rb"[ -~]+\n", line)
    assert line.split(b" ")[0] == line_path(line) == path_field(entry.path)


@given(entries(), st.integers(0, 300), st.binary(max_size=2))
def test_what_is_accepted_is_canonical(entry: Entry, place: int, patch: bytes) -> None:
    """MF-13: a changed line is refused, or it is the only way to write something else."""
    line = format_line(entry)
    place %= len(line)
    changed = line[:place] + patch + line[place + 1 :]

    try:
        found = parse_line(changed)
    except InvalidManifest:
        return
    assert format_line(found) == changed


@given(st.binary(max_size=200))
@example(b"")
@example(b"\n")
@example(b"#mtree\n")
@example(b"\xff" * 200)
def test_garbage_is_refused_in_one_line(garbage: bytes) -> None:
    """MF-13, EX-3."""
    message = refusal(garbage)

    # Hypothesis knows the lines of this file.
    assert message is not None or format_line(parse_line(garbage)) == garbage
    assert message is None or re.fullmatch(r"[ -~]+", message)


@given(st.from_regex(rb"(\.|\./\S{1,9}) type=[a-z]+( [a-z]{3,6}=\S{0,9}){0,9}\n?", fullmatch=True))
def test_what_looks_like_mtree_raises_nothing_else(line: bytes) -> None:
    with pytest.raises(InvalidManifest):
        parse_line(line)


GOOD = [
    (FILE_LINE, FILE),
    (
        b". type=dir mode=1777 uid=4294967294 gid=1 time=-1.500000000\n",
        Entry(b".", "dir", 0o1777, 4294967294, 1, -500_000_000),
    ),
    (
        b"./a type=link mode=0777 uid=0 gid=0 nlink=2 inode=1 time=0.000000001 link=../\\040x\n",
        Entry(b"a", "link", 0o777, 0, 0, 1, link=b"../ x", nlink=2, inode=1),
    ),
    (CHAR_LINE, Entry(b"c", "char", 0o666, 0, 0, 0, device=(1, 3))),
    (
        b"./b type=block mode=0660 uid=0 gid=6 time=0.000000000 device=native,4095,1048575\n",
        Entry(b"b", "block", 0o660, 0, 6, 0, device=(4095, 1048575)),
    ),
    (
        b"./d/fifo type=fifo mode=4755 uid=0 gid=0 time=999999999999.999999999\n",
        Entry(b"d/fifo", "fifo", 0o4755, 0, 0, 10**21 - 1),
    ),
    (
        b"./.s type=socket mode=0000 uid=0 gid=0 time=-999999999999.000000000\n",
        Entry(b".s", "socket", 0, 0, 0, -999999999999 * 10**9),
    ),
    (
        FILE_LINE.replace(b"\n", b" xattr.security.capability=AQ== xattr.user.\\303\\244=\n"),
        replace(FILE, xattrs=((b"security.capability", b"\1"), (b"user.\xc3\xa4", b""))),
    ),
    (FILE_LINE.replace(b"size=12", b"size=9223372036854775807"), replace(FILE, size=2**63 - 1)),
]


@pytest.mark.parametrize(("line", "entry"), GOOD)
def test_good_lines(line: bytes, entry: Entry) -> None:
    """MF-3, MF-7, MF-8, MF-9, MF-11."""
    assert parse_line(line) == entry
    assert format_line(entry) == line


# The line, what is replaced in it, and by what.
BAD = [
    # MF-3: form and order
    (FILE_LINE, b"\n", b""),
    (FILE_LINE, b"\n", b"\r\n"),
    (FILE_LINE, b"\n", b" \n"),
    (FILE_LINE, b" type", b"  type"),
    (FILE_LINE, b" type", b"\ttype"),
    (FILE_LINE, b"uid=0 gid=0", b"gid=0 uid=0"),
    (FILE_LINE, b" uid=0", b""),
    (FILE_LINE, b" uid=0", b" uid=0 uid=0"),
    (FILE_LINE, b" uid=0", b" uid=root"),
    (FILE_LINE, b" gid=0", b" gid=0 flags=none"),
    (FILE_LINE, b"type=file", b"type=File"),
    (FILE_LINE, b"type=file", b"type=whiteout"),
    (FILE_LINE, b"\n", b" md5=0\n"),
    (FILE_LINE, b"\n", b"\n" + FILE_LINE),
    (FILE_LINE, FILE_LINE, b"/set type=file uid=0 gid=0 mode=0755\n"),
    (FILE_LINE, FILE_LINE, b"# comment\n"),
    # numbers have one form
    (FILE_LINE, b"mode=0755", b"mode=755"),
    (FILE_LINE, b"mode=0755", b"mode=00755"),
    (FILE_LINE, b"mode=0755", b"mode=0758"),
    (FILE_LINE, b"mode=0755", b"mode=10755"),
    (FILE_LINE, b"uid=0", b"uid=00"),
    (FILE_LINE, b"uid=0", b"uid=+1"),
    (FILE_LINE, b"uid=0", b"uid=-1"),
    (FILE_LINE, b"uid=0", b"uid=0x1"),
    (FILE_LINE, b"uid=0", b"uid=\xb2"),
    (FILE_LINE, b"size=12", b"size=012"),
    (FILE_LINE, b"size=12", b"size=-12"),
    # MF-7: ranges
    (FILE_LINE, b"uid=0", b"uid=4294967295"),
    (FILE_LINE, b"gid=0", b"gid=4294967295"),
    (FILE_LINE, b"gid=0", b"gid=99999999999999999999"),
    (FILE_LINE, b"size=12", b"size=9223372036854775808"),
    (FILE_LINE, b"size=12", b"size=99999999999999999999"),
    (CHAR_LINE, b"native,1,3", b"native,4096,3"),
    (CHAR_LINE, b"native,1,3", b"native,1,1048576"),
    (CHAR_LINE, b"native,1,3", b"native,9999999999,9999999999"),
    # MF-8: times
    (FILE_LINE, b"time=1700000000.123456789", b"time=1700000000"),
    (FILE_LINE, b"time=1700000000.123456789", b"time=1700000000.0"),
    (FILE_LINE, b"time=1700000000.123456789", b"time=1700000000.1234567890"),
    (FILE_LINE, b"time=1700000000", b"time=01700000000"),
    (FILE_LINE, b"time=1700000000", b"time=-0"),
    (FILE_LINE, b"time=1700000000", b"time="),
    (FILE_LINE, b"time=1700000000", b"time=1700000000000"),
    (FILE_LINE, b"time=1700000000", b"time=nan"),
    # keywords that fit the type
    (FILE_LINE, b" size=12", b""),
    (FILE_LINE, b" sha256digest=" + HASH.encode(), b""),
    (FILE_LINE, HASH.encode(), HASH.upper().encode()),
    (FILE_LINE, HASH.encode(), HASH[1:].encode()),
    (FILE_LINE, HASH.encode(), HASH.encode() + b"0"),
    (FILE_LINE, b" sha256", b" link=x sha256"),
    (FILE_LINE, b" sha256", b" device=native,1,3 sha256"),
    (FILE_LINE, b"type=file", b"type=dir"),
    (FILE_LINE, b"type=file", b"type=link"),
    (FILE_LINE, b"type=file", b"type=fifo"),
    (LINK_LINE, b" link=target", b""),
    (LINK_LINE, b" link=target", b" link="),
    (LINK_LINE, b" link=target", b" link=a b"),
    (LINK_LINE, b" link=target", b" link=\\141"),
    (LINK_LINE, b" link=target", b" link=a\\000"),
    (LINK_LINE, b"mode=0777", b"mode=0755"),
    (LINK_LINE, b"type=link", b"type=dir"),
    (CHAR_LINE, b" device=native,1,3", b""),
    (CHAR_LINE, b" device=native,1,3", b" device=1,3"),
    (CHAR_LINE, b" device=native,1,3", b" device=linux,1,3"),
    (CHAR_LINE, b" device=native,1,3", b" device=native,1"),
    (CHAR_LINE, b" device=native,1,3", b" device=native,01,3"),
    (CHAR_LINE, b"type=char", b"type=fifo"),
    (DIR_LINE, b" time", b" size=0 time"),
    # MF-9: groups
    (DIR_LINE, b" time", b" nlink=2 inode=1 time"),
    (FILE_LINE, b" size", b" nlink=2 size"),
    (FILE_LINE, b" size", b" inode=2 size"),
    (FILE_LINE, b" size", b" nlink=1 inode=1 size"),
    (FILE_LINE, b" size", b" nlink=0 inode=1 size"),
    (FILE_LINE, b" size", b" inode=1 nlink=2 size"),
    (FILE_LINE, b" size", b" nlink=2 inode=01 size"),
    # MF-4: names
    (FILE_LINE, b"foo", b"f#o"),
    (FILE_LINE, b"foo", b"f=o"),
    (FILE_LINE, b"foo", b"f*o"),
    (FILE_LINE, b"foo", b"f?o"),
    (FILE_LINE, b"foo", b"f[o"),
    (FILE_LINE, b"foo", b"f\\o"),
    (FILE_LINE, b"foo", b"f\\\\o"),
    (FILE_LINE, b"foo", b"f\\40o"),
    (FILE_LINE, b"foo", b"f\\400"),
    (FILE_LINE, b"foo", b"f\\s"),
    (FILE_LINE, b"foo", b"f\\146"),
    (FILE_LINE, b"foo", b"f\\057o"),
    (FILE_LINE, b"foo", b"f\\000"),
    (FILE_LINE, b"foo", b"f\0"),
    (FILE_LINE, b"foo", b"f\x7f"),
    (FILE_LINE, b"foo", b"f\xc3\xb6"),
    # MF-5, MF-6: paths
    (FILE_LINE, b"foo", b"x" * 256),
    (FILE_LINE, b"foo", b"\\377" * 256),
    (FILE_LINE, b"./usr/bin/foo", b"/usr/bin/foo"),
    (FILE_LINE, b"./usr/bin/foo", b"usr/bin/foo"),
    (FILE_LINE, b"./usr/bin/foo", b"./../etc/passwd"),
    (FILE_LINE, b"./usr/bin/foo", b"./usr/../../etc/passwd"),
    (FILE_LINE, b"./usr/bin/foo", b"./.."),
    (FILE_LINE, b"./usr/bin/foo", b"./."),
    (FILE_LINE, b"./usr/bin/foo", b"./"),
    (FILE_LINE, b"./usr/bin/foo", b".//etc"),
    (FILE_LINE, b"./usr/bin/foo", b"./usr//foo"),
    (FILE_LINE, b"./usr/bin/foo", b"./usr/./foo"),
    (FILE_LINE, b"./usr/bin/foo", b"./usr/foo/"),
    (FILE_LINE, b"./usr/bin/foo", b".\\056/foo"),
    (FILE_LINE, b"./usr/bin/foo", b"./\\056\\056/foo"),
    (FILE_LINE, b"./usr/bin/foo", b"."),
    (FILE_LINE, b"./usr/bin/foo", b".."),
    (FILE_LINE, b"./usr/bin/foo", b""),
    # MF-11: xattrs
    (FILE_LINE, b"\n", b" xattr.=\n"),
    (FILE_LINE, b"\n", b" xattr.user.a\n"),
    (FILE_LINE, b"\n", b" xattr.user.a=A\n"),
    (FILE_LINE, b"\n", b" xattr.user.a=AB==\n"),
    (FILE_LINE, b"\n", b" xattr.user.a=AA\n"),
    (FILE_LINE, b"\n", b" xattr.user.a=AA===\n"),
    (FILE_LINE, b"\n", b" xattr.user.a=_-__\n"),
    (FILE_LINE, b"\n", b" xattr.user.\\141=AA==\n"),
    (FILE_LINE, b"\n", b" xattr.user.\\000=AA==\n"),
    (FILE_LINE, b"\n", b" xattr.user.a=AA== xattr.user.a=AA==\n"),
    (FILE_LINE, b"\n", b" xattr.user.b=AA== xattr.user.a=AA==\n"),
    (FILE_LINE, b" sha256", b" xattr.user.a=AA== sha256"),
]


@pytest.mark.parametrize(("line", "old", "new"), BAD)
def test_bad_lines(line: bytes, old: bytes, new: bytes) -> None:
    """MF-3 to MF-11, MF-13: refused in one line that says where."""
    assert old in line

    with pytest.raises(InvalidManifest) as caught:
        parse_line(line.replace(old, new, 1))

    assert re.fullmatch(r"[ -~]{1,600}", str(caught.value))
    assert caught.value.exit_code == 3


def test_the_root_is_a_directory() -> None:
    """MF-12."""
    for kind in set(TYPES) - {"dir"}:
        line = format_line(replace(FILE, path=b".", type=kind, sha256=HASH))
        with pytest.raises(InvalidManifest):
            parse_line(line)


@given(st.binary())
@example(bytes(range(1, 256)))
def test_any_name_can_be_encoded(name: bytes) -> None:
    """MF-4."""
    text = encode(name)

    assert re.fullmatch(rb"(?:[!\"$-)+-<>@-Z\]-~]|\\[0-3][0-7]{2})*", text)
    if b"\0" not in name:
        assert decode(text) == name


@given(st.binary(), st.binary())
def test_names_are_encoded_one_by_one(one: bytes, other: bytes) -> None:
    assert encode(one) + encode(other) == encode(one + other)


@given(st.text("\\0123457abc/ #", max_size=12).map(str.encode))
def test_only_what_encode_writes_is_decoded(text: bytes) -> None:
    """MF-4: there is one way to write a name."""
    try:
        name = decode(text)
    except InvalidManifest:
        return
    assert encode(name) == text


@given(PATHS)
def test_a_path_field_comes_back(path: bytes) -> None:
    """MF-6."""
    field = path_field(path)

    assert field_path(field) == path
    assert field_path(parent_field(field)) == (path.rpartition(b"/")[0] or b".")


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_a_directory_comes_before_what_is_in_it(names: list[bytes]) -> None:
    """MF-2: the order in which a tree can be made."""
    parent, child = names

    assert path_field(b".") < path_field(parent) < path_field(parent + b"/" + child)


@given(st.lists(entries(), max_size=8))
def test_sorting_lines_sorts_paths(found: list[Entry]) -> None:
    """MF-2: a space sorts before everything that can be in a path."""
    lines = list({line_path(line): line for line in map(format_line, found)}.values())

    assert sorted(lines) == sorted(lines, key=line_path)


def test_the_inode_of_a_group() -> None:
    """MF-10: 60 bits of the hash of its first name."""
    expected = int(hashlib.sha256(b"usr/bin/perl").hexdigest()[:15], 16)

    assert group_inode(b"usr/bin/perl") == expected < 2**60


@given(WORDS)
def test_a_group_inode_can_be_written(path: bytes) -> None:
    line = format_line(replace(FILE, nlink=2, inode=group_inode(path)))

    assert parse_line(line).inode == group_inode(path)


@given(st.binary(max_size=1000))
def test_what_a_message_shows_is_one_line(text: bytes) -> None:
    """EX-3."""
    assert re.fullmatch(r"[ -~]{0,1203}", printable(text))


@given(st.binary(max_size=30))
def test_xattrs_are_padded_base64(value: bytes) -> None:
    """MF-11."""
    line = format_line(replace(FILE, xattrs=((b"user.x", value),)))

    assert line.endswith(b" xattr.user.x=%b\n" % base64.b64encode(value))
