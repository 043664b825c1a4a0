"""Streams of manifest lines, against models that hold everything in memory."""

from __future__ import annotations

import itertools
import random
import re
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rootman import comparison
from rootman.comparison import (
    Change,
    any_below,
    compare,
    known_lines,
    lines,
    lines_within,
    select,
)
from rootman.errors import InvalidManifest
from rootman.manifest import HEADER, MAX_LINE, line_path
from tests.unit.entries import cut, entries, line, sorted_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FEW = ("a", "a-b", "a/b", "a/b c", "a/b/c", "a0", "b", "b/a", "\\", "z")
SMALL = st.lists(
    st.builds(
        line, st.sampled_from(FEW), st.sampled_from(("file", "dir")), content=st.sampled_from("xy")
    ),
    unique_by=line_path,
).map(lambda found: sorted(found, key=line_path))
ANY = st.lists(entries(), max_size=6, unique_by=lambda one: one.path).map(sorted_lines)
FIELDS = st.lists(st.sampled_from(FEW), unique=True).map(
    lambda found: sorted(line_path(line(path)) for path in found)
)
CUTS = st.lists(st.integers(0, 700), max_size=12)


def stream(found: Sequence[bytes], cuts: Sequence[int] = ()) -> Iterator[bytes]:
    """Return the manifest with these lines, cut at these places."""
    data = HEADER + b"".join(found)
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    for start, stop in itertools.pairwise(places):
        yield data[start:stop]


def model(old: Sequence[bytes], new: Sequence[bytes]) -> list[Change]:
    """Return what ``compare`` should yield, from two dictionaries."""
    ours, theirs = ({line_path(one): one for one in found} for found in (old, new))
    return [
        Change(
            field,
            ours.get(field),
            theirs.get(field),
            sum(line_path(one) < field for one in old),
            sum(line_path(one) < field for one in new),
        )
        for field in sorted(ours.keys() | theirs.keys())
        if ours.get(field) != theirs.get(field)
    ]


def tree_of(count: int, seed: int) -> dict[bytes, bytes]:
    """Return lines by path field; some are long, as those with many xattrs are."""
    rng = random.Random(seed)
    found = {}
    for number in range(count):
        one = line(f"d{rng.randrange(20)}/{number:05}", content="c" * rng.randrange(1, 5))
        if rng.random() < 0.01:
            one = one[:-1] + b" xattr.user.x=" + b"QUFB" * rng.choice((100, 5_000, 60_000)) + b"\n"
        found[line_path(one)] = one
    return found


def edited(found: dict[bytes, bytes], edits: int, seed: int) -> dict[bytes, bytes]:
    rng = random.Random(seed)
    changed = dict(found)
    for _ in range(edits):
        path = rng.choice(list(changed))
        kind = rng.randrange(3)
        if kind == 0:
            del changed[path]
        elif kind == 1:
            changed[path] = changed[path].replace(b"uid=0", b"uid=1")
        else:
            one = line(f"d{rng.randrange(20)}/new{rng.randrange(10**6)}")
            changed[line_path(one)] = one
    return changed


def ordered(found: dict[bytes, bytes]) -> list[bytes]:
    return [found[path] for path in sorted(found)]


@given(SMALL, SMALL, CUTS, CUTS)
@example([], [], [], [])
@example([line("a")], [], [], [])
@example([], [line("a")], [0, 3, 7, 7, 8], [])
def test_a_comparison_is_that_of_sets(
    old: list[bytes], new: list[bytes], old_cuts: list[int], new_cuts: list[int]
) -> None:
    """MF-2: wherever the streams are cut."""
    assert list(compare(stream(old, old_cuts), stream(new, new_cuts))) == model(old, new)


@given(ANY, ANY, st.lists(st.booleans(), min_size=12, max_size=12))
def test_any_entries_are_compared(old: list[bytes], new: list[bytes], keep: list[bool]) -> None:
    both = {line_path(one): one for one in new}
    both.update((line_path(one), one) for one, kept in zip(old, keep, strict=False) if kept)
    mixed = ordered(both)

    assert list(compare(stream(old), stream(mixed))) == model(old, mixed)


