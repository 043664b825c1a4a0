"""The header, the chunks and the numbers of a pack."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman.errors import InvalidInput
from rootman.packs.format import (
    CHUNK,
    HEADER_LIMIT,
    MAGIC,
    MEMORY_LIMIT,
    Coding,
    Header,
    Role,
    chunk,
    number,
    parse_header,
    zigzag,
)
from rootman.packs.streams import Damaged, PackFile
from tests.packing import chunks, header, numbers, packed, stream

OLD, NEW = "1" * 64, "2" * 64
_CODINGS = (Coding("lzma2", 4096), Coding("x86+lzma2", 1), Coding("zstd", 1 << 20))


@pytest.mark.parametrize("old", ["", OLD])
def test_a_header_is_read_as_it_was_written(old: str) -> None:
    """PK-5."""
    found = Header(old, NEW, _CODINGS * 3)

    line = found.serialise()

    assert parse_header(line, "pack") == found
    assert line.startswith(b'rootman pack {"format": 1, "from": "' + old.encode() + b'", "streams"')
    assert len(line) < HEADER_LIMIT


def _changed(key: str, value: object) -> dict[str, Any]:
    document = json.loads(header(OLD, NEW).serialise().removeprefix(MAGIC))
    return {**document, key: value}


def _stream(**fields: object) -> dict[str, Any]:
    streams = [{"codec": "lzma2", "window": 4096}] * 8
    return _changed("streams", [*streams, {"codec": "lzma2", "window": 4096, **fields}])


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (_changed("format", 2), "pack: format 2 is newer than this rootman understands"),
        (_changed("format", 0), "pack: format: must be the number 1"),
        (_changed("format", value=True), "pack: format: must be the number 1"),
        (_changed("format", 1.0), "pack: format: must be the number 1"),
        (_changed("from", "1" * 63), "pack: from: .* is not the SHA-256 of a manifest"),
        (_changed("from", None), "pack: from: must be a text"),
        (_changed("to", ""), "pack: to: .* is not the SHA-256 of a manifest"),
        (_changed("to", "A" * 64), "pack: to: .* is not the SHA-256 of a manifest"),
        (_changed("more", 1), "pack: more: unknown key"),
        (_changed("streams", []), "pack: streams: must be 9"),
        (_changed("streams", {}), "pack: streams: must be a list"),
        (_changed("streams", [1] * 9), r"pack: streams\[0\]: must be an object"),
        (_stream(codec="xz"), r"pack: streams\[8\].codec: xz is not a known way to compress"),
        (_stream(codec=["zstd"]), r"pack: streams\[8\].codec: must be a text"),
        (_stream(window=0), r"pack: streams\[8\].window: must be a whole number from 1"),
        (_stream(window=True), r"pack: streams\[8\].window: must be a whole number"),
        (_stream(window=2**70), r"pack: streams\[8\].window: must be a whole number"),
        (_stream(window=MEMORY_LIMIT), "pack: asks for more memory than 40 MiB"),
        ([], "pack: not a pack: not a JSON object"),
    ],
)
def test_another_header_is_refused(document: object, said: str) -> None:
    """PK-5."""
    with pytest.raises(InvalidInput, match=f"^{said}"):
        parse_header(MAGIC + json.dumps(document).encode() + b"\n", "pack")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        MAGIC,
        MAGIC + b"\n",
        MAGIC + b"{}",
        b"rootman pac " + b"{}\n",
        MAGIC + b"[" * 20_000 + b"\n",
        MAGIC + b"9" * 5_000 + b"\n",
        MAGIC + '{"format": 1}'.encode("utf-16") + b"\n",
        MAGIC + b'{"format": 1, "format": 1}\n',
        MAGIC + b"\xff\n",
        b"\x28\xb5\x2f\xfd" * 20_000,
    ],
)
def test_what_is_no_header_is_said_in_one_line(line: bytes) -> None:
    """PK-5, EX-3."""
    with pytest.raises(InvalidInput) as caught:
        PackFile(io.BytesIO(line), "pack")

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_memory_up_to_the_limit_is_given() -> None:
    """PK-5: what all windows come to is what counts."""
    window = MEMORY_LIMIT // len(Role)

    assert parse_header(header(coding=Coding("zstd", window)).serialise(), "pack").old == ""
    with pytest.raises(InvalidInput, match="more memory"):
        parse_header(header(coding=Coding("zstd", window + 1)).serialise(), "pack")


def test_a_header_beyond_its_limit_is_not_read() -> None:
    """PK-5."""
    line = header().serialise()
    room = HEADER_LIMIT - len(line)

    assert PackFile(io.BytesIO(line[:-1] + b" " * room + b"\n"), "pack").header == header()
    with pytest.raises(InvalidInput, match="pack: not a pack"):
        PackFile(io.BytesIO(line[:-1] + b" " * (room + 1) + b"\n"), "pack")


@given(st.lists(st.tuples(st.sampled_from(Role), st.binary(max_size=50)), max_size=20))
def test_chunks_come_as_the_stream_that_they_were(parts: list[tuple[Role, bytes]]) -> None:
    """PK-6: whatever lies between them, and whoever is asked for first."""
    file = PackFile(io.BytesIO(packed(parts)), "pack")

    for role in reversed(Role):
        taken = b"".join(iter(lambda: file.take(role), b""))  # noqa: B023 - used at once
        assert taken == b"".join(part for one, part in parts if one == role)


def test_a_stream_is_cut_into_chunks() -> None:
    """PK-6."""
    data = bytes(range(256)) * 300

    parts = list(chunks(data))

    assert [len(part) for part in parts] == [CHUNK, CHUNK, len(data) - 2 * CHUNK]
    assert b"".join(parts) == data
    assert chunk(Role.CODE, b"abc") == b"\x08\x03\x00abc"
    assert chunk(Role.ADD, parts[0])[:3] == b"\x03\x00\x80"
    assert list(chunks(b"")) == []


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (0, b"\0"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (300, b"\xac\x02"),
        (2**63 - 1, b"\xff" * 8 + b"\x7f"),
    ],
)
def test_numbers_have_seven_bits_in_a_byte(value: int, data: bytes) -> None:
    """PK-7."""
    assert number(value) == data
    assert stream(data).number() == value


@given(st.lists(st.integers(0, 2**63 - 1)), st.integers(1, 50))
def test_numbers_are_read_as_they_were_written(values: list[int], size: int) -> None:
    found = stream(numbers(*values), size)

    assert [found.number() for _ in values] == values
    with pytest.raises(Damaged, match="ends too early"):
        found.number()


@pytest.mark.parametrize("data", [b"\x80" * 9 + b"\x01", b"\xff" * 20])
def test_a_number_of_ten_bytes_is_refused(data: bytes) -> None:
    """PK-7."""
    with pytest.raises(Damaged, match="a number is too long"):
        stream(data).number()


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80" * 8])
def test_a_number_that_is_cut_off_is_refused(data: bytes) -> None:
    with pytest.raises(Damaged, match="ends too early"):
        stream(data).number()


@given(st.integers(-(2**62), 2**62 - 1))
def test_numbers_with_a_sign_alternate(value: int) -> None:
    """PK-7."""
    assert abs(zigzag(value) - 2 * abs(value)) <= 1
    assert (zigzag(value) >> 1) ^ -(zigzag(value) & 1) == value


def test_the_first_numbers_with_a_sign() -> None:
    """PK-7."""
    assert [zigzag(value) for value in (0, -1, 1, -2, 2)] == list(range(5))


@given(st.lists(st.binary(max_size=60)), st.integers(1, 40))
def test_lines_and_bytes_are_read_in_any_chunks(parts: list[bytes], size: int) -> None:
    lines = [part.replace(b"\n", b" ") + b"\n" for part in parts]
    found = stream(b"".join(lines), size)
    again = stream(b"".join(lines), size)

    assert [found.line(61) for _ in lines] == lines
    assert [again.read(len(line)) for line in lines] == lines


def test_a_line_has_its_limit() -> None:
    assert stream(b"12345\n").line(6) == b"12345\n"
    for data in (b"123456\n", b"1" * 100_000):
        with pytest.raises(Damaged, match="a line is too long"):
            stream(data).line(6)
