"""A release: one published version, as a small JSON document (spec/30-release.md).

In scope: the dataclasses, the strict parser and the canonical writer. Pure: where
the bytes come from is the business of ``repo``. Out of scope: whether a store may
take the release (version, hardware, space); planners decide that.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import product
from typing import Final

from rootman.document import FORMAT, Fields, Shape, check_format, decode, encode
from rootman.errors import InvalidInput
from rootman.includes import find_cycle, told
from rootman.names import BASE, CURRENT, MAX_VERSION, PREVIOUS
from rootman.statepaths import is_within

_MAX_COUNT: Final = (1 << 63) - 1
_NAME: Final = Shape(
    re.compile(rf"(?!(?:{CURRENT}|{PREVIOUS})\Z)[a-z0-9][a-z0-9_-]{{0,62}}"),
    "a name (a-z, 0-9, _ and -, at most 63)",
)
_HASH: Final = Shape(re.compile(r"[0-9a-f]{64}"), "a SHA-256 in lower-case hexadecimal")
_TIMESTAMP: Final = Shape(
    re.compile(
        r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
        r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"
    ),
    "a time like 2026-11-20T17:00:00Z",
)
_HARDWARE: Final = Shape(
    re.compile(r"[!-~]{1,255}"), "a hardware name (printable ASCII without spaces)"
)
# Absolute, without //, . and .., no control characters, nothing UTF-8 cannot say.
_PATH: Final = Shape(
    re.compile(r"(/(?!\.{1,2}(/|\Z))[^/\x00-\x1f\x7f\ud800-\udfff]{1,255}){1,64}"),
    "an absolute path without //, . and ..",
)
# It becomes the name of a directory, with a : for each / (spec/55-state.md).
_STATE: Final = Shape(
    re.compile(
        rf"(?=.{{1,120}}\Z)(?!/(?:dev|proc|rootfs|run|sys|tmp)(?:/|\Z))(?!.*:){_PATH.pattern.pattern}"
    ),
    "a path as /var: absolute, without //, ., .. and :, at most 120 characters, and not where"
    " something else is mounted (/dev, /proc, /rootfs, /run, /sys, /tmp)",
)
_SOFTWARE: Final = Shape(
    re.compile(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,3}"), "a version like 0.1"
)
DESCRIPTION: Final = Shape(
    re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{0,255}"),
    "a line of text of at most 255 characters",
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A part of a release, named by its manifest: ``base`` is a tree, another what it adds.

    ``manifest`` is the SHA-256 of the manifest's uncompressed bytes and
    ``manifest_size`` their number; ``entries`` counts its lines without the first,
    ``size`` the content bytes of its files, each hardlink group once. ``includes`` are
    the bundles that come with it, sorted, ``description`` is a line for people.
    """

    name: str
    manifest: str
    manifest_size: int
    entries: int
    size: int
    includes: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """One published version of the operating system ``name``.

    ``timestamp`` is UTC, as ``2026-11-20T17:00:00Z``. ``compatible`` names the hardware it
    is for (empty: any), ``config`` the paths merged at an upgrade, ``state`` those that
    live once per store. ``minimum_rootman`` is the oldest rootman that can install it.
    """

    name: str
    version: int
    timestamp: str
    bundles: tuple[Bundle, ...]
    compatible: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    minimum_rootman: str = "0.1"

    @property
    def base(self) -> Bundle:
        """The bundle every installation has."""
        return next(bundle for bundle in self.bundles if bundle.name == BASE)

    def bundle(self, name: str) -> Bundle | None:
        """Return the bundle ``name``, None where there is none."""
        return next((bundle for bundle in self.bundles if bundle.name == name), None)

    def needs_newer(self, rootman_version: str) -> bool:
        """Whether ``rootman_version`` (``0.1`` or ``0.1.2``) is too old for this release."""
        return _numbers(rootman_version) < _numbers(self.minimum_rootman)