@pytest.mark.parametrize("size", [*range(1, 40), 512, 513, 4096])
def test_chunks_may_end_anywhere(size: int) -> None:
    old = [line(path) for path in sorted(("a", "b", "b/c", "d", "e"))]
    new = [line(path, content="y" if path == "d" else "x") for path in ("a", "b", "c", "d", "f")]
    data = HEADER + b"".join(old), HEADER + b"".join(new)

    assert list(compare(cut(data[0], size), cut(data[1], 100))) == model(old, new)
    assert list(compare(cut(data[0], 100), cut(data[1], size))) == model(old, new)


@pytest.mark.parametrize("seed", range(12))
def test_long_and_many_lines_are_compared(seed: int) -> None:
    """Blocks grow and shrink, lines are longer than blocks, chunks are what they are."""
    rng = random.Random(seed)
    old = tree_of(3_000, seed)
    new = edited(old, rng.choice((0, 1, 5, 300)), seed)
    sizes = [rng.choice((700, 65_536, 262_144, 10**9)) for _ in range(2)]
    streams = [
        cut(HEADER + b"".join(ordered(one)), size)
        for one, size in zip((old, new), sizes, strict=True)
    ]

    assert list(compare(*streams)) == model(ordered(old), ordered(new))


@given(SMALL, CUTS)
def test_a_manifest_is_itself(found: list[bytes], cuts: list[int]) -> None:
    assert list(compare(stream(found), stream(found, cuts))) == []
    assert list(lines(stream(found, cuts))) == found


@given(SMALL, SMALL, st.data())
def test_lines_out_of_order_are_refused(
    old: list[bytes], new: list[bytes], data: st.DataObject
) -> None:
    """MF-2, MF-13: also where both manifests have these lines, and where one stands twice."""
    twice = data.draw(st.lists(st.sampled_from(new), max_size=1)) if new else []
    wrong = data.draw(st.permutations(new + twice))
    if wrong == sorted(set(wrong), key=line_path):
        return

    for found in (compare(stream(old), stream(wrong)), lines(stream(wrong))):
        with pytest.raises(InvalidManifest, match=r"line [0-9]+: \S+ stands (twice|out of order)$"):
            list(found)


@pytest.mark.parametrize("place", [0, 1, 500, 1_000, 1_999])
@pytest.mark.parametrize("kind", ["twice", "out of order"])
def test_a_wrong_line_is_found_wherever_it_stands(place: int, kind: str) -> None:
    """MF-2: the order of what is skipped counts as well."""
    old = [line(f"{number:04}") for number in range(2_000)]
    new = old.copy()
    if kind == "twice":
        new.insert(place, old[place])
    else:
        new.insert(0 if place > 1_000 else 2_000, new.pop(place))
    if new == old:
        pytest.skip("in order after all")

    with pytest.raises(InvalidManifest, match=f"stands {kind}"):
        list(compare(stream(old), stream(new)))


@given(SMALL, st.integers(1, 400))
def test_a_manifest_that_is_cut_off_is_refused(found: list[bytes], missing: int) -> None:
    """MF-1: the last line has its newline; what is cut off between lines is for the hash to say."""
    data = HEADER + b"".join(found)
    short = data[: max(len(data) - missing, 0)]
    whole = short == HEADER or (short.endswith(b"\n") and len(short) > len(HEADER))

    for read in (compare([data], [short]), compare([short], [data]), lines([short])):
        if whole:
            list(read)
            continue
        with pytest.raises(InvalidManifest):
            list(read)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"#", b"#mtree", b"#mtree v2.0\n", b"#MTREE\n", b" #mtree\n",
        b"\x28\xb5\x2f\xfd", b"\n#mtree\n", b"#mtree\r\n", line("a"), b"\x7fELF", b"{}",
    ],
)  # fmt: skip
def test_what_is_no_manifest(data: bytes) -> None:
    """MF-1."""
    for read in (
        compare([HEADER], [data]),
        compare([data], [HEADER]),
        lines([data]),
        select([data], [b"./a"]),
    ):
        with pytest.raises(InvalidManifest, match=r"#mtree|cut off"):
            list(read)
    with pytest.raises(InvalidManifest):
        any_below([data], [b"./a"])


