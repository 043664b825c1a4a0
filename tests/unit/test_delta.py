"""From two manifests and the drift of one to changes, and what makes a manifest a tree's."""

from __future__ import annotations

import re
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rootman.comparison import Change, any_below, compare
from rootman.delta import (
    Drift,
    Group,
    Needs,
    complete_groups,
    hash_prefix,
    is_directory,
    join_drift,
    note_other_inodes,
    splice,
    vet,
    wants_content,
)
from rootman.errors import InvalidManifest
from rootman.manifest import (
    HEADER,
    format_line,
    group_inode,
    line_path,
    parent_field,
    parse_line,
    path_field,
)
from tests.unit.entries import ROOT_ENTRY, entries, entry, line, manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rootman.manifest import Entry

ROOT = format_line(ROOT_ENTRY)
PATHS = ("a", "a-b", "a-b/x", "a/b", "a/b c", "a/b/c", "a/x", "b", "z")


def lines_of(*found: Entry) -> list[bytes]:
    """Return the lines of a manifest with these entries and the root."""
    return manifest([ROOT_ENTRY, *found]).splitlines(keepends=True)[1:]


def joined(old: Sequence[bytes], new: Sequence[bytes], drift: Iterable[Drift]) -> list[Change]:
    return list(join_drift(compare([HEADER, *old], [HEADER, *new]), drift))


def check(old: Sequence[bytes], new: Sequence[bytes], drift: Iterable[Drift] = ()) -> Needs:
    """Vet the way from ``old`` to ``new`` as an upgrade does."""
    needs, gone = Needs(), set[bytes]()
    directories = {line_path(one) for one in old if is_directory(one)}
    groups: dict[int, Group] = {}
    changes = vet(joined(old, new, drift), needs, directories, gone, groups)
    changed = {change.field for change in changes}
    complete_groups(groups, changed, new)
    orphan = any_below([HEADER, *new], gone)
    if orphan is not None:
        raise InvalidManifest(f"{orphan!r} is an orphan")
    return needs


# --- trees ---------------------------------------------------------------------------


@st.composite
def plain_entries(draw: st.DrawFn) -> list[Entry]:
    """Return entries at few paths, mostly directories; most often they are no tree."""
    paths = draw(st.lists(st.sampled_from(PATHS), unique=True))
    kinds = st.sampled_from(("dir", "dir", "file", "link"))
    contents = st.sampled_from(("", "x", "yy"))
    made = [entry(path, draw(kinds), content=draw(contents)) for path in paths]  # type: ignore[arg-type]
    return [replace(one, link=b"t") if one.type == "link" else one for one in made]


def is_tree(found: Iterable[bytes]) -> bool:
    kinds = {line_path(one): parse_line(one).type for one in found}
    return kinds.get(b".") == "dir" and all(
        field == b"." or kinds.get(parent_field(field)) == "dir" for field in kinds
    )


def made_tree(found: Iterable[Entry]) -> list[bytes]:
    """Return the lines of a tree of those of the entries that fit."""
    kept = [ROOT_ENTRY]
    for one in sorted(found, key=lambda one: one.path):
        lines = [format_line(other) for other in (*kept, one)]
        if is_tree(lines):
            kept.append(one)
    return lines_of(*kept[1:])


@given(plain_entries(), plain_entries(), st.booleans())
@example([], [], False)  # noqa: FBT003
@example([entry("a", "dir"), entry("a/x")], [entry("a/x")], True)  # noqa: FBT003
@example([entry("a", "dir"), entry("a/x")], [entry("a"), entry("a/x")], True)  # noqa: FBT003
def test_only_a_tree_passes(seed: list[Entry], wanted: list[Entry], root: bool) -> None:  # noqa: FBT001
    """MF-12: whatever of it the seed has already."""
    old = made_tree(seed)
    new = lines_of(*wanted)[0 if root else 1 :]

    if is_tree(new):
        check(old, new)
        check([], new)
        return
    for start in (old, []):
        with pytest.raises(InvalidManifest):
            check(start, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ([], [], "no line for the root"),
        ([ROOT], [], "no line for the root"),
        ([ROOT, line("a")], [], "no line for the root"),
        ([], [line("a")], r"^\./a: its parent is not a directory"),
        ([ROOT, line("a")], [line("a")], "root|parent"),
        ([], [ROOT, line("a/b")], r"^\./a/b: its parent"),
        ([], [ROOT, line("a", "file"), line("a/b")], r"^\./a/b: its parent"),
        ([], [ROOT, line("a", "link"), line("a/passwd")], r"^\./a/passwd: its parent"),
        ([], [ROOT, line("a", "dir"), line("a/b/c")], r"^\./a/b/c: its parent"),
        ([ROOT, line("a", "dir")], [ROOT, line("a", "link"), line("a/b")], r"^\./a/b: its parent"),
        ([ROOT, line("a", "dir")], [ROOT, line("a/b")], r"^\./a/b: its parent"),
    ],
)
def test_no_tree_is_refused_by_name(old: list[bytes], new: list[bytes], message: str) -> None:
    """MF-12, MF-13: a path through a symlink is one of them."""
    with pytest.raises(InvalidManifest, match=message):
        check(old, new)


