"""Releases: the parser, the writer, and that the JSON schema says the same."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman.document import SIZE_LIMIT
from rootman.errors import InvalidInput
from rootman.release import (
    Bundle,
    Release,
    parse_release,
    parse_repository,
    serialise,
    serialise_repository,
)

SCHEMA = json.loads((Path(__file__).parents[2] / "spec" / "release.schema.json").read_text())
HASH = "0123456789abcdef" * 4
BASE: dict[str, Any] = {
    "name": "base",
    "manifest": HASH,
    "manifest_size": 100,
    "entries": 3,
    "includes": [],
    "description": "",
    "size": 12,
}
MORE: dict[str, Any] = {**BASE, "name": "more"}
GOOD: dict[str, Any] = {
    "format": 1,
    "name": "olpc",
    "version": 7,
    "timestamp": "2026-11-20T17:00:00Z",
    "bundles": [BASE],
    "compatible": ["olpc,xo-1.75"],
    "config": ["/etc"],
    "state": ["/var", "/home"],
    "minimum_rootman": "0.1",
}
MISSING = object()


def changed(path: str, value: object) -> dict[str, Any]:
    """Return GOOD with the key at ``path`` (``bundles/0/size``) set, or removed."""
    document = copy.deepcopy(GOOD)
    *parents, last = path.split("/")
    inner: Any = document
    for key in parents:
        inner = inner[int(key) if key.isdigit() else key]
    if value is MISSING:
        del inner[last]
    else:
        inner[last] = value
    return document


def parse(document: object) -> Release:
    return parse_release(json.dumps(document).encode(), "7.json")


ALSO_GOOD = [
    ("version", 1),
    ("version", 2**31 - 1),
    ("name", "a"),
    ("name", "my_os-2"),
    ("timestamp", "1970-01-01T00:00:00Z"),
    ("bundles", [BASE, {**BASE, "name": "extra"}]),
    (
        "bundles",
        [{**MORE, "includes": ["a", "b"]}, BASE, {**MORE, "name": "b"}, {**MORE, "name": "a"}],
    ),
    ("bundles/0/description", "Größe, 255 characters: " + "x" * 232),
    ("bundles/0/size", 2**63 - 1),
    ("bundles/0/entries", 0),
    ("compatible", []),
    ("config", ["/etc", "/usr/share/with space", "/größe", "/.hidden", "/..x", "/x.."]),
    ("state", []),
    ("minimum_rootman", "10.2.3"),
]

# What is wrong, and the word that the error must have.
BAD = [
    ("format", 2, "format 2 is newer"),
    ("format", 0, "format"),
    ("format", "1", "format"),
    ("format", MISSING, "format"),
    ("signature", "x", "signature: unknown key"),
    ("name", MISSING, "name: missing"),
    ("name", "", "name"),
    ("name", "Olpc", "name"),
    ("name", "-x", "name"),
    ("name", "a.b", "name"),
    ("name", "a/b", "name"),
    ("name", "current", "name"),
    ("name", "x" * 64, "name"),
    ("name", 7, "name: must be a text"),
    ("version", 0, "version"),
    ("version", -1, "version"),
    ("version", 2**31, "version"),
    ("version", True, "version"),
    ("version", "7", "version"),
    ("version", None, "version"),
    ("version", 7.5, "version"),
    ("timestamp", "2026-11-20 17:00:00", "timestamp"),
    ("timestamp", "2026-13-20T17:00:00Z", "timestamp"),
    ("timestamp", "2026-11-20T24:00:00Z", "timestamp"),
    ("bundles", [], "bundles"),
    ("bundles", {}, "bundles: must be a list"),
    ("bundles", [7], "bundles[0]: must be an object"),
    ("bundles", [{**BASE, "name": "other"}], "none is named base"),
    ("bundles/0/manifest", HASH.upper(), "bundles[0].manifest"),
    ("bundles/0/manifest", HASH[1:], "bundles[0].manifest"),
    ("bundles/0/size", -1, "bundles[0].size"),
    ("bundles/0/size", 2**63, "bundles[0].size"),
    ("bundles/0/size", True, "bundles[0].size"),
    ("bundles/0/size", MISSING, "bundles[0].size: missing"),
    ("bundles/0/what", 1, "bundles[0].what: unknown key"),
    ("bundles/0/includes", MISSING, "bundles[0].includes: missing"),
    ("bundles/0/includes", "more", "bundles[0].includes: must be a list"),
    ("bundles/0/includes", ["A"], "bundles[0].includes[0]"),
    ("bundles", [BASE, {**MORE, "includes": ["a", "a"]}], "includes: has an item twice"),
    ("bundles/0/description", MISSING, "bundles[0].description: missing"),
    ("bundles/0/description", None, "bundles[0].description: must be a text"),
    ("bundles/0/description", "a\nb", "bundles[0].description"),
    ("bundles/0/description", "\x9b31m", "bundles[0].description"),
    ("bundles/0/description", "x" * 256, "bundles[0].description"),
    ("compatible", ["x", "x"], "compatible: has an item twice"),
    ("compatible", "xo", "compatible: must be a list"),
    ("compatible", [""], "compatible[0]"),
    ("compatible", ["a b"], "compatible[0]"),
    ("compatible", [1], "compatible[0]: must be a text"),
    ("config", ["etc"], "config[0]"),
    ("config", ["/"], "config[0]"),
    ("config", ["/etc/"], "config[0]"),
    ("config", ["/a//b"], "config[0]"),
    ("config", ["/a/../b"], "config[0]"),
    ("config", ["/a/.."], "config[0]"),
    ("config", ["/./a"], "config[0]"),
    ("config", ["/a\nb"], "config[0]"),
    ("config", ["/a\0b"], "config[0]"),
    ("config", ["/\ud800"], "config[0]"),
    ("config", ["/etc", "/etc"], "config: has an item twice"),
    ("state", ["/ok", "no"], "state[1]"),
    ("minimum_rootman", "1.x", "minimum_rootman"),
    ("minimum_rootman", "01", "minimum_rootman"),
    ("minimum_rootman", 0.1, "minimum_rootman"),
]


@pytest.mark.parametrize(("path", "value"), [("version", 7), *ALSO_GOOD])
def test_parser_and_schema_accept(path: str, value: object) -> None:
    document = changed(path, value)

    parse(document)
    jsonschema.validate(document, SCHEMA)


@pytest.mark.parametrize(("path", "value", "message"), BAD)
def test_parser_and_schema_refuse(path: str, value: object, message: str) -> None:
    """RL-1: the error is one line that names the key."""
    document = changed(path, value)

    with pytest.raises(InvalidInput) as caught:
        parse(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)

    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith("7.json: ")


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_newer_format_says_what_to_do() -> None:
    """RL-3: whatever else the document has."""
    with pytest.raises(InvalidInput) as caught:
        parse({"format": 2, "anything": None})

    assert str(caught.value) == "7.json: format 2 is newer than this rootman understands"
    assert caught.value.hint == "update rootman first"


TEXT = json.dumps(GOOD)
# Documents that no schema sees: what JSON leaves open, and what is not JSON.
NOT_JSON = [
    (b"", "not a release"),
    (b"#mtree\n. type=dir mode=0755\n", "not a release"),
    (b"\x7fELF\x02\x01\x01\xff\xfe", "not UTF-8"),
    (TEXT.encode("utf-16"), "not UTF-8"),
    (b"\xef\xbb\xbf" + TEXT.encode(), "not a release"),
    (TEXT.encode()[:-1], "not a release"),
    (TEXT.encode() + b"x", "not a release"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"a":' * 100_000, "nested too deeply"),
    (b"[]", "not a JSON object"),
    (b"7", "not a JSON object"),
    (TEXT.replace("12}", "NaN}").encode(), "NaN is not JSON"),
    (TEXT.replace("12}", "-Infinity}").encode(), "-Infinity is not JSON"),
    (TEXT.replace('"version": 7', '"version": 7.0').encode(), "version"),
    (TEXT.replace('"version": 7', '"version": 7e0').encode(), "version"),
    (TEXT.replace('"version": 7', '"version": ' + "7" * 5000).encode(), "not a release"),
    (TEXT.replace('"version": 7', '"version": 7, "version": 8').encode(), "stands twice"),
    (TEXT.replace('"size": 12', '"size": 12, "size": 12').encode(), "key size stands twice"),
    (TEXT.encode() + b" " * SIZE_LIMIT, "larger than"),
    (json.dumps(changed("timestamp", "2026-02-30T00:00:00Z")).encode(), "calendar"),
    (json.dumps(changed("bundles", [BASE, BASE])).encode(), "bundles: has a name twice"),
    *(
        (json.dumps(changed("bundles", wrong)).encode(), said)
        for wrong, said in (
            ([{**BASE, "includes": ["more"]}, MORE], "bundles[0].includes: base includes nothing"),
            ([BASE, {**MORE, "includes": ["base"]}], "bundles[1].includes: base is no bundle"),
            ([BASE, {**MORE, "includes": ["other"]}], "bundles[1].includes: other is no bundle"),
            ([BASE, {**MORE, "includes": ["more"]}], "bundles: more includes more"),
            (
                [
                    BASE,
                    MORE,
                    {**MORE, "name": "a"},
                    {**MORE, "name": "b", "includes": ["more", "a"]},
                ],
                "bundles[3].includes: must be in ascending order",
            ),
            (
                [
                    BASE,
                    {**MORE, "name": "a", "includes": ["b"]},
                    {**MORE, "name": "b", "includes": ["a"]},
                ],
                "includes a",
            ),
        )
    ),
    (json.dumps(changed("state", ["/etc"])).encode(), "config and state both have /etc"),
    (json.dumps({**GOOD, "a\nb\x1b\ud800": 1}).encode(), "unknown key"),
    (json.dumps(changed("name", "a\n")).encode(), "name"),
    (json.dumps(changed("config", ["/etc\n"])).encode(), "config[0]"),
]


@pytest.mark.parametrize(("data", "message"), NOT_JSON)
def test_what_is_no_release_is_refused_in_one_line(data: bytes, message: str) -> None:
    """RL-2."""
    with pytest.raises(InvalidInput) as caught:
        parse_release(data, "7.json")

    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=200))
def test_no_bytes_are_a_traceback(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_release(data, "7.json")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(GOOD)), JSON_VALUES)
def test_no_value_is_a_traceback(key: str, value: object) -> None:
    try:
        release = parse({**GOOD, key: value})
    except InvalidInput as error:
        assert str(error).isprintable()  # noqa: PT017 - either is right
    else:
        assert parse_release(serialise(release), "again") == release


def test_a_release_is_what_was_written() -> None:
    release = Release(
        name="olpc",
        version=7,
        timestamp="2026-11-20T17:00:00Z",
        bundles=(Bundle("base", HASH, 100, 3, 12),),
        compatible=("olpc,xo-1.75",),
        config=("/etc",),
        state=("/var", "/home"),
    )

    data = serialise(release)

    assert parse_release(data, "7.json") == release == parse(GOOD)
    assert data == (json.dumps(GOOD, indent=2, sort_keys=True) + "\n").encode()


def test_the_base_bundle_is_found_wherever_it_stands() -> None:
    release = parse(changed("bundles", [{**BASE, "name": "a", "size": 1}, BASE]))

    assert release.base.size == 12


def test_includes_that_no_device_can_resolve_are_refused_at_any_length() -> None:
    """BU-4: whoever wrote them, and however many there are."""
    names = [f"b{number:04}" for number in range(3000)]
    bundles = [
        {**MORE, "name": name, "includes": [other], "manifest": "0" * 64}
        for name, other in zip(names, [*names[1:], names[0]], strict=True)
    ]

    with pytest.raises(InvalidInput, match=" includes ") as caught:
        parse(changed("bundles", [BASE, *bundles]))

    assert len(str(caught.value)) < 300


def test_an_invalid_release_is_not_written() -> None:
    release = parse(GOOD)

    for wrong in ("/a/..", "/\udcff"):
        with pytest.raises(InvalidInput):
            serialise(Release(**{**{k: getattr(release, k) for k in FIELDS}, "config": (wrong,)}))


FIELDS = Release.__slots__


@pytest.mark.parametrize(
    ("running", "too_old"),
    [("0.1.0", False), ("0.1", False), ("0.0.9", True), ("1", False), ("0.1.dev3", False)],
)
def test_it_says_which_rootman_is_too_old(running: str, too_old: bool) -> None:  # noqa: FBT001
    assert parse(GOOD).needs_newer(running) is too_old


def test_versions_of_rootman_are_compared_as_numbers() -> None:
    assert parse(changed("minimum_rootman", "0.10")).needs_newer("0.9")


def test_repository_file() -> None:
    assert parse_repository(serialise_repository("olpc"), "repository.json") == "olpc"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{}", "format"),
        (b'{"format": 1}', "name: missing"),
        (b'{"format": 1, "name": "A"}', "name"),
        (b'{"format": 1, "name": "a", "b": 1}', "b: unknown key"),
        (b'{"format": 3, "name": "a"}', "format 3 is newer"),
    ],
)
def test_a_wrong_repository_file_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_repository(data, "repository.json")
