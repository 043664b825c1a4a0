"""Whole packs between any two trees, in memory."""

from __future__ import annotations

import lzma
import os
import random
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from rootman.errors import InvalidInput, SystemFailure
from rootman.manifest import path_field
from rootman.packs import differences, packing, revision
from rootman.packs.format import MEMORY_LIMIT, Coding, Role, parse_header
from rootman.packs.likeness import SMALLEST
from rootman.packs.matching import Alike, Wanted, wanted
from rootman.packs.packing import pack
from rootman.packs.recipe import Method
from rootman.packs.spool import _coding, _compress, _compressor
from tests.builders import Tree, char, directory, fifo, file, hardlink, symlink
from tests.fuzz.model import manifest_of
from tests.fuzz.trees import versions
from tests.packing import Shelf, chunks_of, digest_of, files_of, read_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootman.packs.differences import Made

OLD: Tree = {
    ".": directory(),
    "bin/one": file(b"one" * 100),
    "bin/two": file(b"two" * 100),
    "dev/null": char(1, 3),
    "lib/lib-1.2.so": file(bytes(range(256)) * 20),
    "shared": file(b"shared by many"),
}
NEW: Tree = {
    ".": directory(time=1),
    "bin/eins": hardlink("bin/one"),
    "bin/one": file(b"one" * 100 + b"!", xattrs={"user.a": b"1"}),
    "bin/zwei": file(b"two" * 100, 0o4755),
    "dev/zero": char(1, 5),
    "empty": file(),
    "lib/lib-1.3.so": file(bytes(range(256)) * 20 + b"more"),
    "link": symlink("shared"),
    "new/a": file(b"new"),
    "new/b": file(b"new"),
    "pipe": fifo(),
    "shared-too": file(b"shared by many"),
}


