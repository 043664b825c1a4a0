"""The store's own small files, and what a state says of its trees."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rootman.boot.first import TRIALS
from rootman.errors import InvalidInput
from rootman.names import MAX_VERSION, TreeNumber
from rootman.state import Seal, Settings, StoreState, Tree, parse_seal, parse_settings
from tests.numbers import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.numbers import Number

HASH = "0123456789abcdef" * 4
SEAL = Seal(version=7, manifest=HASH, entries=3, size=12, sealed_at=1_700_000_000)
SETTINGS = Settings("olpc", frozenset({number("6.10"), number(3), number("6.9")}), "olpc,xo-1.75")
NUMBERS = st.builds(TreeNumber, st.integers(1, MAX_VERSION), st.integers(0, MAX_VERSION))
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
SEALS = st.builds(
    Seal,
    version=st.integers(1, MAX_VERSION),
    revision=st.integers(0, MAX_VERSION),
    manifest=HASHES,
    entries=st.integers(0, 2**63),
    size=st.integers(0, 2**63),
    sealed_at=st.integers(-(2**40), 2**40),
    edits=st.integers(0, 2**63),
    parts=st.dictionaries(st.sampled_from("abc"), HASHES, max_size=3).map(
        lambda others: {"base": HASH, **others}
    ),
)
SETTINGS_OF_ALL_KINDS = st.builds(
    Settings,
    os_name=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True),
    pinned=st.frozensets(NUMBERS, max_size=5),
    compatible=st.text(max_size=20),
    first_boot=st.sampled_from(TRIALS),
    layer=st.sets(st.sampled_from(("htop", "g++", "a.b"))).map(tuple),
)


@given(SEALS)
@example(Seal(version=1, manifest=HASH, entries=0, size=0, sealed_at=0))
def test_a_seal_comes_back(seal: Seal) -> None:
    """ST-5: also one that was made in 1970."""
    assert parse_seal(seal.serialise(), "seal.json") == seal


@given(SETTINGS_OF_ALL_KINDS)
def test_settings_come_back(settings: Settings) -> None:
    """ST-13."""
    assert parse_settings(settings.serialise(), "state.json") == settings


def test_the_files_are_as_specified() -> None:
    """ST-5, ST-13: one line each, the keys sorted."""
    assert SEAL.serialise() == (
        b'{"bundles": [], "edits": 0, "entries": 3, "format": 1, "manifest": "%b",'
        b' "parts": {"base": "%b"}, "revision": 0, "sealed_at": 1700000000, "size": 12,'
        b' "version": 7}\n' % (HASH.encode(), HASH.encode())
    )
    assert SETTINGS.serialise() == (
        b'{"compatible": "olpc,xo-1.75", "format": 1, "name": "olpc",'
        b' "pinned": ["3", "6.9", "6.10"]}\n'
    )
    assert Settings("olpc", first_boot="passed").serialise() == (
        b'{"compatible": "", "first_boot": "passed", "format": 1, "name": "olpc", "pinned": []}\n'
    )


def document(of: Seal | Settings, **changes: object) -> bytes:
    """Return the file with these keys changed, or left out where they are ``...``."""
    found = {**json.loads(of.serialise()), **changes}
    return json.dumps({key: value for key, value in found.items() if value is not ...}).encode()


WRONG_SEALS: list[dict[str, Any]] = [
    {"version": "7"}, {"version": None}, {"version": True}, {"version": 7.0}, {"version": ...},
    {"revision": "0"}, {"revision": None}, {"revision": True}, {"revision": ...},
    {"manifest": 7}, {"manifest": None}, {"manifest": ...},
    {"entries": "3"}, {"entries": ...}, {"size": [12]}, {"size": ...}, {"edits": ...},
    {"sealed_at": "today"}, {"sealed_at": ...},
    {"parts": ...}, {"parts": None}, {"parts": []}, {"parts": {}}, {"parts": {"a": HASH}},
    {"parts": {"base": HASH[1:]}}, {"parts": {"base": HASH, "a": "../a"}}, {"parts": {"base": 7}},
    {"bundles": ...}, {"bundles": "a"}, {"bundles": ["base"]}, {"bundles": ["a"]}, {"bundles": [1]},
    {"parts": {"base": HASH, "a": HASH}, "bundles": ["a", "a"]}, {"bundles": [[]]},
]  # fmt: skip
WRONG_SETTINGS: list[dict[str, Any]] = [
    {"name": ...}, {"name": None}, {"name": 7}, {"name": ""}, {"name": "../olpc"}, {"name": "a/b"},
    {"name": "a\nb"}, {"name": "current"},
    {"pinned": ...}, {"pinned": 3}, {"pinned": None}, {"pinned": "36"}, {"pinned": [3]},
    {"pinned": ["3", None]}, {"pinned": ["03"]}, {"pinned": ["3.0"]}, {"pinned": ["olpc.3"]},
    {"pinned": [[3, 1]]}, {"pinned": [True]}, {"pinned": {"3": 1}},
    {"compatible": ...}, {"compatible": None}, {"compatible": ["x"]},
    {"first_boot": None}, {"first_boot": "due"}, {"first_boot": ["passed"]}, {"first_boot": 1},
]  # fmt: skip
WRONG_FORMATS: list[Any] = [2, 0, -1, "1", 1.0, True, None, [1], ...]
GARBAGE = [
    b"", b"\0" * 100, b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b"[" * 100_000,
    SEAL.serialise()[:-5], SEAL.serialise() * 2, b'{"format": ' + b"9" * 5_000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("changes", WRONG_SEALS)
def test_a_damaged_seal_is_refused(changes: dict[str, Any]) -> None:
    """ST-17."""
    refuse(parse_seal, document(SEAL, **changes), "damaged")


@pytest.mark.parametrize("changes", WRONG_SETTINGS)
def test_damaged_settings_are_refused(changes: dict[str, Any]) -> None:
    """ST-17: a name that leads out of the store is damage, too."""
    refuse(parse_settings, document(SETTINGS, **changes), "damaged")


@pytest.mark.parametrize("format_", WRONG_FORMATS)
def test_an_unknown_format_is_refused_with_a_way_out(format_: object) -> None:
    """ST-17."""
    for of, parse in ((SEAL, parse_seal), (SETTINGS, parse_settings)):
        error = refuse(parse, document(of, format=format_), "format .* is not known")
        assert error.hint == "update rootman first"


@pytest.mark.parametrize("data", GARBAGE)
def test_garbage_is_refused(data: bytes) -> None:
    """ST-17."""
    refuse(parse_seal, data, "damaged|format")
    refuse(parse_settings, data, "damaged|format")


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data: bytes) -> None:
    refuse(parse_seal, data, "damaged|format")
    refuse(parse_settings, data, "damaged|format")


def refuse(parse: Callable[[bytes, str], object], data: bytes, match: str) -> InvalidInput:
    """Check that ``data`` is refused in one line that names the file; return the error."""
    with pytest.raises(InvalidInput, match=match) as caught:
        parse(data, "/store/FILE")

    assert re.fullmatch(r"/store/FILE: [^\n\r]+", str(caught.value))
    return caught.value


def tree(written: Number, *, sealed: bool = True) -> Tree:
    found = number(written)
    seal = Seal(found.version, HASH, entries=1, size=0, sealed_at=0, revision=found.revision)
    return Tree(found, f"olpc.{found}", seal if sealed else None)


def test_a_state_finds_its_trees() -> None:
    """ST-4: the unsealed are there, and count for nothing."""
    state = StoreState(
        settings=SETTINGS,
        trees=(tree(3), tree(6), tree("6.1"), tree("6.10"), tree(9, sealed=False)),
        current=number(6),
        previous=None,
    )

    assert [one.state for one in state.trees] == [*["sealed"] * 4, "unsealed"]
    assert state.tree(number(6)) == tree(6)
    assert state.tree(number("6.1")) == tree("6.1")
    assert state.tree(number("6.2")) is None
    assert state.of_version(6) == (tree(6), tree("6.1"), tree("6.10"))
    assert state.of_version(4) == ()
    assert state.tree(number(9)) == tree(9, sealed=False)
    assert state.tree(number(4)) is None
    assert state.tree(None) is None
    assert state.sealed(number(6)) == tree(6)
    assert state.sealed(number(9)) is None
    assert state.sealed(None) is None
    assert state.newest == number("6.10")


def test_an_empty_store_has_no_newest_tree() -> None:
    state = StoreState(settings=SETTINGS, trees=(), current=None, previous=None)

    assert state.newest is None
