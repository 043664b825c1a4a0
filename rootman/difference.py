"""What differs between two manifest lines, in words and values. Pure.

Out of scope: finding the lines that differ (``comparison``), and which of two
trees is to blame (``verify``).
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rootman.manifest import encode, field_path, parse_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootman.comparison import Change
    from rootman.manifest import Entry

# Their values say nothing to a reader of one line.
_LONG: Final = ("content", "time", "hardlinks")
_XATTR: Final = "xattr."


@dataclass(frozen=True, slots=True)
class Differing:
    """One thing that differs, spelt as in a manifest; a value is None where there is none.

    ``keyword`` is ``type``, ``content``, ``mode``, ``uid``, ``gid``, ``time``,
    ``target``, ``device``, ``hardlinks`` or ``xattr.NAME``. ``str`` is for people.
    """

    keyword: str
    old: str | None = None
    new: str | None = None

    def __str__(self) -> str:
        if self.keyword.startswith(_XATTR) and None in (self.old, self.new):
            return f"{self.keyword} {'added' if self.old is None else 'removed'}"
        if self.keyword in _LONG or self.keyword.startswith(_XATTR) or self.old is None:
            return self.keyword
        return f"{self.keyword} {self.old} -> {self.new}"


def differing(old: bytes, new: bytes) -> tuple[Differing, ...]:
    """Return what differs between two lines of one path; between two types, only that.

    Raises:
        InvalidManifest: a line is none.
    """
    one, two = parse_line(old), parse_line(new)
    if one.type != two.type:
        return (Differing("type", one.type, two.type),)
    before, after = dict(_facts(one)), dict(_facts(two))
    keywords = list(dict.fromkeys((*before, *after)))
    return tuple(
        Differing(keyword, before.get(keyword), after.get(keyword))
        for keyword in keywords
        if before.get(keyword) != after.get(keyword)
    )


@dataclass(frozen=True, slots=True)
class PathDifference:
    """One path that differs; ``what`` is empty where it was added or removed."""

    path: bytes
    kind: Literal["added", "removed", "changed"]
    what: tuple[Differing, ...] = ()


def path_differences(changes: Iterable[Change]) -> Iterator[PathDifference]:
    """Yield what ``changes`` between two manifests mean.

    Raises:
        InvalidManifest: a line is none.
    """
    for change in changes:
        path = field_path(change.field)
        if change.old is None:
            yield PathDifference(path, "added")
        elif change.new is None:
            yield PathDifference(path, "removed")
        else:
            yield PathDifference(path, "changed", differing(change.old, change.new))


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    if entry.type == "file":
        yield "content", entry.sha256
    if entry.type == "link":
        yield "target", encode(entry.link).decode()
    if entry.device is not None:
        yield "device", "{},{}".format(*entry.device)
    yield "mode", f"{entry.mode:04o}"
    yield "uid", str(entry.uid)
    yield "gid", str(entry.gid)
    yield "hardlinks", f"{entry.nlink}:{entry.inode}"
    for name, value in entry.xattrs:
        yield _XATTR + encode(name).decode(), b64encode(value).decode()
    yield "time", "{}.{:09d}".format(*divmod(entry.time_ns, 1_000_000_000))