@pytest.fixture(autouse=True, scope="module")
def one_processor() -> Iterator[None]:
    """Have no processes started, which cost more than these trees are worth."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


def needed(old: Tree, new: Tree) -> dict[bytes, bytes]:
    """Return the files that a pack has to have, as a model finds them (PK-3)."""
    have = set(files_of(old).values())
    firsts: dict[bytes, bytes] = {}
    manifest = manifest_of(new)
    for path, content in files_of(new).items():
        if content not in have:
            other = firsts.get(content, path)
            place, best = (manifest.index(b"\n" + _field(one) + b" ") for one in (path, other))
            firsts[content] = path if place < best else other
    return {path: content for content, path in firsts.items()}


def _field(path: bytes) -> bytes:
    return path_field(path)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(versions(2))
def test_any_tree_is_made_of_any(trees: list[Tree]) -> None:
    """PK-1, PK-3, PK-8: a pack has what is needed, nothing else, and always the same bytes."""
    old, new = trees
    shelf = Shelf()
    names = shelf.add(old), shelf.add(new)
    for before, tree in (("", {}), (names[0], old)):
        data = shelf.pack(before, names[1])

        found = read_tree(data, tree, new)

        assert found.manifest == manifest_of(new)
        assert found.files == needed(tree, new)
        assert not found.wrong
        assert shelf.pack(before, names[1]) == data


def packed() -> tuple[bytes, Shelf]:
    shelf = Shelf()
    return shelf.pack(shelf.add(OLD), shelf.add(NEW)), shelf


def test_content_is_taken_from_wherever_it_is() -> None:
    """PK-3: what was moved, linked or given another mode is in no pack."""
    data, _ = packed()

    found = read_tree(data, OLD, NEW)

    assert set(found.files) == {b"bin/eins", b"lib/lib-1.3.so", b"new/a"}
    # The file bin/eins has no such path before it, nor any like it; a version is no difference.
    assert found.opened == [b"", b"lib/lib-1.2.so", b""]


def test_streams_come_in_the_order_of_use() -> None:
    """PK-6, PK-7."""
    data, _ = packed()
    roles = [role for role, part in chunks_of(data) if part]

    assert roles[:2] == [Role.MANIFEST, Role.FILES]
    assert set(roles) <= set(Role)


def test_windows_are_no_larger_than_their_streams() -> None:
    """PK-5: so a small pack needs little memory, and none more than a reader gives."""
    data, shelf = packed()
    small = parse_header(data[: data.index(b"\n") + 1], "pack")
    assert sum(one.window for one in small.codings) < 100_000
    whole = shelf.pack("", digest_of(manifest_of(NEW)))
    large = parse_header(whole[: whole.index(b"\n") + 1], "pack")
    assert sum(one.window for one in large.codings) <= MEMORY_LIMIT
    assert {one.codec for one in large.codings} == {"lzma2", "zstd"}


@pytest.mark.parametrize(
    ("role", "size", "fast", "codec"),
    [
        (Role.LITERAL, 32 << 20, False, "lzma2"),
        (Role.LITERAL, (32 << 20) + 1, False, "zstd"),
        (Role.LITERAL, 9, True, "zstd"),
        (Role.CODE, 32 << 20, False, "x86+lzma2"),
        (Role.DIFF, 1 << 30, False, "zstd"),
        (Role.SEEK, 1 << 30, False, "lzma2"),
        (Role.MANIFEST, 1 << 30, True, "lzma2"),
    ],
)
def test_what_would_take_long_is_compressed_by_zstd(
    role: Role, size: int, codec: str, *, fast: bool
) -> None:
    """PK-5: and all windows together are what a reader gives."""
    assert _coding(role, size, fast=fast).codec == codec
    assert sum(_coding(one, 1 << 40, fast=fast).window for one in Role) <= MEMORY_LIMIT


# --- files of the pack that are alike --------------------------------------------------

WORDS = [random.Random(number).randbytes(9).hex() for number in range(6000)]


def program(name: str, words: range) -> bytes:
    """Return a file of which no other has the name, with some of the ``WORDS``."""
    return "\n".join([name, *(WORDS[number] for number in words)]).encode()


FEW: Tree = {
    ".": directory(),
    "lib/gone.so": file(program("gone", range(3000, 4500))),
    "lib/kept.so": file(program("kept", range(1500))),
}
MORE: Tree = {
    ".": directory(),
    "bin/first": file(program("first", range(1400, 3000))),
    "bin/second": file(program("second", range(1410, 2990))),
    "lib/kept.so": file(program("kept", range(1500))),
    "lib/other.so": file(program("other", range(3100, 4500))),
}


def test_a_file_is_made_of_one_that_looks_like_it() -> None:
    """PK-3, PK-9: of one before it in the pack, or of one that has gone; of none that stays."""
    shelf = Shelf()
    data = shelf.pack(shelf.add(FEW), shelf.add(MORE))

    found = read_tree(data, FEW, MORE)

    assert found.files == needed(FEW, MORE)
    assert found.opened == [b"", b"lib/gone.so"]
    assert found.opened_made == [digest_of(program("first", range(1400, 3000)))]
    alone = shelf.pack(shelf.add(FEW), shelf.add({**MORE, "bin/second": file("short")}))
    assert len(data) - len(alone) < 600


def test_what_the_pack_makes_later_is_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """PK-4, PK-9: although the repository has it; a device has not."""

    def later(_task: Any, files: list[Wanted]) -> dict[str, Alike]:  # noqa: ANN401
        return {files[0].content.sha256: Alike(files[1].content, is_new=True)}

    monkeypatch.setattr(packing, "lookalikes", later)
    shelf = Shelf()

    with pytest.raises(SystemFailure, match="the pack just made does not make bin/first again"):
        shelf.pack(shelf.add(FEW), shelf.add(MORE))


def test_from_no_tree_nothing_is_made_of_another() -> None:
    """PK-3: for that, no comparison has to be installed."""
    shelf = Shelf()

    found = read_tree(shelf.pack("", shelf.add(MORE)), {}, MORE)

    assert found.files == needed({}, MORE)
    assert found.opened_made == []


# --- PK-4: each is made once for a test ------------------------------------------------


def other_bytes(made: Made) -> Made:
    streams = {role: data[:-1] + b"?" if data else data for role, data in made.streams.items()}
    return replace(made, streams=streams)


def _another_size(made: Made) -> Made:
    return replace(made, recipe=replace(made.recipe, size=made.recipe.size + 1))


def _another_source(made: Made) -> Made:
    return replace(made, recipe=replace(made.recipe, source=b"bin/two"))


def _another_head(made: Made) -> Made:
    return replace(made, recipe=replace(made.recipe, method=Method.ZLIB, head=b"head"))


def _another_batch(made: Made) -> Made:
    streams = {**made.streams, Role.FILES: made.streams[Role.FILES] * 2}
    return replace(made, streams=streams)


@pytest.mark.parametrize("spoil", [other_bytes, _another_source, _another_head, _another_batch])
def test_a_wrong_recipe_is_caught(spoil: Callable[[Made], Made]) -> None:
    """PK-4."""
    original = differences.best

    def best(new: bytes, candidates: Any) -> Made:  # noqa: ANN401 - passed through
        made = original(new, candidates)
        return spoil(made) if new == files_of(NEW)[b"lib/lib-1.3.so"] else made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "best", best)

        with pytest.raises((SystemFailure, InvalidInput), match="the pack just made"):
            packed()


def test_a_wrong_revision_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """PK-4: the manifest is made for a test as well."""
    original = revision.revise

    def revise(old: Any, new: Any) -> Iterator[bytes]:  # noqa: ANN401 - passed through
        for edit in original(old, new):
            yield edit.replace(b"mode=4755", b"mode=0755")

    monkeypatch.setattr(packing, "revise", revise)

    with pytest.raises(InvalidInput, match="the pack just made"):
        packed()


# --- a repository that is damaged ------------------------------------------------------


@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize("damage", ["missing", "other", "cut", "cut between lines"])
def test_a_damaged_manifest_is_named(version: Tree, damage: str) -> None:
    """PK-1, PK-4: also the old one, of which a pack could be made that is of no use."""
    shelf = Shelf()
    old, new = shelf.add(OLD), shelf.add(NEW)
    digest = digest_of(manifest_of(version))
    data = shelf.manifests.pop(digest)
    if damage == "other":
        shelf.manifests[digest] = data.replace(b"uid=0", b"uid=1")
    elif damage != "missing":
        cut = -10 if damage == "cut" else data.rindex(b"\n", 0, -1) + 1
        shelf.manifests[digest] = data[:cut]

    with pytest.raises(InvalidInput, match=digest):
        shelf.pack(old, new)


@pytest.mark.parametrize("content", [b"bin/one", b"lib/lib-1.2.so", b"lib/lib-1.3.so"])
@pytest.mark.parametrize("damage", ["missing", "other", "longer", "empty"])
def test_a_damaged_object_is_named(content: bytes, damage: str) -> None:
    """PK-1, PK-4."""
    shelf = Shelf()
    old, new = shelf.add(OLD), shelf.add(NEW)
    files = {**files_of(OLD), **files_of(NEW)}
    digest = digest_of(files[content])
    data = shelf.contents.pop(digest)
    if damage != "missing":
        shelf.contents[digest] = {"other": b"?" + data[1:], "longer": data * 2, "empty": b""}[
            damage
        ]

    with pytest.raises(InvalidInput, match=digest):
        shelf.pack(old, new)


def test_progress_is_told_through_all_phases() -> None:
    """Each begins after the one before, does not go back, and comes to its end."""
    shelf = Shelf()
    large = file(bytes(SMALLEST))
    old, new = shelf.add(OLD), shelf.add({**NEW, "large": large})
    heard: list[tuple[str, int, int]] = []
    task = replace(shelf.task(old, new), on_progress=lambda *told: heard.append(told))
    files = wanted(task)

    assert b"".join(pack(task, files))

    phases = [phase for phase, _ in groupby(heard, key=itemgetter(0))]
    assert phases == ["look", "compare", "compress", "test"]
    assert heard == sorted(heard, key=lambda one: (phases.index(one[0]), one[1]))
    last = {phase: (done, total) for phase, done, total in heard}
    assert last["look"] == (1, 1)
    assert last["compare"] == last["test"] == (4, 4)
    assert last["compress"][0] == last["compress"][1] > 0


def test_a_long_block_is_told_in_pieces() -> None:
    """Compression has a report for less than a second of its work."""
    data = random.Random(1).randbytes(4_000_000)
    heard: list[int] = []
    coding = Coding("lzma2", 1 << 20)

    packed = _compress(_compressor(Role.LITERAL, coding, len(data), 3), data, heard.append)

    assert len(heard) > 10
    assert heard == sorted(heard)
    assert heard[-1] == len(data)
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": coding.window}]
    assert lzma.decompress(packed, lzma.FORMAT_RAW, filters=filters) == data