def test_what_is_left_below_is_for_the_caller_to_find() -> None:
    """MF-12: an unchanged line below a directory that became a symlink is in no change."""
    old = lines_of(entry("a", "dir"), entry("a/b"))
    new = lines_of(entry("a", "link"), entry("a/b"))
    gone = set[bytes]()

    list(vet(joined(old, new, ()), Needs(), {b".", b"./a"}, gone, {}))

    assert gone == {b"./a"}
    assert any_below([HEADER, *new], gone) == b"./a/b"


@given(st.lists(entries(), max_size=4))
def test_any_entries_are_accepted_or_refused(found: list[Entry]) -> None:
    """MF-13: nothing else happens."""
    new = list({line_path(one): one for one in lines_of(*found)}.values())

    try:
        check(lines_of(), new)
    except InvalidManifest as error:
        message = str(error)
    else:
        return
    assert re.fullmatch(r"[ -~]+", message)


def test_a_line_that_is_not_canonical_is_refused() -> None:
    """MF-13: although it stands where it should."""
    with pytest.raises(InvalidManifest, match="not a line"):
        check([ROOT], [ROOT, line("a").replace(b"mode=0644", b"mode=644")])


# --- hardlinks -----------------------------------------------------------------------


def group(*paths: str, content: str = "x", first: str = "") -> list[Entry]:
    """Return the entries of one inode with these names."""
    inode = group_inode((first or min(paths)).encode())
    return [replace(entry(path, content=content), nlink=len(paths), inode=inode) for path in paths]


def test_a_hardlink_group_passes() -> None:
    """MF-9."""
    needs = check([], lines_of(*group("a", "b", "c")))

    assert needs.added == 4


ONE, TWO = group("a", "b")


@pytest.mark.parametrize(
    "wrong",
    [
        [ONE],
        [ONE, TWO, replace(TWO, path=b"c")],
        [ONE, replace(TWO, mode=0o755)],
        [ONE, replace(TWO, uid=1)],
        [ONE, replace(TWO, sha256="0" * 64)],
        [ONE, replace(TWO, time_ns=1)],
        [ONE, replace(TWO, nlink=3)],
        [ONE, replace(TWO, inode=7)],
        [ONE, replace(TWO, xattrs=((b"user.a", b""),))],
        [ONE, replace(entry("b", "fifo"), nlink=2, inode=ONE.inode)],
        [replace(ONE, inode=7), replace(TWO, inode=7)],
        group("a", "b", first="b"),
        [*group("a", "b", first="a"), *group("c", "d", first="a")],
    ],
)
def test_a_group_that_does_not_agree_with_itself_is_refused(wrong: list[Entry]) -> None:
    """MF-9, MF-10."""
    with pytest.raises(InvalidManifest, match="the hardlink group is not consistent"):
        check([], lines_of(*wrong))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "b"], ["a", "b", "c"]),
        (["a", "b", "c"], ["a", "b"]),
        (["a", "b"], ["b", "c"]),
        (["b", "c"], ["a", "b"]),
        (["a", "b"], ["c", "d"]),
    ],
)
def test_a_group_may_change_its_names(old: list[str], new: list[str]) -> None:
    """MF-9: from any group to another."""
    check(lines_of(*group(*old)), lines_of(*group(*new)))


@pytest.mark.parametrize(
    ("old", "new"), [(["a", "b"], ["a", "c"]), (["a", "b", "d"], ["a", "c", "d"])]
)
def test_some_names_of_a_group_may_change(old: list[str], new: list[str]) -> None:
    """MF-9: the lines of the others stay."""
    check(lines_of(*group(*old)), lines_of(*group(*new)))


