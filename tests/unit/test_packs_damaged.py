"""A pack that is damaged, or meets another tree than it was made for: refused, or of less use."""

from __future__ import annotations

import io
import random
from itertools import islice
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman.comparison import known_lines
from rootman.errors import InvalidInput
from rootman.packs.format import Role
from rootman.packs.gzipped import by_zlib
from rootman.packs.revision import revised
from rootman.packs.streams import PackFile, Streams
from rootman.packs.unpacking import unpack
from tests.builders import directory, file
from tests.fuzz.model import manifest_of
from tests.packing import (
    Files,
    Shelf,
    files_of,
    read,
    read_tree,
)

if TYPE_CHECKING:
    from tests.builders import Tree

SOURCE: Final = random.Random(3).randbytes(300)
_TEXT = b"".join(b"%d is a number like any other, " % number for number in range(60))
_GZIP = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03"


BEFORE: Final[Tree] = {
    ".": directory(),
    "a": file(SOURCE),
    "b.gz": file(by_zlib(_TEXT, _GZIP)),
    "lib-1": file(b"\x7fELF" + bytes(14) + b"\3\0" + SOURCE),
}
AFTER: Final[Tree] = {
    ".": directory(),
    "a": file(SOURCE[:100] + b"between" + SOURCE[100:]),
    "b.gz": file(by_zlib(_TEXT + b"more", _GZIP)),
    "lib-2": file(b"\x7fELF" + bytes(14) + b"\3\0" + SOURCE + b"end"),
    "new": file(_TEXT[::-1]),
}


def a_pack() -> bytes:
    shelf = Shelf()
    return shelf.pack(shelf.add(BEFORE), shelf.add(AFTER))


@pytest.fixture(scope="module")
def pack() -> bytes:
    return a_pack()


def right_or_refused(data: bytes) -> bool:
    """Read a pack as if it led from BEFORE to AFTER; return whether it was read to its end."""
    try:
        found = read_tree(data, BEFORE, AFTER)
    except InvalidInput:
        return False
    assert found.manifest == manifest_of(AFTER)
    assert found.files.items() <= files_of(AFTER).items()
    return True


def testa_pack_that_is_whole(pack: bytes) -> None:
    found = read_tree(pack, BEFORE, AFTER)

    assert found.files == files_of(AFTER)
    assert found.opened == [b"a", b"b.gz", b"lib-1", b""]
    assert not found.wrong


def testa_pack_that_is_cut_off_anywhere(pack: bytes) -> None:
    """PK-2: it is refused, and what was made before that is right."""
    whole = [size for size in range(len(pack)) if right_or_refused(pack[:size])]

    # All that can be missing is what says that a stream has ended.
    assert all(size > len(pack) - 10 for size in whole)


@given(st.data())
def testa_pack_with_wrong_bits(pack: bytes, data: st.DataObject) -> None:
    """PK-2."""
    wrong = bytearray(pack)
    for _ in range(data.draw(st.integers(1, 3))):
        wrong[data.draw(st.integers(0, len(pack) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    right_or_refused(bytes(wrong))


@given(st.binary(max_size=400))
def testa_pack_of_any_bytes(pack: bytes, data: bytes) -> None:
    """PK-2: after a header that is right."""
    right_or_refused(pack[: pack.index(b"\n") + 1] + data)


def testa_pack_for_other_trees(pack: bytes) -> None:
    """PK-2."""
    for old, new in ((AFTER, BEFORE), (BEFORE, BEFORE), ({}, AFTER), ({".": directory()}, AFTER)):
        with pytest.raises(InvalidInput):
            read_tree(pack, old, new)


@pytest.mark.parametrize("name", ["a", "b.gz", "lib-1"])
@pytest.mark.parametrize("content", [None, b"", b"changed here", SOURCE[::-1] * 9])
def test_a_changed_source_makes_one_wrong_file(
    pack: bytes, name: str, content: bytes | None
) -> None:
    """PK-2: the streams stay in step, so the others are right."""
    files = files_of(BEFORE)
    del files[name.encode()]
    if content is not None:
        files[name.encode()] = content

    found = read(pack, manifest_of(BEFORE), manifest_of(AFTER), files)

    assert found.wrong == [name.replace("1", "2").encode()]
    assert found.files.keys() == files_of(AFTER).keys() - found.wrong


@pytest.mark.parametrize("pieces", [0, 1])
def test_what_is_not_read_of_a_file_is_passed_over(pack: bytes, pieces: int) -> None:
    """PK-2: as where the disk is full, or the file is there already."""
    file = PackFile(io.BytesIO(pack), "pack")
    streams = Streams(file, file.header, "pack")
    old, new = (known_lines([manifest_of(tree)]) for tree in (BEFORE, AFTER))
    for _ in revised(old, streams[Role.MANIFEST], 10_000):
        pass
    found = {}
    for number, (entry, content) in enumerate(unpack(new, streams, Files(files_of(BEFORE)))):
        found[entry.path] = b"".join(islice(content, None if number % 2 else pieces))

    assert [len(found) for found in found.values()][1::2] == [
        len(files_of(AFTER)[path]) for path in list(found)[1::2]
    ]
    assert found[b"new"] == files_of(AFTER)[b"new"]
