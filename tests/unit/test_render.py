"""Text for people: sizes, counts, tables, and names that are no text."""

from __future__ import annotations

import pytest

from cli.render import count, moment, path, printable, readable, size, table


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "?"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_500_000, "1.4 MiB"),
        (3 << 30, "3.0 GiB"),
        (5 << 40, "5.0 TiB"),
        (5000 << 40, "5000.0 TiB"),
    ],
)
def test_sizes(number: int | None, text: str) -> None:
    assert size(number) == text


def test_counts() -> None:
    assert [count(number, "tree") for number in (0, 1, 2)] == ["0 trees", "1 tree", "2 trees"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain -> text", "plain -> text"),
        ("two\nlines\t\x1b[31m\x7f", r"two\x0alines\x09\x1b[31m\x7f"),
        ("caf\xe9 \udce9", r"caf\xe9 \udce9"),
    ],
)
def test_what_is_shown_is_one_line_of_ascii(text: str, shown: str) -> None:
    """EX-3."""
    assert printable(text) == shown


def test_json_keeps_letters_and_escapes_what_is_none() -> None:
    assert readable("caf\xe9 \udce9") == "caf\xe9 \\udce9"


def test_paths_are_spelt_as_in_a_manifest() -> None:
    assert path(b"a b\n\xe9") == r"a\040b\012\351"


def test_a_table_is_aligned() -> None:
    rows = [("name", "size", "note"), ("a", "10", ""), ("long name", "9", "x")]

    assert table(rows, right=frozenset({1})) == [
        "name       size  note",
        "a            10",
        "long name     9  x",
    ]


def test_a_time_that_is_not_known() -> None:
    assert moment(None) == "?"