def parse_release(data: bytes, origin: str) -> Release:
    """Return the release that ``data`` describes; ``origin`` names it in errors.

    Raises:
        InvalidInput: ``data`` violates the format; the message names the key.
    """
    document = decode(data, origin, "release")
    check_format(document, origin)
    fields = Fields(origin, "", document, _RELEASE_KEYS)
    release = Release(
        name=fields.text("name", _NAME),
        version=fields.number("version", 1, MAX_VERSION),
        timestamp=_timestamp(fields),
        bundles=_bundles(fields),
        compatible=fields.texts("compatible", _HARDWARE),
        config=fields.texts("config", _PATH),
        state=fields.texts("state", _STATE),
        minimum_rootman=fields.text("minimum_rootman", _SOFTWARE),
    )
    if both := sorted(set(release.config) & set(release.state)):
        raise InvalidInput(f"{origin}: config and state both have {both[0]}")
    for path, above in product(release.config, release.state):
        if is_within(path, above):
            raise InvalidInput(f"{origin}: config has {path}, which is in the state path {above}")
    return release


def serialise(release: Release) -> bytes:
    """Return the canonical document of ``release``, which ``parse_release`` accepts.

    Raises:
        InvalidInput: the release is not valid (a caller passed a wrong path, name ...).
    """
    data = encode({"format": FORMAT, **asdict(release)})
    parse_release(data, f"release {release.version}")
    return data


def parse_repository(data: bytes, origin: str) -> str:
    """Return the name of the operating system that a repository.json declares.

    Raises:
        InvalidInput: ``data`` is not a repository.json of this format.
    """
    document = decode(data, origin, "release")
    check_format(document, origin)
    return Fields(origin, "", document, _REPOSITORY_KEYS).text("name", _NAME)


def serialise_repository(name: str) -> bytes:
    """Return the repository.json of a repository for the operating system ``name``.

    Raises:
        InvalidInput: ``name`` cannot name trees.
    """
    data = encode({"format": FORMAT, "name": name})
    parse_repository(data, "repository.json")
    return data


_REPOSITORY_KEYS: Final = frozenset({"format", "name"})
_RELEASE_KEYS: Final = frozenset({"format"} | set(Release.__slots__))
_BUNDLE_KEYS: Final = frozenset(Bundle.__slots__)


def _timestamp(fields: Fields) -> str:
    text = fields.text("timestamp", _TIMESTAMP)
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise fields.wrong("timestamp", f"{text} is no day of the calendar") from error
    return text


def _bundles(fields: Fields) -> tuple[Bundle, ...]:
    bundles = tuple(
        Bundle(
            name=bundle.text("name", _NAME),
            manifest=bundle.text("manifest", _HASH),
            manifest_size=bundle.number("manifest_size", 0, _MAX_COUNT),
            entries=bundle.number("entries", 0, _MAX_COUNT),
            size=bundle.number("size", 0, _MAX_COUNT),
            includes=bundle.texts("includes", _NAME),
            description=bundle.text("description", DESCRIPTION),
        )
        for bundle in fields.objects("bundles", _BUNDLE_KEYS)
    )
    names = [bundle.name for bundle in bundles]
    if BASE not in names:
        raise fields.wrong("bundles", f"none is named {BASE}")
    if len(set(names)) < len(names):
        raise fields.wrong("bundles", "has a name twice")
    _check_includes(bundles, fields)
    return bundles


def _check_includes(bundles: tuple[Bundle, ...], fields: Fields) -> None:
    """Refuse includes that a device could not resolve (BU-4)."""
    includes = {bundle.name: bundle.includes for bundle in bundles}
    for index, bundle in enumerate(bundles):
        key = f"bundles[{index}].includes"
        if list(bundle.includes) != sorted(bundle.includes):
            raise fields.wrong(key, "must be in ascending order")
        if bundle.includes and bundle.name == BASE:
            raise fields.wrong(key, f"{BASE} includes nothing")
        for name in bundle.includes:
            if name == BASE or name not in includes:
                raise fields.wrong(key, f"{name} is no bundle that can be included")
    if cycle := find_cycle(includes):
        raise fields.wrong("bundles", told(cycle))


def _numbers(version: str) -> tuple[int, ...]:
    """Return ``0.1`` as (0, 1, 0, 0): a suffix like ``.dev1`` is not compared."""
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    parts = [int(part) for part in match[0].split(".")] if match else []
    return tuple(parts + [0] * (4 - len(parts)))[:4]
