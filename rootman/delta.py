"""What must be done to a seed to make it the wanted tree, and whether that can be done.

A seed is a tree in staging (the spare, a fresh clone, an empty directory). The
work is the comparison of its manifest with the wanted one, joined by the seed's
drift. Pure: streams come in, changes and their summary go out.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from rootman.comparison import Change
from rootman.errors import InvalidManifest
from rootman.manifest import (
    HARDLINK,
    TYPE_AT,
    Entry,
    content_digest,
    field_path,
    group_inode,
    line_path,
    parent_field,
    parse_line,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator

LANES: Final = 8
"""Requests for objects that are in flight at a time (HT-8)."""
LARGE: Final = 1 << 18
"""What came of an object with more bytes of content is kept until it is whole (HT-9)."""

_DIR: Final = b"dir "


@dataclass(frozen=True, slots=True, order=True)
class Drift:
    """One path that is not as sealed: ``line`` is its manifest line, None for an extra path.

    ``what`` names what differs, such as ``missing``, ``extra``, ``content`` or ``mode``.
    ``index`` is the number of the line; ``sealed_inode`` says that the path still has
    the inode it was sealed with.
    """

    field: bytes
    line: bytes | None
    what: tuple[str, ...]
    index: int = 0
    sealed_inode: bool = False


@dataclass(slots=True)
class Needs:
    """The sum of a delta: paths by kind of change, and what it costs.

    ``fetch_objects`` and ``fetch_bytes`` count inodes whose content the seed does not
    have at the same path, each although others may want the same content;
    ``new_inodes`` counts inodes that are made, ``restored`` paths of the seed that drifted,
    ``largest`` has the sizes of the largest files to fetch, as many as come at a time.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    restored: int = 0
    fetch_objects: int = 0
    fetch_bytes: int = 0
    new_inodes: int = 0
    largest: list[int] = field(default_factory=list)
    # Content wanted, perhaps at several paths, by the first 64 bits of its hash, and its size:
    # 8 bytes each, because a first installation has as many as the tree has files.
    _wanted: array[int] = field(default_factory=lambda: array("Q"))
    _sizes: array[int] = field(default_factory=lambda: array("Q"))
    _groups: set[int] = field(default_factory=set)

    def count(self, change: Change, old: Entry | None, new: Entry | None) -> None:
        """Add one change."""
        if change.old == change.new:
            self.restored += 1
        else:
            self.added += change.old is None
            self.removed += change.new is None
            self.changed += change.old is not None and change.new is not None
        if new is None:
            return
        if new.nlink > 1:
            if new.inode in self._groups:
                return  # a link to the first name
            self._groups.add(new.inode)
        self.new_inodes += 1
        if new.size and (change.untrusted or old is None or old.sha256 != new.sha256):
            self.fetch_objects += 1
            self.fetch_bytes += new.size
            self._wanted.append(hash_prefix(new.sha256))
            self._sizes.append(new.size)
            if new.size > LARGE:
                heappush(self.largest, new.size)
                if len(self.largest) > LANES:
                    heappop(self.largest)

    @property
    def contents(self) -> Collection[int]:
        """The hash prefixes of all content that is to be had."""
        return self._wanted

    def unique_bytes(self, only: Container[int] | None = None) -> int:
        """Return the bytes of all content that is to be had, each once.

        Where hash prefixes are given, it is ``only`` theirs.
        """
        seen, size = set[int](), 0
        for prefix, bytes_ in zip(self._wanted, self._sizes, strict=True):
            if prefix not in seen and (only is None or prefix in only):
                seen.add(prefix)
                size += bytes_
        return size

    def repeated(self) -> frozenset[int]:
        """Return the hash prefixes of content that several paths want."""
        ordered = sorted(self._wanted)
        return frozenset(one for one, two in pairwise(ordered) if one == two)


def hash_prefix(digest: str | bytes) -> int:
    """Return the first 64 bits of a hexadecimal hash."""
    return int(digest[:16], 16)