@given(st.binary(max_size=300), CUTS)
def test_garbage_raises_nothing_else(garbage: bytes, cuts: list[int]) -> None:
    """MF-13, EX-3: and what it says is one line."""
    for wrong in (garbage, HEADER + garbage, HEADER + line("a") + garbage):
        try:
            list(compare(stream([line("a"), line("b")], cuts), [wrong]))
        except InvalidManifest as error:
            message = str(error)
        else:
            continue
        assert re.fullmatch(r"[ -~]+", message)


def test_a_line_has_an_end() -> None:
    """MF-5: memory does not grow with what a hostile manifest calls a line."""

    def endless() -> Iterator[bytes]:
        yield HEADER
        yield line("a")
        while True:
            yield b"x" * 65_536

    for read in (lines(endless()), compare([HEADER], endless()), select(endless(), [b"./b"])):
        with pytest.raises(InvalidManifest, match=f"line 3: longer than {MAX_LINE} bytes"):
            list(read)
    with pytest.raises(InvalidManifest, match=f"line 3: longer than {MAX_LINE} bytes"):
        any_below(endless(), [b"./b"])


def test_the_longest_line_is_read() -> None:
    """MF-5."""
    longest = line("a")[:-1]
    longest += b" xattr.user.x=" + b"QUFB" * ((MAX_LINE - len(longest) - 15) // 4) + b"\n"
    data = HEADER + longest + line("b")

    assert list(lines(cut(data, 65_536))) == [longest, line("b")]
    assert list(compare([HEADER], cut(data, 1_000))) == model([], [longest, line("b")])
    assert list(compare([HEADER, longest], cut(data, 65_536))) == model(
        [longest], [longest, line("b")]
    )
    assert list(select(cut(data, 65_536), [b"./b"])) == [(b"./b", line("b"))]


@given(SMALL, FIELDS, CUTS)
def test_lines_are_looked_up(found: list[bytes], fields: list[bytes], cuts: list[int]) -> None:
    there = {line_path(one): one for one in found}

    assert list(select(stream(found, cuts), fields)) == [
        (field, there[field]) for field in fields if field in there
    ]


@pytest.mark.parametrize("seed", range(6))
def test_lines_are_looked_up_in_large_manifests(seed: int) -> None:
    rng = random.Random(seed)
    found = tree_of(3_000, seed)
    fields = rng.sample(sorted(found), rng.choice((1, 20, 2_000)))
    fields += [field + b"x" for field in rng.sample(sorted(found), 20)]
    data = HEADER + b"".join(ordered(found))

    picked = list(select(cut(data, rng.choice((1_000, 262_144))), sorted(fields)))

    assert picked == [(field, found[field]) for field in sorted(fields) if field in found]


def below(found: Sequence[bytes], fields: Sequence[bytes]) -> set[bytes]:
    prefixes = tuple(field + b"/" for field in fields)
    return {line_path(one) for one in found if prefixes and line_path(one).startswith(prefixes)}


@given(SMALL, FIELDS, CUTS)
@example([line("a/b")], [b"./a"], [len(HEADER)])
@example([line("a/b"), line("a/c")], [b"./a"], [len(HEADER)])
def test_what_is_below_a_directory_is_found(
    found: list[bytes], fields: list[bytes], cuts: list[int]
) -> None:
    expected = below(found, fields)

    one = any_below(stream(found, cuts), fields)

    assert one in expected if expected else one is None


@pytest.mark.parametrize("size", [700, 65_536, 262_144, 10**9])
def test_what_is_below_is_found_far_apart(size: int) -> None:
    """MF-2: ``./a-b/x`` comes before ``./a/x``, though ``./a`` comes before ``./a-b``."""
    paths = ["a-b/x", *(f"a.{number:05}" for number in range(2_000)), "b"]
    data = HEADER + b"".join(sorted(map(line, paths)))

    assert any_below(cut(data, size), [b"./a", b"./a-b"]) == b"./a-b/x"
    assert any_below(cut(data, size), [b"./a", b"./a.00500", b"./b"]) is None


@pytest.mark.parametrize("seed", range(6))
def test_what_is_below_is_found_in_large_manifests(seed: int) -> None:
    rng = random.Random(seed)
    found = tree_of(3_000, seed)
    fields = [b"./d%d" % number for number in rng.sample(range(40), 3)]
    data = HEADER + b"".join(ordered(found))
    expected = below(ordered(found), fields)

    one = any_below(cut(data, rng.choice((700, 262_144))), sorted(fields))

    assert one in expected if expected else one is None


@given(SMALL, st.integers(0, 8), st.one_of(st.none(), st.integers(0, 12)), CUTS)
def test_a_range_of_lines_is_read(
    found: list[bytes], start: int, stop: int | None, cuts: list[int]
) -> None:
    assert list(known_lines(stream(found, cuts), start, stop)) == found[start:stop]


@given(SMALL, FIELDS.filter(bool), FIELDS, CUTS)
@example([line("a", "dir"), line("a-b"), line("a/b")], [b"./a", b"./a-b"], [], [])
@example([line("a", "dir"), line("a-b"), line("a/b")], [b"./a/b"], [b"./a", b"./b"], [3, 40])
def test_what_is_at_paths_and_below_them(
    found: list[bytes], fields: list[bytes], alone: list[bytes], cuts: list[int]
) -> None:
    """A path and what is below it may have others between them, asked for or not."""

    def is_within(field: bytes) -> bool:
        below = any(field == one or field.startswith(one + b"/") for one in fields)
        return below or field in alone

    wanted = [(number, one) for number, one in enumerate(found) if is_within(line_path(one))]
    assert list(lines_within(stream(found, cuts), fields, alone)) == wanted


@pytest.mark.parametrize("size", [100, 65_536, 10**9])
def test_ranges_add_up(size: int) -> None:
    """What the workers of a clone get is the whole manifest, each line once."""
    found = ordered(tree_of(1_000, 1))
    data = HEADER + b"".join(found)
    edges = [0, 1, 333, 334, 700, 1_000]

    parts = [list(known_lines(cut(data, size), *pair)) for pair in itertools.pairwise(edges)]

    assert list(itertools.chain.from_iterable(parts)) == found


BLOCK = b"".join(line(f"usr/NNNN/{number:03}") for number in range(1_000))


def generated(size: int, changed: int | None = None) -> Iterator[bytes]:
    """Yield a manifest of ``size`` bytes or a little more; block ``changed`` differs in a line."""
    yield HEADER
    for number in range(size // len(BLOCK) + 1):
        data = BLOCK.replace(b"NNNN", b"%04d" % number)
        if number == changed:
            data = data.replace(b"/500 type=file mode=0644", b"/500 type=file mode=0755")
        yield data


@pytest.mark.parametrize("job", ["compare", "lines", "select"])
def test_memory_does_not_grow_with_the_tree(job: str) -> None:
    """MF-2: streams of 50 MB each pass through less than 2 MB."""
    size = 50 << 20
    tracemalloc.start()
    try:
        if job == "compare":
            changes = list(compare(generated(size), generated(size, changed=200)))
            assert [change.field for change in changes] == [b"./usr/0200/500"]
        elif job == "lines":
            assert sum(1 for _ in lines(generated(size))) > 200_000
        else:
            field = b"./usr/0200/500"
            assert [one for one, _ in select(generated(size), [field])] == [field]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 2 << 20


def test_a_block_is_passed_without_cutting_it_into_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a comparison is that of reading, where nothing changes."""
    found = [line(f"{number:06}") for number in range(20_000)]
    seen = 0
    original = comparison._Cursor.line

    def counted(cursor: comparison._Cursor) -> bytes | None:
        nonlocal seen
        seen += 1
        return original(cursor)

    monkeypatch.setattr(comparison._Cursor, "line", counted)
    new = found.copy()
    new[10_000] = line("010000", content="y")

    assert len(list(compare(stream(found), stream(new)))) == 1
    assert seen < 50
