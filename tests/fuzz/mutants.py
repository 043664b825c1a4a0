"""Parsers and upgrades broken on purpose: what finds nothing in these proves nothing."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from rootman import (
    apply,
    bundles,
    comparison,
    composition,
    delta,
    document,
    edits,
    entries,
    manifest,
    release,
    seal,
    sizes,
)
from rootman.boot import block
from rootman.errors import InvalidInput
from rootman.merge import accounts
from rootman.packs import unpacking
from rootman.repo import index, offline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from rootman.comparison import Change
    from rootman.fsops import Fs
    from rootman.manifest import Entry
    from rootman.names import TreeNumber


# --- parsers -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Broken:
    """A parser with a fault; ``break_it`` puts it into this process for good."""

    check: str
    """The check that has to find it."""
    break_it: Callable[[], None]


def _any_base64() -> None:
    """Take several texts for one value: the last bits of ``AB==`` are nobody's."""

    def parse(field: bytes, text: bytes) -> tuple[tuple[bytes, bytes], ...]:
        del field
        pairs = (word.removeprefix(b"xattr.").split(b"=", 1) for word in text.split())
        # What is missing at the end is another check's business.
        return tuple((manifest.decode(name), b64decode(value + b"==")) for name, value in pairs)

    manifest._parse_xattrs = parse


def _any_time() -> None:
    """Take a leading zero for a number."""
    pattern = manifest._LINE.pattern.replace(rb"time=(0|-?[1-9][0-9]{0,11}|-0)", rb"time=(-?\d+)")
    manifest._LINE = re.compile(pattern)  # type: ignore[misc]


def _escapes_twice() -> None:
    """Decode until nothing is left to decode, which for a backslash is never."""

    def decode(text: bytes) -> bytes:
        while b"\\" in text:
            text = manifest._ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), text)
        return text

    manifest.decode = decode


def _any_order() -> None:
    """Look at the order of no line."""

    def advance(cursor: comparison._Cursor, line: bytes) -> None:
        cursor.position += len(line)
        cursor.index += 1

    cast("Any", comparison._Cursor).advance = advance


def _half_groups() -> None:
    """Count the names of a group and look at nothing else of them."""
    cast("Any", delta.Group).add = lambda group, _: setattr(group, "names", group.names + 1)


def _any_number() -> None:
    """Take whatever stands there for the number of a line."""

    def cut(raw: bytes) -> tuple[bytes, int, bytes]:
        number, _, line = raw[1:].partition(b" ")
        if raw[:1] not in (b"-", b"+") or not line.endswith(b"\n"):
            raise InvalidInput("the file of edits is damaged")
        return raw[:1], int(number), line

    edits._cut = cut


def _any_path() -> None:
    """Take what leads out of the tree for a path of it."""

    def taken(line: bytes, where: str) -> bytes:
        del where
        return manifest.path_field(line[1:].removesuffix(b"/") or b"a")

    bundles._field = taken


def _the_first_line() -> None:
    """Take the first of two lines that do not agree."""
    composition._put = lambda block, place, line: (
        (0, b"") if block[place:].startswith(manifest.line_path(line) + b" ") else (0, line)
    )


def _any_day() -> None:
    """Leave it to others that a month has no 31st day."""

    def timestamp(fields: document.Fields) -> str:
        text = fields.text("timestamp", release._TIMESTAMP)
        datetime.fromisoformat(text)
        return text

    release._timestamp = timestamp


def _any_versions() -> None:
    """Take versions in any order, and twice."""

    def parse(data: bytes, origin: str) -> list[int]:
        fields = document.Fields(origin, "", document.decode(data, origin, "index"), index._KEYS)
        return sorted(set(fields.numbers("versions", 1, 7)))

    index.parse_index = parse


def _any_sizes() -> None:
    """Take it for granted that sizes that are there are sizes by number."""
    original = sizes._known

    def known(document: dict[str, Any], key: object, numbers: Sequence[TreeNumber]) -> Any:  # noqa: ANN401
        if "sizes" in document:
            document["sizes"].get(str(numbers[0]))
        return original(document, key, numbers)

    sizes._known = known


def _too_many_digests() -> None:
    """See to it that there is a digest for each path, and not that there are no more."""

    def unpack(data: bytes, origin: str) -> dict[str, bytes]:
        names, end, digests = data.partition(b"\0\0")
        paths = os.fsdecode(names).split("\0")
        size = seal.DIGEST_SIZE
        if not end or len(digests) < len(paths) * size:
            raise InvalidInput(f"{origin}: damaged")
        found = (digests[at : at + size] for at in range(0, len(digests), size))
        return dict(zip(paths, found, strict=True))

    seal.unpack_digests = unpack


def _any_source() -> None:
    """Take any path of a source, as if nobody would open it."""
    unpacking._path = lambda streams: unpacking._bytes(streams, manifest.MAX_LINE)


def _one_byte_more() -> None:
    """Give out what follows a file, too."""

    def opened(self: offline.OfflineSource, path: str, offset: int = 0) -> BinaryIO:
        start, size = self._members[path]
        return cast("BinaryIO", offline._Part(self._file.fileno(), start, size + 1, offset))

    offline.OfflineSource.open = opened  # type: ignore[method-assign]