def is_directory(line: bytes) -> bool:
    """Return whether the manifest line is that of a directory."""
    start = line.find(b" ") + TYPE_AT
    return line[start : start + len(_DIR)] == _DIR


def join_drift(changes: Iterable[Change], drift: Iterable[Drift]) -> Iterator[Change]:
    """Yield ``changes`` and, for paths that drifted but do not change, what restores them.

    Both come sorted by path. What stands at a drifted path is marked as untrusted.
    """
    pending = iter(drift)
    ahead = next(pending, None)
    shift = 0  # how far the wanted manifest's line numbers are ahead of the seed's
    for change in changes:
        while ahead is not None and ahead.field < change.field:
            yield _restore(ahead, shift)
            ahead = next(pending, None)
        if ahead is not None and ahead.field == change.field:
            ahead = next(pending, None)
            yield replace(change, untrusted=True)
        else:
            yield change
        shift = change.new_index - change.old_index + change.growth
    while ahead is not None:
        yield _restore(ahead, shift)
        ahead = next(pending, None)


def _restore(drift: Drift, shift: int) -> Change:
    index = drift.index
    return Change(drift.field, drift.line, drift.line, index, index + shift, untrusted=True)


def wants_content(change: Change) -> bool:
    """Return whether the change needs content that the seed has not at the same path.

    The lines have been parsed once (``vet``); to do that again would take most of the time.
    """
    if change.new is None or not (new := content_digest(change.new)):
        return False
    return change.untrusted or change.old is None or content_digest(change.old) != new


def wanted_content(changes: Iterable[Change], staying: Container[int]) -> Iterator[Entry]:
    """Yield the new entries whose content has to be had, one for each hardlink group.

    Groups with a name that is ``staying`` (by inode keyword) have theirs.
    """
    groups: set[int] = set()
    for change in changes:
        if change.new is None:
            continue
        if (group := HARDLINK.search(change.new)) is not None:
            inode = int(group[1])
            if inode in groups or inode in staying:
                continue
            groups.add(inode)
        if wants_content(change):
            yield parse_line(change.new)


def splice(inodes: array[int], changes: Iterable[Change], made: Iterable[int]) -> array[int]:
    """Return the seed's ``inodes`` brought in line with the wanted manifest.

    ``made`` has the inode of each new line of ``changes`` in turn, 0 where it is not shared.
    """
    spliced = array("Q")
    position = 0
    new_inodes = iter(made)
    for change in changes:
        if change.old is None and change.new is None:
            continue
        spliced.extend(inodes[position : change.old_index])
        position = change.old_index + (change.old is not None)
        if change.new is not None:
            spliced.append(next(new_inodes))
    spliced.extend(inodes[position:])
    return spliced


def note_other_inodes(
    changes: Iterable[Change], old: array[int], new: array[int], noted: array[int]
) -> Iterator[Change]:
    """Pass ``changes`` on; add to ``noted`` the unchanged lines with another inode than before.

    ``old`` and ``new`` are the inodes of the two trees, ``noted`` gets numbers of new
    lines. A file that changed and changed back between has an equal line and another inode.
    """
    before, after = 0, 0
    for change in changes:
        _note(old[before : change.old_index], new[after : change.new_index], after, noted)
        before = change.old_index + (change.old is not None)
        after = change.new_index + (change.new is not None)
        yield change
    _note(old[before:], new[after:], after, noted)


def _note(old: array[int], new: array[int], start: int, noted: array[int]) -> None:
    if old != new:
        pairs = enumerate(zip(old, new, strict=True), start)
        noted.extend(index for index, (one, other) in pairs if one != other)


