"""One line of a manifest: the canonical mtree(5) form of one entry of a tree.

In scope: the encoding of names, the parser and the writer of a line. Pure: no
syscall is made here. Streams of lines are the business of ``comparison``; making
lines from a real tree that of ``scanner``. The format is specified in
spec/20-manifest.md; mtree(5) of libarchive is the syntax it stays within.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, cast

from rootman.errors import InvalidManifest

HEADER: Final = b"#mtree\n"
ROOT: Final = b"."
TYPE_AT: Final = len(b" type=")  # after the path field

# A name may have 255 bytes and each may need four characters (MF-5).
MAX_LINE: Final = 1 << 20

EntryType = Literal["file", "dir", "link", "char", "block", "fifo", "socket"]

# Besides space and control characters: the escape itself, the comment and
# assignment signs of mtree, and what other mtree programs take for a glob.
_SPECIAL: Final = b"\\#=*?["
_ENCODED: Final = tuple(
    bytes([byte]) if 0x21 <= byte <= 0x7E and byte not in _SPECIAL else b"\\%03o" % byte
    for byte in range(256)
)
_NEEDS_ENCODING: Final = re.compile(rb"[^!\"$-)+-<>@-Z\]-~]")
_ESCAPE: Final = re.compile(rb"\\([0-3][0-7]{2})")
_LINE: Final = re.compile(
    rb"(\.|\./[!-~]+)"
    rb" type=(file|dir|link|char|block|fifo|socket)"
    rb" mode=([0-7]{4})"
    rb" uid=(0|[1-9][0-9]{0,9})"
    rb" gid=(0|[1-9][0-9]{0,9})"
    rb"(?: nlink=([1-9][0-9]{0,9}) inode=(0|[1-9][0-9]{0,18}))?"
    rb"(?: size=(0|[1-9][0-9]{0,18}))?"
    rb" time=(0|-?[1-9][0-9]{0,11}|-0)\.([0-9]{9})"
    rb"(?: link=([!-~]+))?"
    rb"(?: device=native,(0|[1-9][0-9]{0,9}),(0|[1-9][0-9]{0,9}))?"
    rb"(?: sha256digest=([0-9a-f]{64}))?"
    rb"((?: xattr\.[!-<>-~]+=[0-9A-Za-z+/]*={0,2})*)\n"
)
_MAX_ID: Final = (1 << 32) - 2  # -1 means "leave alone" to chown(2)
_MAX_MAJOR: Final = (1 << 12) - 1  # what the kernel keeps of a device number
_MAX_MINOR: Final = (1 << 20) - 1
_NANOSECONDS: Final = 1_000_000_000
_DIGEST: Final = b" sha256digest="
_DIGEST_SIZE: Final = 64
_SHOWN: Final = 300  # bytes of a field or line in a message


# The keywords of a hardlink group's lines; the first group is the inode.
HARDLINK: Final = re.compile(rb" nlink=[0-9]+ inode=([0-9]+) ")


# The kernel or its policy writes these by itself; a tree without them may keep them.
OF_THE_KERNEL: Final = frozenset({b"security.selinux", b"security.ima", b"security.evm"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tree, as its manifest has it.

    ``path`` is relative and decoded, ``b"."`` for the root. ``time_ns`` is the
    modification time in nanoseconds since 1970. ``size`` (bytes) and ``sha256``
    (lower-case hexadecimal) belong to files, ``link`` (the decoded target) to
    symlinks, ``device`` (major, minor) to device nodes. An inode with several
    names in this tree has the same ``inode`` and their number as ``nlink`` in
    each of its entries.
    """

    path: bytes
    type: EntryType
    mode: int
    uid: int
    gid: int
    time_ns: int
    size: int = 0
    sha256: str = ""
    link: bytes = b""
    device: tuple[int, int] | None = None
    nlink: int = 1
    inode: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


def encode(name: bytes) -> bytes:
    """Return ``name`` with every byte that mtree would misread as a backslash and three digits."""
    if _NEEDS_ENCODING.search(name) is None:
        return name
    return b"".join(map(_ENCODED.__getitem__, name))


def decode(text: bytes) -> bytes:
    """Return the name that ``encode`` made ``text`` of.

    Raises:
        InvalidManifest: ``text`` is not what ``encode`` writes for any name.
    """
    if b"\\" not in text:
        if _NEEDS_ENCODING.search(text) is not None:
            raise InvalidManifest(f"{printable(text)}: a character that must be written as \\ooo")
        return text
    name = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), text)
    if encode(name) != text or b"\0" in name:
        raise InvalidManifest(f"{printable(text)}: not the canonical form of a name")
    return name


def group_inode(first_path: bytes) -> int:
    """Return the inode keyword of the hardlink group whose first name is ``first_path``.

    It depends on nothing but the name, so that a group that did not change keeps
    its lines whatever happens elsewhere in the tree.
    """
    return int.from_bytes(sha256(first_path).digest()[:8], "big") >> 4


def line_path(line: bytes) -> bytes:
    """Return the encoded path field of ``line``, by which lines are ordered."""
    return line[: line.find(b" ")]


def path_field(path: bytes) -> bytes:
    """Return the path field of the entry ``path`` (decoded, ``b"."`` for the root)."""
    return ROOT if path == ROOT else b"./" + encode(path)