def _half_a_signature() -> None:
    block.SIGNATURE = block.SIGNATURE[:10]  # type: ignore[misc]


def _names_twice() -> None:
    """Take the line with a name that is there already for another one."""

    def parse(text: bytes) -> dict[bytes, list[bytes]]:
        return {line.split(b":")[0]: line.split(b":") for line in text.split(b"\n")}

    accounts._parse = parse


PARSERS: Final[dict[str, Broken]] = {
    "xattrs that are not canonical": Broken("line", _any_base64),
    "times with leading zeros": Broken("line", _any_time),
    "names that are decoded for ever": Broken("names", _escapes_twice),
    "lines in any order": Broken("streams", _any_order),
    "hardlink groups of different lines": Broken("manifests", _half_groups),
    "edits without a number": Broken("edits", _any_number),
    "lists that lead out of the tree": Broken("bundle", _any_path),
    "a conflict that is dropped": Broken("composition", _the_first_line),
    "days that are none": Broken("release", _any_day),
    "versions in any order": Broken("index", _any_versions),
    "kept sizes that are relied on": Broken("state", _any_sizes),
    "blocks by half their signature": Broken("block", _half_a_signature),
    "more digests than paths": Broken("record", _too_many_digests),
    "sources outside of the tree": Broken("pack", _any_source),
    "files that end behind their content": Broken("offline", _one_byte_more),
    "accounts with a name twice": Broken("configuration", _names_twice),
}


# --- upgrades ------------------------------------------------------------------------


def _mode_of_new_types(patch: pytest.MonkeyPatch) -> None:
    """Forget the mode where a path changes its type."""
    original = apply.Applier._make

    def make(self: apply.Applier, entry: Entry, change: Change) -> None:
        old = manifest.parse_line(change.old) if change.old is not None else entry
        original(self, entry if old.type == entry.type else replace(entry, mode=0o644), change)

    patch.setattr(apply.Applier, "_make", make)


def _mode_in_place(patch: pytest.MonkeyPatch) -> None:
    """Change the mode of a shared inode instead of making another."""
    original = apply.Applier._make

    def make(self: apply.Applier, entry: Entry, change: Change) -> None:
        old = manifest.parse_line(change.old) if change.old is not None else entry
        if entry.type == "file" and replace(old, mode=entry.mode) == entry != old:
            root = self._dirs.root_fd
            os.chmod(entry.path, entry.mode, dir_fd=root)
        original(self, entry, change)

    patch.setattr(apply.Applier, "_make", make)


def _xattrs_stay(patch: pytest.MonkeyPatch) -> None:
    """Leave the xattrs of a directory that the new one has not."""

    def set_xattrs(fs: Fs, entry: Entry, name: bytes, *, dir_fd: int) -> None:
        for attribute, value in entry.xattrs:
            fs.set_xattr(name, attribute, value, dir_fd=dir_fd)

    patch.setattr(entries, "_set_xattrs", set_xattrs)


def _owner_last(patch: pytest.MonkeyPatch) -> None:
    """Give an inode its owner after its capabilities, which the kernel then takes away."""

    def set_metadata(fs: Fs, entry: Entry, name: bytes, *, dir_fd: int, **_: object) -> None:
        entries._set_xattrs(fs, entry, name, dir_fd=dir_fd)
        fs.chown(name, entry.uid, entry.gid, dir_fd=dir_fd)
        if entry.type != "link":
            fs.chmod(name, entry.mode, dir_fd=dir_fd)
        fs.set_time(name, entry.time_ns, dir_fd=dir_fd)

    patch.setattr("rootman.objects.set_metadata", set_metadata)


def _time_of_parents(patch: pytest.MonkeyPatch) -> None:
    """Do not give a directory its time again in which something was removed."""
    original = apply.Applier._remove

    def remove(self: apply.Applier, path: bytes) -> None:
        known = dict(self._dirs.times)
        original(self, path)
        self._dirs.times = known

    patch.setattr(apply.Applier, "_remove", remove)


def _groups_split(patch: pytest.MonkeyPatch) -> None:
    """Forget that some names of a group stay where they are."""
    original = apply.Applier.__init__

    def init(self: apply.Applier, fs: Fs, root: int, content: Any, _: object) -> None:  # noqa: ANN401
        original(self, fs, root, content, {})

    patch.setattr(apply.Applier, "__init__", init)


def _all_linked(patch: pytest.MonkeyPatch) -> None:
    """Link what is equal, and not only what is one inode."""
    original = apply.Applier._make

    def make(self: apply.Applier, entry: Entry, change: Change) -> None:
        if entry.type == "file" and entry.size:
            entry = replace(entry, nlink=2, inode=int(entry.sha256[:15], 16))
        original(self, entry, change)

    patch.setattr(apply.Applier, "_make", make)


UPGRADES: Final[dict[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "the mode of a path of another type": _mode_of_new_types,
    "a mode changed in place": _mode_in_place,
    "xattrs that stay": _xattrs_stay,
    "the owner after the capabilities": _owner_last,
    "the time of a directory": _time_of_parents,
    "a group that is split": _groups_split,
    "all that is equal linked": _all_linked,
}