@dataclass(slots=True)
class Group:
    """The names of one inode: as many as nlink says, and otherwise the same line (MF-9)."""

    first: bytes  # path field
    keywords: bytes
    nlink: int
    inode: int
    names: int = 0

    def add(self, line: bytes) -> None:
        """Take in the line of one more name.

        Raises:
            InvalidManifest: it says something else of the inode.
        """
        field = line_path(line)
        self.names += 1
        self.first = min(self.first, field)
        if line[len(field) :] != self.keywords:
            self.fail("its names differ in more than the path")

    def check(self) -> None:
        """See to it that the group is whole.

        Raises:
            InvalidManifest: it has not as many names as it says, or another's inode.
        """
        if self.names != self.nlink:
            self.fail(f"nlink={self.nlink}, and {self.names} names")
        if self.inode != group_inode(field_path(self.first)):  # MF-10
            self.fail(f"inode={self.inode} does not stand for its first name")

    def fail(self, problem: str) -> None:
        """Refuse the manifest because of this group.

        Raises:
            InvalidManifest: always.
        """
        path = printable(self.first)
        raise InvalidManifest(f"{path}: the hardlink group is not consistent: {problem}")


def vet(
    changes: Iterable[Change],
    needs: Needs,
    directories: Container[bytes],
    gone: set[bytes],
    groups: dict[int, Group],
) -> Iterator[Change]:
    """Pass ``changes`` on, having checked that the wanted manifest is that of a tree.

    ``directories`` holds the path fields of the seed's directories. Directories of
    the seed that the wanted tree has not are added to ``gone``: that nothing is
    left below them is for the caller to check (``comparison.any_below``). So are the
    ``groups``, by inode keyword: they lack the names whose lines do not change
    (``complete_groups``).

    Raises:
        InvalidManifest: a line is not canonical or has no parent directory, or
            a hardlink group of the seed is only partly there.
    """
    made: set[bytes] = set()
    left: dict[int, Group] = {}  # the seed's groups, with as many names as do not stay
    for change in changes:
        new = parse_line(change.new) if change.new is not None else None
        old = parse_line(change.old) if change.old is not None else None
        if new is None or new.type != "dir":
            if change.field in directories:
                gone.add(change.field)
        else:
            made.add(change.field)
        if new is not None and change.new is not None:
            _check_parent(change.field, directories, made, gone)
            if new.nlink > 1:
                _join(groups, new, change.new)
        if old is not None and change.old is not None and old.nlink > 1:
            _join(left, old, change.old)
        needs.count(change, old, new)
        yield change
    if b"." not in made and (b"." not in directories or b"." in gone):
        raise InvalidManifest("the manifest has no line for the root of the tree")
    for inode, group in left.items():
        _check_rest(group, groups.get(inode))


def _join(groups: dict[int, Group], entry: Entry, line: bytes) -> None:
    field = line_path(line)
    group = Group(field, line[len(field) :], entry.nlink, entry.inode)
    groups.setdefault(entry.inode, group).add(line)


def _check_rest(left: Group, new: Group | None) -> None:
    """Refuse a group of the seed of which names stay and the others are not replaced."""
    stay = left.nlink - left.names
    if stay and (new is None or new.names >= new.nlink):
        left.fail(f"nlink={left.nlink} stands with {stay} of its names only")


def complete_groups(
    groups: dict[int, Group], changed: Container[bytes], manifest: Iterable[bytes]
) -> dict[int, bytes]:
    """Take in the names whose lines stay, and check every group.

    ``changed`` holds the path fields that ``vet`` saw, ``manifest`` the lines of the
    wanted manifest; they are only read where a group lacks names. Return the path of
    a name that stays, by inode keyword: the new names are to be linked to it.

    Raises:
        InvalidManifest: a hardlink group does not agree with itself.
    """
    staying: dict[int, bytes] = {}
    if any(group.names < group.nlink for group in groups.values()):
        for line in manifest:
            match = HARDLINK.search(line)
            group = groups.get(int(match[1])) if match is not None else None
            if group is not None and line_path(line) not in changed:
                group.add(line)
                staying.setdefault(group.inode, field_path(line_path(line)))
    for group in groups.values():
        group.check()
    return staying


def _check_parent(
    path: bytes, directories: Container[bytes], made: set[bytes], gone: set[bytes]
) -> None:
    if path == b".":
        return
    parent = parent_field(path)
    if parent in made or (parent in directories and parent not in gone):
        return
    raise InvalidManifest(f"{printable(path)}: its parent is not a directory of the tree")
