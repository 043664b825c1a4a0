"""Changing a JSON document as a document: bytes that are changed blindly are seldom JSON."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Mutate = Callable[[bytes, int], bytes]
    Place = tuple[Any, Any]
    """A list or an object, and an index or key in it."""

_BLINDLY: Final = 0.3
_MOST_CHANGES: Final = 4
_CHARACTERS: Final = '0123456789abcdefTZ-:/._ \\"\n\0äA'
# What stands for a text that is too deep or too long for Python to write it.
_EXTREMES: Final = {
    "@deep@": b"[" * 1_500 + b"]" * 1_500,
    "@long@": b"9" * 5_000,
    "@tall@": b'{"a":' * 1_000 + b"1" + b"}" * 1_000,
}
_VALUES: Final[tuple[object, ...]] = (
    None, True, False, 0, 1, -1, 2, 1.0, 0.5, 1e300, 2**31, 2**31 - 1, 2**63, 2**63 - 1,
    "", "base", "olpc", "current", "/etc", "/var", "/a/../b", "/", "\ud800", [], {}, [[]], {"a": 1},
    *_EXTREMES,
)  # fmt: skip


def mutate_document(data: bytes, most: int, seed: int, mutate: Mutate) -> bytes:
    """Return ``data`` with some values changed, in at most ``most`` bytes.

    What is no document is left to ``mutate``, and now and then what is one.
    """
    rng = random.Random(seed)
    if rng.random() >= _BLINDLY:
        with suppress(ValueError, RecursionError):  # no JSON, or too deep to walk through
            text = _changed(rng, json.loads(data))
            if len(text) <= most:
                return text
    return mutate(data, most)


def _changed(rng: random.Random, document: object) -> bytes:
    whole = [document]
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        places = list(_places(whole))
        if places:
            _change(rng, rng.choice(places), rng.choice(places))
    text = json.dumps(whole[0] if whole else None).encode()
    for name, extreme in _EXTREMES.items():
        text = text.replace(b'"%b"' % name.encode(), extreme)
    return text


def _places(container: Any) -> Iterator[Place]:  # noqa: ANN401 - whatever JSON has
    keys = list(container) if isinstance(container, dict) else range(len(container))
    for key in keys:
        yield container, key
        if isinstance(container[key], (dict, list)):
            yield from _places(container[key])


def _change(rng: random.Random, place: Place, other: Place) -> None:
    """Change what is at ``place``: remove it, or put something else there."""
    container, key = place
    value = container[key]
    match rng.randrange(6):
        case 0 if rng.random() < 0.3:
            del container[key]
        case 1:
            container[key] = deepcopy(rng.choice(_VALUES))
        case 2:
            container[key] = deepcopy(other[0][other[1]])
        case 3 if isinstance(container, list):
            container.append(deepcopy(value))
        case _:
            container[key] = _varied(rng, value)


def _varied(rng: random.Random, value: object) -> object:
    """Return a little different ``value``."""
    if isinstance(value, str) and value:
        at = rng.randrange(len(value))
        return value[:at] + rng.choice(_CHARACTERS) + value[at + rng.choice((1, 1, 1, 0)) :]
    if isinstance(value, int) and not isinstance(value, bool):
        return rng.choice((value + 1, value - 1, -value, value * 2, str(value)))
    return deepcopy(rng.choice(_VALUES))