LETTERS = "abcde"


@st.composite
def partitions(draw: st.DrawFn) -> dict[str, bytes]:
    """Return lines by path, of files that are hardlinked to each other somehow."""
    numbers = draw(st.lists(st.integers(0, 2), min_size=5, max_size=5))
    found: dict[str, bytes] = {}
    for number in set(numbers):
        paths = [path for path, one in zip(LETTERS, numbers, strict=True) if one == number]
        names = group(*paths) if len(paths) > 1 else [entry(paths[0])]
        found.update(zip(paths, map(format_line, names), strict=True))
    return dict(sorted(found.items()))


def is_consistent(lines: Sequence[bytes]) -> bool:
    """Return whether the hardlink groups in these lines are."""
    found: dict[int, list[Entry]] = {}
    for one in map(parse_line, lines):
        if one.nlink > 1:
            found.setdefault(one.inode, []).append(one)
    return all(
        len(names) == names[0].nlink
        and len({replace(one, path=b"") for one in names}) == 1
        and inode == group_inode(min(one.path for one in names))
        for inode, names in found.items()
    )


@given(partitions(), partitions(), st.lists(st.integers(0, 2), min_size=5, max_size=5))
def test_groups_are_seen_through_any_change(
    seed: dict[str, bytes], other: dict[str, bytes], choice: list[int]
) -> None:
    """MF-9, MF-13: a name that goes without its group is noticed as well as one that comes."""
    both = [
        (seed.get(path), other.get(path), None)[one]
        for path, one in zip(LETTERS, choice, strict=True)
    ]
    wanted = [ROOT, *filter(None, both)]

    if is_consistent(wanted):
        check([ROOT, *seed.values()], wanted)
        return
    for start in ([ROOT, *seed.values()], [ROOT]):
        with pytest.raises(InvalidManifest, match="the hardlink group is not consistent"):
            check(start, wanted)


# --- drift ---------------------------------------------------------------------------


@st.composite
def drifts(draw: st.DrawFn, old: list[bytes]) -> list[Drift]:
    """Return a drift of the tree with these lines."""
    found = [
        Drift(line_path(old[index]), old[index], ("mode",), index)
        for index in draw(st.lists(st.sampled_from(range(len(old))), unique=True))
    ]
    there = {line_path(one) for one in old}
    extra = draw(st.lists(st.sampled_from(("a/extra", "b", "c", "z")), unique=True))
    fields = [line_path(line(path)) for path in extra]
    found += [Drift(field, None, ("extra",)) for field in fields if field not in there]
    return sorted(found, key=lambda one: one.field)


@given(plain_entries(), plain_entries(), st.data())
def test_drift_joins_the_changes(
    seed: list[Entry], wanted: list[Entry], data: st.DataObject
) -> None:
    old, new = made_tree(seed), made_tree(wanted)
    drift = data.draw(drifts(old))
    by_field = {one.field: one for one in drift}
    ours, theirs = ({line_path(one): one for one in found} for found in (old, new))

    found = joined(old, new, drift)

    fields = [change.field for change in found]
    assert fields == sorted(set(fields))
    changed = {one for one in ours.keys() | theirs.keys() if ours.get(one) != theirs.get(one)}
    assert set(fields) == changed | by_field.keys()
    for change in found:
        assert change.old == ours.get(change.field)
        assert change.new == theirs.get(change.field)
        assert change.untrusted == (change.field in by_field)
        if change.old is not None:
            assert old[change.old_index] == change.old
        if change.new is not None:
            assert new[change.new_index] == change.new


@given(plain_entries(), plain_entries(), st.data())
def test_the_inodes_of_a_tree_follow_its_changes(
    seed: list[Entry], wanted: list[Entry], data: st.DataObject
) -> None:
    """ST-7: one number for each line, that of the seed where nothing changed."""
    old, new = made_tree(seed), made_tree(wanted)
    drift = data.draw(drifts(old))
    changes = joined(old, new, drift)
    inodes = array("Q", range(1_000, 1_000 + len(old)))
    made = {change.new_index: 5_000 + change.new_index for change in changes if change.new}
    made = {index: number for index, number in made.items() if data.draw(st.booleans())}

    in_turn = [made.get(change.new_index, 0) for change in changes if change.new]
    spliced = splice(inodes, changes, in_turn)

    touched = {change.field for change in changes}
    assert list(spliced) == [
        made.get(index, 0) if line_path(one) in touched else inodes[old.index(one)]
        for index, one in enumerate(new)
    ]