def field_path(field: bytes) -> bytes:
    """Return the decoded path of a path field; the inverse of ``path_field``.

    Raises:
        InvalidManifest: the field is not canonical, or leads out of the tree.
    """
    if field == ROOT:
        return ROOT
    if not field.startswith(b"./"):
        raise InvalidManifest(f"{printable(field)}: a path must begin with ./")
    path = decode(field[2:])
    for part in path.split(b"/"):
        if part in (b"", b".", b".."):
            raise InvalidManifest(f"{printable(field)}: a path must not contain //, . or ..")
        if len(part) > 255:
            raise InvalidManifest(f"{printable(field)}: a name is longer than 255 bytes")
    return path


def parent_field(field: bytes) -> bytes:
    """Return the path field of the directory that holds ``field`` (not the root)."""
    return field[: field.rfind(b"/")]


def format_line(entry: Entry) -> bytes:
    """Return the one canonical line of ``entry``, its newline included."""
    parts = [
        b"%b type=%b mode=%04o uid=%d gid=%d"
        % (path_field(entry.path), entry.type.encode(), entry.mode, entry.uid, entry.gid)
    ]
    if entry.nlink > 1:
        parts.append(b"nlink=%d inode=%d" % (entry.nlink, entry.inode))
    if entry.type == "file":
        parts.append(b"size=%d" % entry.size)
    parts.append(b"time=%d.%09d" % divmod(entry.time_ns, _NANOSECONDS))
    if entry.type == "link":
        parts.append(b"link=" + encode(entry.link))
    if entry.device is not None:
        parts.append(b"device=native,%d,%d" % entry.device)
    if entry.type == "file":
        parts.append(b"sha256digest=" + entry.sha256.encode())
    encoded = sorted((encode(name), value) for name, value in entry.xattrs)
    parts.extend(b"xattr.%b=%b" % (name, b64encode(value)) for name, value in encoded)
    return b" ".join(parts) + b"\n"


def parse_line(line: bytes) -> Entry:
    """Return the entry that ``line`` (with its newline) describes.

    Raises:
        InvalidManifest: the line is not exactly what ``format_line`` writes.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise InvalidManifest(f"not a line of a rootman manifest: {printable(line[:120].rstrip())}")
    (field, kind, mode, uid, gid, nlink, inode, size, seconds, nanoseconds) = match.groups()[:10]
    link, major, minor, digest, xattrs = match.groups()[10:]
    name = kind.decode()
    _check_keywords(field, name, match)
    entry = Entry(
        path=field_path(field),
        type=cast("EntryType", name),
        mode=int(mode, 8),
        uid=int(uid),
        gid=int(gid),
        time_ns=int(seconds) * _NANOSECONDS + int(nanoseconds),
        size=int(size or 0),
        sha256=digest.decode() if digest else "",
        link=decode(link) if link else b"",
        device=(int(major), int(minor)) if major else None,
        nlink=int(nlink or 1),
        inode=int(inode or 0),
        xattrs=_parse_xattrs(field, xattrs) if xattrs else (),
    )
    major_number, minor_number = entry.device or (0, 0)
    if entry.uid > _MAX_ID or entry.gid > _MAX_ID or entry.size >> 63:
        raise InvalidManifest(f"{printable(field)}: uid, gid or size out of range")
    if major_number > _MAX_MAJOR or minor_number > _MAX_MINOR:
        raise InvalidManifest(f"{printable(field)}: device number out of range")
    return entry


def content_digest(line: bytes) -> bytes:
    """Return the SHA-256 in the line of a file with content, b"" for any other line.

    The line is known to be one; what is looked for stands in no value, where spaces are encoded.
    """
    start = line.find(_DIGEST) + len(_DIGEST)
    if start < len(_DIGEST) or b" size=0 " in line:
        return b""
    return line[start : start + _DIGEST_SIZE]


def _check_keywords(field: bytes, kind: str, match: re.Match[bytes]) -> None:
    """Refuse keywords that do not belong to the entry's type, and missing ones."""
    nlink, size, seconds, link, device, digest = match.group(6, 8, 9, 11, 12, 14)
    wanted = (kind == "file", kind == "link", kind in ("char", "block"), kind == "file")
    if wanted != (size is not None, link is not None, device is not None, digest is not None):
        raise InvalidManifest(f"{printable(field)}: keywords do not fit type={kind}")
    if nlink is not None and (kind == "dir" or nlink == b"1"):
        raise InvalidManifest(
            f"{printable(field)}: nlink={nlink.decode()} does not fit type={kind}"
        )
    if kind == "link" and match[3] != b"0777":
        raise InvalidManifest(f"{printable(field)}: a symlink has mode=0777")
    if field == ROOT and kind != "dir":
        raise InvalidManifest("the root of the tree must be type=dir")
    if seconds == b"-0":
        raise InvalidManifest(f"{printable(field)}: time=-0 is not canonical")


def _parse_xattrs(field: bytes, text: bytes) -> tuple[tuple[bytes, bytes], ...]:
    xattrs: list[tuple[bytes, bytes]] = []
    previous = b""
    for word in text.split():
        name, _, value = word.removeprefix(b"xattr.").partition(b"=")
        if name <= previous:
            raise InvalidManifest(f"{printable(field)}: xattrs out of order or twice")
        previous = name
        try:
            decoded = b64decode(value, validate=True)
        except ValueError:
            decoded = b""
        if b64encode(decoded) != value:
            raise InvalidManifest(
                f"{printable(field)}: xattr.{printable(name)} is not canonical base64"
            )
        xattrs.append((decode(name), decoded))
    return tuple(xattrs)


def printable(text: bytes) -> str:
    """Return ``text``, a field or line as it is written, on one line of ASCII for a message."""
    shown = "".join(
        chr(byte) if 0x20 <= byte <= 0x7E else f"\\x{byte:02x}" for byte in text[:_SHOWN]
    )
    return shown + "..." if len(text) > _SHOWN else shown
