"""Which files of configuration may be merged line by line, as a tree's own file says. Pure.

``/etc/rootman/merge.toml`` is configuration itself: a release can bring one, and whoever
looks after a device can change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.errors import InvalidInput
from rootman.merge.paths import matches

if TYPE_CHECKING:
    from collections.abc import Sequence

RULES_FILE: Final = b"etc/rootman/merge.toml"
MAX_RULES: Final = 1 << 20
_KEYS: Final = {"paths", "merge"}


@dataclass(frozen=True, slots=True)
class Rules:
    """The globs of files that are merged line by line; none by default."""

    text: tuple[bytes, ...] = ()

    def allow(self, path: bytes) -> bool:
        """Return whether the lines of the file ``path`` may be merged."""
        return any(matches(path, glob) for glob in self.text)


def parse_rules(data: bytes, origin: str) -> Rules:
    """Return what the file of rules says.

    Raises:
        InvalidInput: it is something else.
    """
    import tomllib

    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{origin}: {error}") from error
    tables = document.get("config", [])
    if document.keys() - {"config"} or not isinstance(tables, list):
        raise InvalidInput(f"{origin}: it has tables [[config]] and nothing else")
    globs: list[bytes] = []
    for table in tables:
        if not isinstance(table, dict) or table.keys() != _KEYS or table["merge"] != "text":
            raise InvalidInput(f'{origin}: [[config]] has paths = ["/..."] and merge = "text"')
        globs += _globs(table["paths"], origin)
    return Rules(tuple(globs))


def _globs(found: object, origin: str) -> Sequence[bytes]:
    if not isinstance(found, list):
        raise InvalidInput(f"{origin}: paths is a list")
    for one in found:
        if not isinstance(one, str) or not one.startswith("/"):
            raise InvalidInput(f"{origin}: a path begins with /")
    return [one[1:].encode() for one in found]
