"""Packs made and read in wrong ways: each makes a claim void that a test then finds broken.

Those of a repository's disk are not here: they are as many as ``tests/fs/test_packs.py``
has faults.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from rootman.comparison import known_lines
from rootman.packs import (
    batches,
    delivery,
    differences,
    gzipped,
    matching,
    packing,
    recipe,
    revision,
    streams,
    unpacking,
    workshop,
)
from rootman.packs.format import CHUNK, Role
from rootman.packs.streams import Damaged, PackFile, Stream
from rootman.textstream import Hashed
from tests import packing as tests_packing
from tests.unit import (
    test_packs_batches,
    test_packs_damaged,
    test_packs_differences,
    test_packs_format,
    test_packs_hostile,
    test_packs_memory,
    test_packs_packing,
    test_packs_revision,
    test_packs_workshop,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pytest

    from rootman.packs.format import Codec
    from rootman.packs.way import Task

    Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Mutant:
    """``breaks`` is the id that is void, ``test`` what finds it."""

    name: str
    breaks: str
    test: Callable[[], object]
    apply: Callable[[Patch], None]

    def __str__(self) -> str:
        return self.name


def _set(module: Any, name: str, value: object) -> Callable[[Patch], None]:  # noqa: ANN401
    return lambda patch: patch.setattr(module, name, value)


# --- reading -------------------------------------------------------------------------


def _early_for_ever(self: PackFile, role: Role) -> bytes:
    """Keep whatever comes early, each chunk an object."""
    kept: list[list[bytes]] = self.__dict__.setdefault("kept", [[] for _ in Role])
    while not kept[role]:
        found, data = self._read()
        if found is None:
            return b""
        kept[found].append(data)
    return kept[role].pop(0)


def _any_chunk(self: PackFile) -> tuple[Role | None, bytes]:
    """Take a chunk for what it says it is."""
    head = self._exactly(3)
    if not head:
        return None, b""
    return Role(head[0] % len(Role)), self._exactly(int.from_bytes(head[1:], "little"))


def _line_without_end(self: Stream, limit: int) -> bytes:
    del limit
    line = bytearray()
    while not line.endswith(b"\n"):
        line += self.read(1)
    return bytes(line)


def _any_window(patch: Patch) -> None:
    """Leave it to the frame how much memory it takes."""
    original = streams._Zstandard.__init__

    def init(self: streams._Zstandard, source: streams.Chunks, role: Role, window: int) -> None:
        del window
        original(self, source, role, 1 << 30)

    patch.setattr(streams._Zstandard, "__init__", init)


def _long_numbers(self: Stream) -> int:
    found = place = 0
    while True:
        (byte,) = self.read(1)
        found |= (byte & 0x7F) << place
        if byte < 0x80:
            return found
        place += 7


def _not_passed_over(lines: Iterator[bytes], found: Any, sources: Any) -> Iterator[Any]:  # noqa: ANN401
    """Go on with the next file wherever the streams are."""
    files = found[Role.FILES]
    for _ in range(files.number()):
        entry = unpacking._entry(lines, files.number(), found.what)
        one = unpacking._recipe(entry, found)
        expanded = bool(one.method & recipe.Method.EXPANDED)
        with sources.open(one.source, expanded=expanded) as source:
            content = recipe.made(one, source, found)
            yield (
                entry,
                iter([recipe.compressed(one, b"".join(content))]) if one.zipped else content,
            )


def _any_path(found: Any) -> bytes:  # noqa: ANN401
    return unpacking._bytes(found, 1 << 20)


def _carried(one: bytes, other: bytes) -> bytes:
    """Add two strings as if they were numbers."""
    total = int.from_bytes(one, "little") + int.from_bytes(other, "little")
    return (total % (1 << 8 * len(one))).to_bytes(len(one), "little")


def _without_end(old: Iterator[bytes], stream: Stream, size: int) -> Iterator[bytes]:
    del size
    return revision._revised(old, stream)


def _count(text: bytes, stream: Stream) -> int:
    if not text.strip().isdigit():
        raise Damaged(stream.what)
    return int(text)


def _barren(codec: Codec) -> None:
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        test_packs_hostile.test_what_nothing_comes_of_is_refused(patch, codec)


READING: Final = (
    Mutant(
        "early chunks for ever",
        "PK-7",
        lambda: test_packs_hostile.test_chunks_may_be_early_up_to_a_limit(CHUNK),
        _set(PackFile, "take", _early_for_ever),
    ),
    Mutant(
        "early chunks as objects",
        "PK-12",
        test_packs_memory.test_early_chunks_are_no_larger_than_they_are,
        _set(PackFile, "take", _early_for_ever),
    ),
    Mutant(
        "any chunk",
        "PK-6",
        lambda: test_packs_hostile.test_what_is_no_chunk_is_refused(b"\x09\1\0x"),
        _set(PackFile, "_read", _any_chunk),
    ),
    Mutant(
        "lines without end",
        "PK-12",
        test_packs_format.test_a_line_has_its_limit,
        _set(Stream, "line", _line_without_end),
    ),
    Mutant(
        "any window",
        "PK-12",
        test_packs_memory.test_a_frame_that_wants_a_larger_window,
        _any_window,
    ),
    Mutant(
        "frames that are skipped for ever",
        "PK-7",
        lambda: _barren("zstd"),
        _set(streams._Feed, "read", lambda self, _size=0: self._source.take(self._role)),
    ),
    Mutant(
        "numbers of ten bytes",
        "PK-7",
        lambda: test_packs_format.test_a_number_of_ten_bytes_is_refused(b"\x80" * 9 + b"\x01"),
        _set(Stream, "number", _long_numbers),
    ),
    Mutant(
        "files that are not passed over",
        "PK-2",
        lambda: test_packs_damaged.test_what_is_not_read_of_a_file_is_passed_over(
            test_packs_damaged.a_pack(), 0
        ),
        _set(test_packs_damaged, "unpack", _not_passed_over),
    ),
    Mutant(
        "sources anywhere",
        "PK-11",
        lambda: test_packs_hostile.test_a_source_is_within_the_tree(b"../s"),
        _set(unpacking, "_path", _any_path),
    ),
    Mutant(
        "any method",
        "PK-11",
        lambda: test_packs_hostile.test_methods_that_cannot_be_are_refused(6),
        _set(recipe.Method, "possible", lambda _: True),
    ),
    Mutant(
        "any place in a source",
        "PK-10",
        lambda: test_packs_hostile.test_operations_stay_within_the_file(
            (0, 0, 10), (0,) * 3, (0,) * 3, (test_packs_hostile.LARGE - 1,) * 2 + (0,)
        ),
        _set(recipe, "_FURTHEST", 1 << 80),
    ),
    Mutant(
        "sums that are carried",
        "PK-10",
        test_packs_differences.test_bytes_are_added_modulo_256,
        _set(test_packs_differences, "added", _carried),
    ),
    Mutant(
        "any number of operations at a time",
        "PK-10",
        lambda: test_packs_hostile.test_records_that_cannot_be_are_refused(
            tests_packing.numbers(1, 1, 1, 0, 1 << 40, 0), "too many operations, or none"
        ),
        _set(batches, "OPERATIONS", 1 << 62),
    ),
    Mutant(
        "operations that make any number of bytes",
        "PK-12",
        test_packs_memory.test_one_operation_that_makes_all,
        _set(batches, "BYTES", 1 << 62),
    ),
    Mutant(
        "a source that is not waited for",
        "PK-9",
        test_packs_workshop.test_what_others_are_made_of_is_waited_for,
        _set(workshop._Desk, "wait", lambda _: None),
    ),
    Mutant(
        "a server that is waited for",
        "HT-3",
        test_packs_workshop.test_who_fails_does_not_wait_for_a_server,
        _set(delivery.Delivery, "_workshop", lambda _: workshop.Workshop()),
    ),
    Mutant(
        "a gzip file of any size",
        "PK-12",
        test_packs_memory.test_a_source_that_is_a_gzip_bomb,
        _set(gzipped, "EXPANDED_LIMIT", 1 << 40),
    ),
    Mutant(
        "manifests without end",
        "PK-8",
        lambda: test_packs_memory.test_a_manifest_without_end("zstd"),
        _set(test_packs_memory, "revised", _without_end),
    ),
    Mutant(
        "edits of no line",
        "PK-8",
        lambda: test_packs_revision.test_what_is_no_revision_is_refused(b"=0\n.\n"),
        _set(revision, "_count", _count),
    ),
)


# --- making --------------------------------------------------------------------------


def _untested(way: Any, streams: Any) -> Iterator[str]:  # noqa: ANN401
    """Take the streams one after the other without a look at what they make."""
    del way
    for role in Role:
        while True:
            try:
                streams[role].read(1)
            except Damaged:  # its end
                break
    yield ""


def _all_files(task: Task) -> list[matching.Wanted]:
    """Make every file, also those whose content there is."""
    lines = known_lines(task.manifest(task.new))
    return [matching.Wanted(index, one, None) for index, one in matching._files(lines)]


def _made_of_later(task: Task, files: list[matching.Wanted]) -> dict[str, matching.Alike]:
    """Make a file of one that comes behind it."""
    del task
    return {
        one.content.sha256: matching.Alike(other.content, is_new=True)
        for one, other in pairwise(files)
    }


def _without_windows(start: int, old_size: int, new_size: int) -> tuple[int, int]:
    """Look for every piece at the beginning."""
    del start, new_size
    return 0, min(old_size, 4096)


def _as_it_stands(values: Sequence[int], power: int) -> bytes:
    """Write one number after the other."""
    return b"".join(value.to_bytes(1 << power, "little") for value in values)


MAKING: Final = (
    Mutant(
        "a pack that nobody tested",
        "PK-4",
        lambda: test_packs_packing.test_a_wrong_recipe_is_caught(test_packs_packing.other_bytes),
        _set(packing, "unpacked", _untested),
    ),
    Mutant(
        "files that OLD has",
        "PK-3",
        test_packs_packing.test_content_is_taken_from_wherever_it_is,
        _set(tests_packing, "wanted", _all_files),
    ),
    Mutant(
        "files that are made of later ones",
        "PK-9",
        test_packs_packing.test_a_file_is_made_of_one_that_looks_like_it,
        _set(packing, "lookalikes", _made_of_later),
    ),
    Mutant(
        "objects of another content",
        "PK-4",
        lambda: test_packs_packing.test_a_damaged_object_is_named(b"lib/lib-1.2.so", "other"),
        _set(Hashed, "verify", lambda *_: None),
    ),
    Mutant(
        "numbers without their sign",
        "PK-10",
        test_packs_differences.test_a_file_is_made_of_any_other,
        _set(differences, "_signed", lambda value: value),
    ),
    Mutant(
        "runs that are one too long",
        "PK-10",
        test_packs_differences.test_long_runs_that_stay_are_copied,
        _set(differences, "_RUN", differences.re.compile(rb"\0{128,}.", differences.re.DOTALL)),  # type: ignore[attr-defined]
    ),
    Mutant(
        "a head without its name",
        "PK-9",
        lambda: test_packs_differences.test_gzip_headers_are_kept("name"),
        _set(differences, "_head_size", lambda _: 10),
    ),
    Mutant(
        "pieces compared with the beginning",
        "PK-10",
        test_packs_differences.test_a_large_file_finds_itself_again,
        _set(differences, "_window", _without_windows),
    ),
    Mutant(
        "batches of any size",
        "PK-10",
        test_packs_batches.test_large_operations_are_cut,
        _set(differences, "_cut", lambda operation: [operation]),
    ),
    Mutant(
        "blocks that zlib would make",
        "PK-9",
        test_packs_differences.test_blocks_that_gzip_ends_early,
        _set(differences, "block_sizes", lambda stream: iter([len(stream)])),
    ),
    Mutant(
        "columns that are not taken apart",
        "PK-10",
        test_packs_batches.test_numbers_stand_byte_by_byte,
        _set(batches, "_column", _as_it_stands),
    ),
)
