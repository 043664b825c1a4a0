"""A release: one published version, as a small JSON document (spec/30-release.md).

In scope: the dataclasses, the strict parser and the canonical writer. Pure: where
the bytes come from is the business of ``repo``. Out of scope: whether a store may
take the release (version, hardware, space); planners decide that.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rootman.errors import InvalidInput
from rootman.names import CURRENT, MAX_VERSION, PREVIOUS

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = 1
SIZE_LIMIT: Final = 1 << 20  # bytes; a hostile server must not fill our memory (RL-2)
BASE: Final = "base"

_MAX_COUNT: Final = (1 << 63) - 1
_NAME: Final = re.compile(rf"(?!(?:{CURRENT}|{PREVIOUS})\Z)[a-z0-9][a-z0-9_-]{{0,62}}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"
)
_HARDWARE: Final = re.compile(r"[!-~]{1,255}")
# Absolute, without //, . and .., no control characters, nothing UTF-8 cannot say.
_PATH: Final = re.compile(r"(/(?!\.{1,2}(/|\Z))[^/\x00-\x1f\x7f\ud800-\udfff]{1,255}){1,64}")
_SOFTWARE: Final = re.compile(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,3}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """One tree of a release, named by its manifest.

    ``manifest`` is the SHA-256 of the manifest's uncompressed bytes and
    ``manifest_size`` their number; ``entries`` counts its lines without the first,
    ``size`` the content bytes of its files, each hardlink group once.
    """

    name: str
    manifest: str
    manifest_size: int
    entries: int
    size: int


@dataclass(frozen=True, slots=True)
class Release:
    """One published version of the operating system ``name``.

    ``timestamp`` is UTC, as ``2026-11-20T17:00:00Z``. ``packs`` are hashes of files
    that hold many objects. ``compatible`` names the hardware it is for (empty: any),
    ``config`` the paths merged at an upgrade, ``state`` those that live once per
    store. ``minimum_rootman`` is the oldest rootman that can install it.
    """

    name: str
    version: int
    timestamp: str
    bundles: tuple[Bundle, ...]
    packs: tuple[str, ...] = ()
    compatible: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    minimum_rootman: str = "0.1"

    @property
    def base(self) -> Bundle:
        """The bundle every installation has."""
        return next(bundle for bundle in self.bundles if bundle.name == BASE)

    def needs_newer(self, rootman_version: str) -> bool:
        """Whether ``rootman_version`` (``0.1`` or ``0.1.2``) is too old for this release."""
        return _numbers(rootman_version) < _numbers(self.minimum_rootman)


def parse_release(data: bytes, origin: str) -> Release:
    """Return the release that ``data`` describes; ``origin`` names it in errors.

    Raises:
        InvalidInput: ``data`` violates the format; the message names the key.
    """
    if len(data) > SIZE_LIMIT:
        raise InvalidInput(f"{origin}: not a release: larger than {SIZE_LIMIT} bytes")
    document = _decode(data, origin)
    check_format(document, origin)
    fields = _Fields(origin, "", document, _RELEASE_KEYS)
    release = Release(
        name=fields.text("name", _NAME),
        version=fields.number("version", 1, MAX_VERSION),
        timestamp=_timestamp(fields),
        bundles=_bundles(fields),
        packs=fields.texts("packs", _HASH),
        compatible=fields.texts("compatible", _HARDWARE),
        config=fields.texts("config", _PATH),
        state=fields.texts("state", _PATH),
        minimum_rootman=fields.text("minimum_rootman", _SOFTWARE),
    )
    if both := sorted(set(release.config) & set(release.state)):
        raise InvalidInput(f"{origin}: config and state both have {both[0]}")
    return release


def serialise(release: Release) -> bytes:
    """Return the canonical document of ``release``, which ``parse_release`` accepts.

    Raises:
        InvalidInput: the release is not valid (a caller passed a wrong path, name ...).
    """
    data = _encode({"format": FORMAT, **asdict(release)})
    parse_release(data, f"release {release.version}")
    return data


def parse_repository(data: bytes, origin: str) -> str:
    """Return the name of the operating system that a repository.json declares.

    Raises:
        InvalidInput: ``data`` is not a repository.json of this format.
    """
    document = _decode(data, origin)
    check_format(document, origin)
    return _Fields(origin, "", document, _REPOSITORY_KEYS).text("name", _NAME)


def serialise_repository(name: str) -> bytes:
    """Return the repository.json of a repository for the operating system ``name``.

    Raises:
        InvalidInput: ``name`` cannot name trees.
    """
    data = _encode({"format": FORMAT, "name": name})
    parse_repository(data, "repository.json")
    return data


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


_REPOSITORY_KEYS: Final = frozenset({"format", "name"})
_RELEASE_KEYS: Final = frozenset({"format"} | set(Release.__slots__))
_BUNDLE_KEYS: Final = frozenset(Bundle.__slots__)


class _Fields:
    """A JSON object taken apart; every complaint names the key."""

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
        return InvalidInput(f"{self._origin}: {_show(self._where + key)}: {problem}")

    def number(self, key: str, least: int, most: int) -> int:
        value = self._values[key]
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(key, f"must be a whole number from {least} to {most}")
        return value

    def text(self, key: str, pattern: re.Pattern[str]) -> str:
        return self._match(key, self._values[key], pattern)

    def texts(self, key: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
        values = tuple(
            self._match(f"{key}[{index}]", value, pattern)
            for index, value in enumerate(self.items(key))
        )
        if len(set(values)) < len(values):
            raise self.wrong(key, "has an item twice")
        return values

    def items(self, key: str) -> list[object]:
        value = self._values[key]
        if not isinstance(value, list):
            raise self.wrong(key, "must be a list")
        return value

    def objects(self, key: str, keys: frozenset[str]) -> list[_Fields]:
        return [
            _Fields(self._origin, f"{self._where}{key}[{index}].", value, keys)
            for index, value in enumerate(self.items(key))
        ]

    def _match(self, key: str, value: object, pattern: re.Pattern[str]) -> str:
        if not isinstance(value, str):
            raise self.wrong(key, "must be a text")
        if pattern.fullmatch(value) is None:
            raise self.wrong(key, f"{_show(value[:80])} is not {_MEANING[pattern]}")
        return value


_MEANING: Final = {
    _NAME: "a name (a-z, 0-9, _ and -, at most 63)",
    _HASH: "a SHA-256 in lower-case hexadecimal",
    _TIMESTAMP: "a time like 2026-11-20T17:00:00Z",
    _HARDWARE: "a hardware name (printable ASCII without spaces)",
    _PATH: "an absolute path without //, . and ..",
    _SOFTWARE: "a version like 0.1",
}


def _timestamp(fields: _Fields) -> str:
    text = fields.text("timestamp", _TIMESTAMP)
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise fields.wrong("timestamp", f"{text} is no day of the calendar") from error
    return text


def _bundles(fields: _Fields) -> tuple[Bundle, ...]:
    bundles = tuple(
        Bundle(
            name=bundle.text("name", _NAME),
            manifest=bundle.text("manifest", _HASH),
            manifest_size=bundle.number("manifest_size", 0, _MAX_COUNT),
            entries=bundle.number("entries", 0, _MAX_COUNT),
            size=bundle.number("size", 0, _MAX_COUNT),
        )
        for bundle in fields.objects("bundles", _BUNDLE_KEYS)
    )
    names = [bundle.name for bundle in bundles]
    if BASE not in names:
        raise fields.wrong("bundles", f"none is named {BASE}")
    if len(set(names)) < len(names):
        raise fields.wrong("bundles", "has a name twice")
    return bundles


def _decode(data: bytes, origin: str) -> dict[str, object]:
    """Return the JSON object in ``data``, refusing what JSON leaves open (RL-2)."""
    try:
        document = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant
        )
    except RecursionError:
        raise InvalidInput(f"{origin}: not a release: nested too deeply") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{origin}: not a release: not UTF-8") from error
    except ValueError as error:  # also a number of thousands of digits
        raise InvalidInput(f"{origin}: not a release: {_show(str(error)[:120])}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{origin}: not a release: not a JSON object")
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


def _encode(document: Mapping[str, object]) -> bytes:
    text = json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError as error:
        raise InvalidInput("a release can only have names that are UTF-8") from error


def _numbers(version: str) -> tuple[int, ...]:
    """Return ``0.1`` as (0, 1, 0, 0): a suffix like ``.dev1`` is not compared."""
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    parts = [int(part) for part in match[0].split(".")] if match else []
    return tuple(parts + [0] * (4 - len(parts)))[:4]


def _show(text: str) -> str:
    """Return ``text`` on one line of printable ASCII."""
    return text.encode("ascii", "backslashreplace").decode().translate(_CONTROLS)


_CONTROLS: Final = {code: f"\\x{code:02x}" for code in [*range(0x20), 0x7F]}