# --- needs ---------------------------------------------------------------------------


@given(
    st.dictionaries(st.sampled_from(PATHS), st.tuples(st.integers(0, 1), st.integers(1, 3))),
    st.dictionaries(st.sampled_from(PATHS), st.tuples(st.integers(0, 1), st.integers(1, 3))),
)
def test_unchanged_lines_with_other_inodes_are_noted(
    old: dict[str, tuple[int, int]], new: dict[str, tuple[int, int]]
) -> None:
    """TR-13: each path has a mode and an inode; a line says the mode alone."""
    before, after = (
        {
            b"%b mode=%d\n" % (path_field(path.encode()), mode): inode
            for path, (mode, inode) in one.items()
        }
        for one in (old, new)
    )
    ours, theirs = (sorted(one, key=line_path) for one in (before, after))
    changes = list(compare([HEADER, *ours], [HEADER, *theirs]))
    one, other = (
        array("Q", [before[key] for key in ours]),
        array("Q", [after[key] for key in theirs]),
    )
    noted = array("Q")

    assert list(note_other_inodes(changes, one, other, noted)) == changes

    wanted = [key for key in theirs if before.get(key, after[key]) != after[key]]
    assert [theirs[index] for index in noted] == wanted


def test_needs_count_paths_by_kind() -> None:
    old = lines_of(entry("a"), entry("b"), entry("c"), entry("d", "link"), entry("e", "dir"))
    new = lines_of(
        entry("a"), replace(entry("b"), mode=0o755), entry("d"), entry("e", "dir"), entry("f")
    )
    drift = [
        Drift(b"./a", old[1], ("missing",), 1),
        Drift(b"./e", old[5], ("mode",), 5),
        Drift(b"./x", None, ("extra",)),
    ]

    needs = check(old, new, drift)

    assert (needs.added, needs.removed, needs.changed, needs.restored) == (1, 1, 2, 3)
    # a drifted, d and f are new; b has its content at its path.
    assert (needs.fetch_objects, needs.fetch_bytes) == (3, 3)
    assert needs.new_inodes == 5


@pytest.mark.parametrize(
    ("old", "new", "untrusted", "wanted"),
    [
        (None, entry("a"), False, True),
        (None, entry("a", content=""), False, False),
        (None, entry("a", "dir"), False, False),
        (None, entry("a", "link"), False, False),
        (entry("a"), entry("a"), True, True),
        (entry("a"), replace(entry("a"), mode=0), False, False),
        (entry("a"), replace(entry("a"), mode=0), True, True),
        (entry("a"), entry("a", content="yy"), False, True),
        (entry("a"), entry("a", content=""), False, False),
        (entry("a", "link"), entry("a"), False, True),
        (entry("a"), None, False, False),
        (None, None, True, False),
    ],
)
def test_content_is_wanted_where_the_path_has_it_not(
    old: Entry | None,
    new: Entry | None,
    untrusted: bool,  # noqa: FBT001
    wanted: bool,  # noqa: FBT001
) -> None:
    change = Change(
        b"./a",
        format_line(old) if old else None,
        format_line(new) if new else None,
        0,
        0,
        untrusted=untrusted,
    )
    needs = Needs()

    needs.count(change, old, new)

    assert wants_content(change) is wanted
    assert needs.fetch_objects == wanted
    assert needs.fetch_bytes == (new.size if wanted and new else 0)


def test_content_of_several_paths_is_known() -> None:
    needs = check(
        [], lines_of(entry("a"), entry("b"), entry("c", content="yy"), entry("d", content=""))
    )

    assert needs.repeated() == {hash_prefix(entry("a").sha256)}


@pytest.mark.parametrize("kind", ["file", "dir", "link", "char", "block", "fifo", "socket"])
def test_a_directory_is_known_by_its_line(kind: str) -> None:
    assert is_directory(line("d", kind)) == (kind == "dir")  # type: ignore[arg-type]
    assert is_directory(line("type=dir ", kind)) == (kind == "dir")  # type: ignore[arg-type]
