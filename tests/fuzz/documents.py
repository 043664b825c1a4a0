"""What a guided run begins with: valid documents of every kind, and words to put into them."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from array import array
from typing import TYPE_CHECKING, Final

from rootman import edits, release, seal, state
from rootman.boot.block import SIGNATURE, BootState, serialise_block
from rootman.comparison import compare
from rootman.manifest import HEADER
from rootman.packs.format import MAGIC, Coding, Role, chunk
from rootman.repo import index
from tests.builders import (
    Tree,
    block,
    char,
    directory,
    fifo,
    file,
    hardlink,
    symlink,
    unix_socket,
)
from tests.fuzz.metadata import SEEDS
from tests.fuzz.model import lines_of, manifest_of
from tests.numbers import number
from tests.packing import WINDOW, Shelf, chunks_of, header, stored

if TYPE_CHECKING:
    from collections.abc import Mapping

_HASH: Final = hashlib.sha256(b"").hexdigest()

OLD: Final[Tree] = {
    ".": directory(),
    "a": file("x", 0o4755, xattrs={"user.a": b"1", "user.b": b"\0"}),
    "a b\\#": symlink("../x y"),
    "c": char(1, 3),
    "d": directory(0o1777, time=-1),
    "d/x": hardlink("a"),
    "d/y": hardlink("a"),
    "e": file(),
}
NEW: Final[Tree] = {
    ".": directory(time=0),
    "a": directory(uid=2**32 - 2),
    "a/x": fifo(time=-1_500_000_000),
    "d": directory(0o1777, time=-1),
    "d/x": file("x", 0o4755),
    "d/y": hardlink("d/x"),
    "e": block(259, 1_048_575),
    "f\udcff": unix_socket(),
}

# One of each kind that the record of a pack can be about; noise, so that deltas are used.
_NOISE: Final = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(5))
PACK_OLD: Final[Tree] = {
    ".": directory(),
    "a": file(_NOISE),
    "b.gz": file(gzip.compress(_NOISE + b"old", mtime=0)),
    "lib-1": file(_NOISE[::-1]),
}
PACK_NEW: Final[Tree] = {
    ".": directory(),
    "a": file(_NOISE[:80] + b"!" + _NOISE[80:]),
    "b.gz": file(gzip.compress(_NOISE[50:] + b"new", mtime=0)),
    "lib-2": file(_NOISE[::-1] + b"2"),
    "new": file(b"new"),
}
# Between the streams of an input that is made a pack: their bytes are easier to change so.
STREAMS: Final = b"streams"
NEXT_STREAM: Final = b"\xf7\n\xf7"

_OLD, _NEW = manifest_of(OLD), manifest_of(NEW)
_RELEASE: Final = release.Release(
    name="olpc",
    version=7,
    timestamp="2026-10-31T17:00:00Z",
    bundles=(
        release.Bundle("base", _HASH, 100, 3, 12),
        release.Bundle("more", _HASH, 0, 0, 0, ("other",), "What is not for all"),
        release.Bundle("other", _HASH, 0, 0, 0),
    ),
    compatible=("olpc,xo-1.75",),
    config=("/etc", "/größe"),
    state=("/var", "/home"),
    minimum_rootman="0.1.2",
)
_INODES: Final = array(seal.INODE_TYPE, [0x0102030405060708 * one for one in (1, 3, 5, 7)])
_DIGESTS: Final = {".": bytes(16), "a b": b"d" * 16, "a b/\udcff": b"e" * 16}


def seeds(check: str) -> list[bytes]:
    """Return the inputs of ``check`` that its corpus begins with; each is valid."""
    return _SEEDS[check]


def _records() -> list[bytes]:
    """Return files of a seal record, compressed and (behind a zero byte) not."""
    packed = [seal.pack_inodes(_INODES), seal.pack_digests(_DIGESTS), seal.compressed(_OLD)]
    layer = b"htop g++\n./a 7 1700000000123456789\n./b\\040c 0 0\n"
    plain = [_INODES.tobytes(), b".\0a b\0\0" + bytes(32), _OLD, layer]
    return [b"\1" + one for one in packed] + [b"\0" + one for one in plain]


def _archives() -> list[bytes]:
    """Return files with a release, of the kinds of archives there are."""
    found = []
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
            for name in ("repository.json", "releases/7.json", f"packs/{_HASH}/empty.pack"):
                member = tarfile.TarInfo(name)
                member.size = 5
                archive.addfile(member, io.BytesIO(b"bytes"))
            member = tarfile.TarInfo("releases/8.json" + "/x" * 90)
            member.pax_headers = {"comment": "x"}
            archive.addfile(member)
        found.append(file.getvalue()[:4096])
    return found


def _packs() -> list[bytes]:
    """Return headers of packs, what follows one in chunks, and streams for chunks."""
    shelf = Shelf()
    whole = shelf.pack(shelf.add(PACK_OLD), shelf.add(PACK_NEW))
    parts = dict.fromkeys(Role, b"")
    for role, part in chunks_of(whole):
        parts[role] += part
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": WINDOW}]
    plain = {
        role: lzma.decompress(part, lzma.FORMAT_RAW, filters=filters) if part else b""
        for role, part in parts.items()
    }
    small = b"".join(
        chunk(role, data[at : at + 20])
        for role, data in ((role, stored(one)) for role, one in plain.items())
        for at in range(0, len(data), 20)
    )
    heads = [header(_HASH, _HASH, Coding("zstd", 1)).serialise(), header().serialise()]
    body = b"".join(chunk(role, part) for role, part in parts.items() if part)
    return [*heads, body, small, STREAMS + NEXT_STREAM.join(plain.values())]


def _parts() -> list[bytes]:
    """Return manifests of base and two bundles: such as fit, and of which two do not agree."""
    lines = lines_of(_OLD)
    base, one, two = (HEADER + b"".join(some) for some in (lines[::2], lines[1::2], lines[1::4]))
    other = HEADER + lines[1].replace(b"uid=0", b"uid=7")
    return [b"\x20" + b"\0".join(some) for some in ((base, one, two), (base, one, other))]


_SEEDS: Final[Mapping[str, list[bytes]]] = {
    "names": [b"./usr/bin/foo", b"./a\\040b\\134/\\377", b"."],
    "line": [*lines_of(_OLD), *lines_of(_NEW)],
    "streams": [b"\x10" + _OLD + b"\0" + _NEW, b"\xff" + _NEW + b"\0" + _OLD],
    "manifests": [_OLD + b"\0" + _NEW, _NEW + b"\0" + _OLD, _OLD + b"\0" + _OLD],
    "edits": [
        b"\x10" + old + b"\0" + edits.serialise(compare([old], [new]))
        for old, new in ((_OLD, _NEW), (_NEW, _OLD), (HEADER, _OLD), (_OLD, HEADER))
    ],
    "bundle": [
        b"# a comment\n/usr/bin/vim\n /a\\040b/\n\ninclude more\ndescription An editor\n",
        b"/a\t\r\n/b\xff\ninclude a\ninclude b",
    ],
    "composition": _parts(),
    "release": [release.serialise(_RELEASE), release.serialise_repository("olpc")],
    "index": [index.serialise_index([1, 7, 2147483647]), index.serialise_index([])],
    "state": [
        state.Seal(7, _HASH, 3, 12, -1).serialise(),
        state.Seal(
            7, _HASH, 3, 12, 1, 1, parts={"base": _HASH, "more": _HASH}, bundles=("more",)
        ).serialise(),
        state.Settings(
            "olpc", frozenset({number(3), number("6.1")}), "olpc,xo", "passed"
        ).serialise(),
        b'{"key": [["1", "x", 5], ["2.1", "", 6]], "sizes": {"1": [3, 4], "2.1": [0, 9]}}',
    ],
    "block": [
        serialise_block(BootState("olpc.7", 3, ("olpc.3", "olpc.5.1"), "olpc.6", "olpc.1")),
        serialise_block(BootState()),
    ],
    "record": _records(),
    "metadata": SEEDS,
    "pack": _packs(),
    "offline": _archives(),
    "configuration": [
        b'[[config]]\npaths = ["/etc/default/*"]\nmerge = "text"\n',
        b"root:x:0:0\n+::\n\0root:y:0:0\nnew:x:9:a,b\n",
        b"g:x:1:a,b\nh:x:2:\n\0g:x:1:b,c\n",
    ],
}

_LINE: Final = (
    b" type=", b"file", b"dir", b"link", b"char", b"block", b"fifo", b"socket", b" mode=0777",
    b" mode=0644", b" uid=0", b" gid=4294967295", b" nlink=2 inode=", b" size=0", b" time=-1.",
    b" time=0.000000000", b" link=", b" device=native,1,3", b" sha256digest=" + _HASH.encode(),
    b" xattr.user.a=", b"AA==", b"./", b"../", b"/", b"\\040", b"\\000", b"\\134", b"\n", b"\0",
    b"9223372036854775808", HEADER,
)  # fmt: skip
_PACK: Final = (
    b"\xff" * 8 + b"\x7f", b"\xfe" + b"\xff" * 7 + b"\x7f", b"\x80" * 9 + b"\1", b"\1\0\0",
    NEXT_STREAM, b"../a", b"/a", b"\4../a", b".", b"..", b"=1\n", b"-1\n", b"~uid=1\n", b"+",
    b".\n", MAGIC, b"zstd", b"x86+lzma2", b"\x1f\x8b\x08",
    *(bytes([number]) + b"\1\0" for number in range(9)),
)  # fmt: skip
_TAR: Final = (
    b"ustar\0" + b"00", b"ustar  \0", b"path=releases/7.json\n", b"size=99999999999\n",
    b"\xff" * 12, b"\x80" + b"\0" * 11, b"77777777777\0", b"0000000\0",
    b"GNU.sparse.map=0,1\n", b"L", b"x", b"g", b"S", b"releases/7.json\0", bytes(512),
)  # fmt: skip
_BLOCK: Final = (
    SIGNATURE, b"rootman_pending=", b"rootman_tries=", b"rootman_bad=", b"rootman_once=",
    b"rootman_rescue=", b"rootman_limit=",
    b"olpc.7", b"olpc.70.1", b" ", b"\n", b"#", b"=", b"12", b"\xb2",
    b"o" * 63 + b".2147483647.2147483647",
)  # fmt: skip
_JSON: Final = (
    b'"', b"{", b"}", b"[", b"]", b", ", b": ", b"null", b"true", b"NaN", b"-Infinity", b"1e999",
    b"-1", b"9223372036854775808", b"\\ud800", b"\\u0000",
)  # fmt: skip


def words(check: str) -> tuple[bytes, ...]:
    """Return what may be put anywhere into an input of ``check``."""
    if check in ("release", "index", "state", "metadata"):
        return _JSON
    if check in ("pack", "offline"):
        return _PACK if check == "pack" else _TAR
    if check == "block":
        return _BLOCK
    return _LINE if check != "record" else (b"\x28\xb5\x2f\xfd", b"\0\0", bytes(16))


def dictionary(check: str) -> str:
    """Return ``words`` as the file that libFuzzer wants."""
    return "".join(
        '"{}"\n'.format("".join(f"\\x{byte:02x}" for byte in word)) for word in words(check)
    )
