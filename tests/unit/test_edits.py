"""Edits of manifests: every pair of manifests, and every way to damage them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rootman.comparison import Change, compare
from rootman.edits import compose, edited, inverted, parse, serialise
from rootman.errors import InvalidManifest
from rootman.manifest import HEADER

# A manifest in short: which of these paths it has, and each one's mode.
_MANIFESTS = st.dictionaries(
    st.sampled_from([f"./{name}" for name in "abcdefghij"]), st.sampled_from(["0644", "0755"])
)
# The end of one path is another: ``./a./b`` goes on as ``./b``.
_ALIKE = {"./a./b": "0644", "./b": "0644"}


def manifest(modes: dict[str, str]) -> list[bytes]:
    lines = [f"{path} type=file mode={mode}\n".encode() for path, mode in sorted(modes.items())]
    return [HEADER, *lines]


def edits(one: dict[str, str], other: dict[str, str]) -> list[Change]:
    return list(compare(manifest(one), manifest(other)))


@given(_MANIFESTS, _MANIFESTS, st.integers(1, 64))
@example(_ALIKE, {"./a./b": "0644"}, 1_000)
@example(_ALIKE, {"./b": "0644"}, 1_000)
def test_edited(one: dict[str, str], other: dict[str, str], size: int) -> None:
    """ST-19: the manifest is had again, however the stream is cut."""
    base = b"".join(manifest(one))
    stream = [base[at : at + size] for at in range(0, len(base), size)]

    assert b"".join(edited(stream, edits(one, other))) == b"".join(manifest(other))


@given(_MANIFESTS, _MANIFESTS)
def test_the_file(one: dict[str, str], other: dict[str, str]) -> None:
    """ST-19."""
    found = edits(one, other)

    assert list(parse(serialise(found))) == found


@given(_MANIFESTS, _MANIFESTS, _MANIFESTS)
def test_compose(one: dict[str, str], two: dict[str, str], three: dict[str, str]) -> None:
    """As if the first had been compared with the last."""
    assert list(compose(edits(one, two), edits(two, three))) == edits(one, three)


@given(_MANIFESTS, _MANIFESTS)
def test_inverted(one: dict[str, str], other: dict[str, str]) -> None:
    """As if the last had been compared with the first."""
    assert list(inverted(edits(one, other))) == edits(other, one)


@pytest.mark.parametrize(
    "data",
    [
        b"x0 ./a type=file\n", b"-x ./a type=file\n", b"-0 ./a type=file", b"-0\n", b"+-1 ./a x\n",
        b"-" + b"9" * 5_000 + b" ./a x\n",
    ],
)  # fmt: skip
def test_a_damaged_file(data: bytes) -> None:
    with pytest.raises(InvalidManifest, match="damaged"):
        list(parse(data))


@pytest.mark.parametrize(
    "change",
    [
        Change(b"./b", b"./b type=file mode=0755\n", None, 1, 1),
        Change(b"./c", b"./c type=file mode=0644\n", None, 2, 2),
        Change(b"./d", None, b"./d type=file mode=0644\n", 3, 3),
        Change(b"./a", None, b"./a type=file mode=0644\n", -2, 0),
    ],
)
def test_edits_to_another_manifest(change: Change) -> None:
    with pytest.raises(InvalidManifest, match="do not fit"):
        list(edited(manifest({"./a": "0644", "./b": "0644"}), [change]))
