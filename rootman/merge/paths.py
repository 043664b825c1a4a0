"""Which paths of a tree are configuration, and what is put beside one of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal

from rootman.walk import is_in, split

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    Beside = Literal["new", "old"]

_NAME_MAX: Final = 255
_SLASH: Final = b"/"


@dataclass(frozen=True, slots=True)
class ConfigPaths:
    """The config paths of a release: decoded paths of the tree, and all that is below them.

    But for the ``state`` paths, which lie once per store.
    """

    paths: tuple[bytes, ...]
    state: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, paths: Sequence[str], state: Sequence[str] = ()) -> ConfigPaths:
        """Return those that a release names, as ``/etc``."""
        found = sorted({path[1:].encode() for path in paths})
        above = set(found)
        return cls(
            tuple(one for one in found if above.isdisjoint(ancestors(one))),
            tuple(path[1:].encode() for path in state),
        )

    def serialise(self) -> bytes:
        """Return them as lines for a shell, as ``/etc``."""
        return b"".join(b"/%b\n" % path for path in self.paths)

    def joined(self, other: ConfigPaths) -> ConfigPaths:
        """Return what is configuration by either, and state by neither."""
        found = (self.paths + other.paths, self.state + other.state)
        return ConfigPaths.of(*([f"/{path.decode()}" for path in some] for some in found))

    def __bool__(self) -> bool:
        return bool(self.paths)

    def covers(self, path: bytes) -> bool:
        """Return whether ``path`` is configuration."""
        return is_in(path, self.paths) and not self.is_state(path)

    def is_state(self, path: bytes) -> bool:
        """Return whether ``path`` is none of the versions'."""
        return is_in(path, self.state)

    @property
    def above(self) -> frozenset[bytes]:
        """The directories above config paths, without the root."""
        return frozenset(path for one in self.paths for path in ancestors(one))

    @property
    def parents(self) -> frozenset[bytes]:
        """The directories that hold a config path, b"." for the root."""
        return frozenset(split(one)[0] or b"." for one in self.paths)


NO_CONFIG: Final = ConfigPaths(())


def ancestors(path: bytes) -> Iterator[bytes]:
    """Yield the directories above ``path``, the nearest first, without the root."""
    while path := split(path)[0]:
        yield path


def matches(path: bytes, pattern: bytes) -> bool:
    """Return whether ``path`` is what ``pattern`` stands for: a glob for each name."""
    names, globs = path.split(_SLASH), pattern.split(_SLASH)
    return len(names) == len(globs) and all(map(fnmatchcase, names, globs))


def beside(path: bytes, kind: Beside, taken: Container[bytes]) -> bytes:
    """Return a name beside ``path`` that is not ``taken``: NAME.rootman-new, or -old."""
    parent, name = split(path)
    number = 1
    while True:
        suffix = f".rootman-{kind}".encode() + (b".%d" % number if number > 1 else b"")
        found = name[: _NAME_MAX - len(suffix)] + suffix
        found = parent + _SLASH + found if parent else found
        if found not in taken:
            return found
        number += 1
