"""Strict JSON documents: what may stand in one, and what is said of what may not (RL-1 to RL-3).

In scope: the bytes, the keys and the kinds of their values. Pure. Out of scope: what a
document means (``release``, ``repo.index``).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from rootman.errors import InvalidInput

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

FORMAT: Final = 1
SIZE_LIMIT: Final = 1 << 20  # bytes; a hostile server must not fill our memory (RL-2)


class Shape(NamedTuple):
    """What a text must look like, and how to say so."""

    pattern: re.Pattern[str]
    meaning: str


def decode(data: bytes, origin: str, kind: str) -> dict[str, object]:
    """Return the JSON object in ``data``, refusing what JSON leaves open (RL-2).

    ``origin`` and ``kind`` name it in errors: where it is from, and what it should be.

    Raises:
        InvalidInput: there is none.
    """
    if len(data) > SIZE_LIMIT:
        raise InvalidInput(f"{origin}: not a {kind}: larger than {SIZE_LIMIT} bytes")
    try:
        document = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant
        )
    except RecursionError:
        raise InvalidInput(f"{origin}: not a {kind}: nested too deeply") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{origin}: not a {kind}: not UTF-8") from error
    except ValueError as error:  # also a number of thousands of digits
        raise InvalidInput(f"{origin}: not a {kind}: {show(str(error)[:120])}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{origin}: not a {kind}: not a JSON object")
    return document


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice[:80]} stands twice")
    return values


def _constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def encode(document: Mapping[str, object]) -> bytes:
    """Return ``document`` as canonical JSON.

    Raises:
        InvalidInput: a text in it cannot be UTF-8.
    """
    text = json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError as error:
        raise InvalidInput("a document can only have names that are UTF-8") from error


def check_format(document: Mapping[str, object], origin: str) -> None:
    """Refuse a document whose format version is not ours (RL-3).

    Raises:
        InvalidInput: with a hint to update where a newer rootman would do.
    """
    version = document.get("format")
    if type(version) is not int or version < 1:
        raise InvalidInput(f"{origin}: format: must be the number {FORMAT}")
    if version > FORMAT:
        raise InvalidInput(
            f"{origin}: format {version} is newer than this rootman understands",
            hint="update rootman first",
        )


class Fields:
    """A JSON object taken apart; every complaint names the key.

    ``where`` is the path of the object in its document. Methods raise ``InvalidInput``.
    """

    def __init__(self, origin: str, where: str, value: object, keys: frozenset[str]) -> None:
        self._origin, self._where = origin, where
        if not isinstance(value, dict):
            raise InvalidInput(f"{origin}: {where.rstrip('.')}: must be an object")
        self._values: dict[str, object] = value
        if unknown := sorted(value.keys() - keys):
            raise self.wrong(unknown[0][:80], "unknown key")
        if missing := sorted(keys - value.keys()):
            raise self.wrong(missing[0], "missing")

    def wrong(self, key: str, problem: str) -> InvalidInput:
        """Return the error that ``problem`` with ``key`` is."""
        return InvalidInput(f"{self._origin}: {show(self._where + key)}: {problem}")

    def number(self, key: str, least: int, most: int) -> int:
        """Return the whole number ``key``."""
        return self._number(key, self._values[key], least, most)

    def numbers(self, key: str, least: int, most: int) -> list[int]:
        """Return the whole numbers in the list ``key``."""
        return [
            self._number(f"{key}[{index}]", value, least, most)
            for index, value in enumerate(self.items(key))
        ]

    def text(self, key: str, shape: Shape) -> str:
        """Return the text ``key``."""
        return self._match(key, self._values[key], shape)

    def texts(self, key: str, shape: Shape) -> tuple[str, ...]:
        """Return the texts in the list ``key``, of which no two are equal."""
        values = tuple(
            self._match(f"{key}[{index}]", value, shape)
            for index, value in enumerate(self.items(key))
        )
        if len(set(values)) < len(values):
            raise self.wrong(key, "has an item twice")
        return values

    def items(self, key: str) -> list[object]:
        """Return the list ``key``, whatever is in it."""
        value = self._values[key]
        if not isinstance(value, list):
            raise self.wrong(key, "must be a list")
        return value

    def objects(self, key: str, keys: frozenset[str]) -> list[Fields]:
        """Return the objects in the list ``key``, each with all ``keys``."""
        return [
            Fields(self._origin, f"{self._where}{key}[{index}].", value, keys)
            for index, value in enumerate(self.items(key))
        ]

    def _number(self, key: str, value: object, least: int, most: int) -> int:
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(key, f"must be a whole number from {least} to {most}")
        return value

    def _match(self, key: str, value: object, shape: Shape) -> str:
        if not isinstance(value, str):
            raise self.wrong(key, "must be a text")
        if shape.pattern.fullmatch(value) is None:
            raise self.wrong(key, f"{show(value[:80])} is not {shape.meaning}")
        return value


def show(text: str) -> str:
    """Return ``text`` on one line of printable ASCII."""
    return text.encode("ascii", "backslashreplace").decode().translate(_CONTROLS)


_CONTROLS: Final = {code: f"\\x{code:02x}" for code in [*range(0x20), 0x7F]}
