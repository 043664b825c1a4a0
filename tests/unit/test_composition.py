"""Manifests put together of parts, and taken apart again."""

from __future__ import annotations

import tracemalloc
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman import composition
from rootman.composition import composed, merged, without
from rootman.errors import InvalidManifest
from rootman.manifest import HEADER, MAX_LINE, line_path

if TYPE_CHECKING:
    from collections.abc import Iterator


def line(path: str, rest: str = "type=dir") -> bytes:
    return f"./{path} {rest}\n".encode()


def manifest(*lines: bytes) -> bytes:
    ordered = sorted(lines, key=line_path)
    return HEADER + b"".join(ordered)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


BASE = manifest(b". type=dir\n", line("a"), line("a-b"), line("a/x", "type=file size=1"), line("z"))
ONE = manifest(line("a/a"), line("b"), line("b/x"), line("zz"))
TWO = manifest(line("b"), line("b/y"), line("a/y" * 90))


@pytest.mark.parametrize("size", [1, 2, 7, 40, 100_000])
@pytest.mark.parametrize("parts", [c for n in range(3) for c in combinations((ONE, TWO), n)])
def test_a_whole_is_the_sorted_union_of_its_parts(size: int, parts: tuple[bytes, ...]) -> None:
    """BU-5: and without the lines of the others it is base again."""
    lines = {one for part in (BASE, *parts) for one in part.splitlines(keepends=True)[1:]}

    whole = b"".join(composed(cut(BASE, size), merged([cut(one, size + 1) for one in parts])))

    assert whole == manifest(*lines)
    back = without(cut(whole, size), merged([cut(one, 5) for one in parts]))
    assert b"".join(back) == BASE
    assert parts or whole == BASE


CONFLICTS = [
    ([manifest(line("z"))], "./z: two bundles do not agree on it"),
    ([manifest(line("a/x", "type=link"))], "./a/x: two bundles do not agree on it"),
    ([manifest(b". type=dir\n")], r"^\.: two bundles"),
    ([ONE, manifest(line("b", "type=fifo"))], "./b: two bundles do not agree on it"),
    ([ONE, manifest(line("c")), manifest(line("b/x", "type=fifo"))], "./b/x: two bundles"),
    ([b""], "the first line is not #mtree"),
    ([ONE[:-1]], "cut off"),
    ([HEADER + line("b") + line("a")], "out of order"),
    ([HEADER + line("b") + line("b")], "stands twice"),
]


@pytest.mark.parametrize(("parts", "said"), CONFLICTS)
@pytest.mark.parametrize("size", [3, 1000])
def test_parts_that_do_not_fit_are_refused(parts: list[bytes], said: str, size: int) -> None:
    """BU-6: a line of base, too, is no line of another."""
    with pytest.raises(InvalidManifest, match=said):
        list(composed(cut(BASE, size), merged([cut(one, size) for one in parts])))


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        (BASE[:-1], "cut off"),
        (HEADER + b"x" * (MAX_LINE + 1), "longer than"),
    ],
)
def test_a_base_that_is_none_is_refused(whole: bytes, said: str) -> None:
    with pytest.raises(InvalidManifest, match=said):
        list(composed(cut(whole, 1 << 16), merged([[ONE]])))


@pytest.mark.parametrize("gone", [line("b"), line("zz"), line("a/x", "type=fifo")])
def test_what_is_not_there_cannot_be_taken_out(gone: bytes) -> None:
    with pytest.raises(InvalidManifest, match="has not this line"):
        list(without([BASE], iter([gone])))


BLOCK = b"".join(line(f"usr/NNNN/{number:03}", "type=file " + "x" * 160) for number in range(1000))
BLOCKS = 200


def large() -> Iterator[bytes]:
    """Yield a manifest of some 36 MB."""
    yield HEADER
    for number in range(BLOCKS):
        yield BLOCK.replace(b"NNNN", b"%04d" % number)


def small() -> Iterator[bytes]:
    """Yield a manifest with a line in the midst of each block of the large one."""
    yield HEADER
    for number in range(BLOCKS):
        yield line(f"usr/{number:04}/500x")


def test_memory_does_not_grow_with_the_tree() -> None:
    """BU-5: put together and taken apart again, in 3 MB."""
    tracemalloc.start()
    try:
        made = composed(large(), merged([small()]))
        back = without(made, merged([small()]))
        sizes = sum(map(len, back)), sum(map(len, large()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert sizes[0] == sizes[1]
    assert peak < 3 << 20


def test_base_is_not_cut_into_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost is that of reading base, and of some steps for each line of the others."""
    original, steps = composition._field, 0

    def counted(block: bytes, start: int) -> bytes:
        nonlocal steps
        steps += 1
        return original(block, start)

    monkeypatch.setattr(composition, "_field", counted)

    assert sum(map(len, composed(large(), merged([small()])))) > BLOCKS * len(BLOCK)
    assert steps < 25 * BLOCKS


PATHS = st.text(alphabet="ab/-", min_size=1, max_size=5)


@given(st.dictionaries(PATHS, st.integers(0, 7), max_size=20), st.integers(1, 60))
def test_any_parts_make_one_whole(places: dict[str, int], size: int) -> None:
    """BU-5: a line is in base (0), or in those of three bundles whose bit is set."""
    lines = {line(path): place for path, place in places.items()}
    base = manifest(*(one for one, place in lines.items() if not place))
    parts = [manifest(*(one for one, place in lines.items() if place & bit)) for bit in (1, 2, 4)]

    whole = b"".join(composed(cut(base, size), merged([[one] for one in parts])))

    assert whole == manifest(*lines)
    assert b"".join(without(cut(whole, size), merged([[one] for one in parts]))) == base
