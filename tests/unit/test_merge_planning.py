"""What becomes of local changes: every pair of changes, and trees nobody thought of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman.errors import Refused
from rootman.manifest import Entry, group_inode
from rootman.merge.decision import ACL_ACCESS, Merged, body, decide, is_same, metadata
from rootman.merge.paths import ConfigPaths, ancestors, beside, matches
from rootman.merge.planning import MergePlan, Sides, contested, plan_merge

if TYPE_CHECKING:
    from rootman.manifest import EntryType

Side = dict[bytes, Entry]

CONFIG: Final = ConfigPaths.of(["/etc"])


def entry(path: bytes, kind: EntryType = "file", content: str = "base", mode: int = 0o644) -> Entry:
    made = Entry(path, kind, 0o777 if kind == "link" else mode, 0, 0, time_ns=1)
    if kind == "file":
        return replace(made, size=len(content), sha256=content)
    if kind == "link":
        return replace(made, link=content.encode())
    return replace(made, device=(1, len(content))) if kind == "char" else made


def sides_of(base: Side, local: Side, new: Side) -> Sides:
    """Return the sides as they are read: of ``local`` what is not as in ``base``."""
    changed = {
        path: local.get(path)
        for path in base.keys() | local.keys()
        if base.get(path) != local.get(path)
    }
    return Sides(base, changed, new)


def merge(base: Side, local: Side, new: Side) -> tuple[Side, MergePlan]:
    """Return what the merge makes of the tree ``new``, and its plan."""
    plan = plan_merge(sides_of(base, local, new), CONFIG)
    return carried(plan, new), plan


def carried(plan: MergePlan, new: Side) -> Side:
    """Do to ``new`` what the plan says, as a filesystem would."""
    tree = dict(new)
    for one in plan.outcomes:
        if parent(one.path) not in tree:
            assert one.entry is None, one
            continue
        if one.old is not None and one.was is not None:
            tree[one.old] = replace(one.was, path=one.old)
            continue
        stays = one.entry is not None and one.entry.type == "dir" and one.beside is None
        there = tree.get(one.path)
        if there is not None and not (stays and there.type == "dir"):
            below = [path for path in tree if path == one.path or one.path in ancestors(path)]
            for path in below:
                moved = tree.pop(path)
                if one.beside is not None:
                    name = one.beside + path[len(one.path) :]
                    assert name not in tree
                    tree[name] = replace(moved, path=name)
        if one.entry is not None:
            tree[one.path] = one.entry
    return tree


def parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


# --- one path --------------------------------------------------------------------------------

P: Final = b"etc/x"
BASE: Final = entry(P)
EDITED: Final = entry(P, content="local")
NEWER: Final = entry(P, content="new")
LINK: Final = entry(P, "link", "local")
FIFO: Final = entry(P, "fifo")
PRIVATE: Final = entry(P, mode=0o600)

# local, new, the result, what is beside, whether something gave way.
CELLS: Final = {
    "deleted, same": (None, BASE, None, None, False),
    "deleted, changed": (None, NEWER, None, "new", True),
    "deleted, metadata": (None, PRIVATE, None, None, True),
    "deleted, type": (None, FIFO, None, "new", True),
    "deleted, a directory": (None, entry(P, "dir"), entry(P, "dir"), None, True),
    "deleted, removed": (None, None, None, None, False),
    "edited, same": (EDITED, BASE, EDITED, None, False),
    "edited, changed": (EDITED, NEWER, EDITED, "new", True),
    "edited, metadata": (EDITED, PRIVATE, replace(EDITED, mode=0o600), None, False),
    "edited, type": (EDITED, FIFO, EDITED, "new", True),
    "edited, removed": (EDITED, None, EDITED, None, True),
    "edited, edited alike": (EDITED, EDITED, EDITED, None, False),
    "type, same": (LINK, BASE, LINK, None, False),
    "type, changed": (LINK, NEWER, LINK, "new", True),
    "type, metadata": (LINK, PRIVATE, LINK, None, True),
    "type, type": (LINK, FIFO, LINK, "new", True),
    "type, the same type": (LINK, LINK, LINK, None, False),
    "type, removed": (LINK, None, LINK, None, True),
    "metadata, same": (PRIVATE, BASE, PRIVATE, None, False),
    "metadata, changed": (PRIVATE, NEWER, replace(NEWER, mode=0o600), None, False),
    "metadata, type": (PRIVATE, FIFO, FIFO, "old", True),
    "metadata, removed": (PRIVATE, None, PRIVATE, None, True),
    "metadata, other metadata": (PRIVATE, entry(P, mode=0o640), PRIVATE, None, True),
    "time, removed": (replace(BASE, time_ns=5), None, None, None, False),
    "time, changed": (replace(BASE, time_ns=5), NEWER, NEWER, None, False),
    "time, same": (replace(BASE, time_ns=5), BASE, replace(BASE, time_ns=5), None, False),
    "inode, same": (BASE, BASE, BASE, None, False),
}  # fmt: skip


@pytest.mark.parametrize(("local", "new", "result", "kept", "is_lost"), CELLS.values(), ids=CELLS)
def test_what_becomes_of_a_file(
    local: Entry | None,
    new: Entry | None,
    result: Entry | None,
    kept: str | None,
    is_lost: bool,  # noqa: FBT001
) -> None:
    """MG-3, MG-8."""
    found = decide(BASE, local, new)

    assert (found.entry, found.beside, bool(found.losses)) == (result, kept, is_lost)


@pytest.mark.parametrize(
    ("local", "new", "result", "kept"),
    [
        (EDITED, None, EDITED, None),
        (EDITED, EDITED, EDITED, None),
        (EDITED, NEWER, EDITED, "new"),
        (LINK, NEWER, LINK, "new"),
        (entry(P, "dir", mode=0o700), entry(P, "dir"), entry(P, "dir", mode=0o700), None),
    ],
)
def test_what_becomes_of_what_was_added(
    local: Entry, new: Entry | None, result: Entry, kept: str | None
) -> None:
    """MG-3."""
    found = decide(None, local, new)

    assert (found.entry, found.beside) == (result, kept)


def test_metadata_are_merged_each_by_itself() -> None:
    """MG-3: an attribute that the release adds and one that was added here, owner and mode."""
    base = replace(BASE, xattrs=((b"user.a", b"1"), (b"user.b", b"1")))
    local = replace(base, uid=7, xattrs=((b"user.a", b"2"), (b"user.c", b"3")))
    new = replace(
        NEWER, mode=0o640, xattrs=((b"user.a", b"1"), (b"user.b", b"1"), (b"user.d", b"4"))
    )

    found = decide(base, local, new)

    assert found.entry == replace(
        NEWER,
        uid=7,
        mode=0o640,
        xattrs=((b"user.a", b"2"), (b"user.c", b"3"), (b"user.d", b"4")),
    )
    assert not found.losses


def test_an_access_acl_goes_with_the_mode() -> None:
    """MG-3: half of an ACL is none."""
    local = replace(BASE, mode=0o660, xattrs=((ACL_ACCESS, b"local"),))
    new = replace(NEWER, mode=0o600)

    found = decide(BASE, local, new)

    assert found.entry == replace(NEWER, mode=0o660, xattrs=((ACL_ACCESS, b"local"),))
    assert found.losses == ("mode: 0660 with an ACL here, 0600 by the release",)


@pytest.mark.parametrize("local", [None, "local"])
def test_a_cache_is_that_of_the_release(local: str | None) -> None:
    """MG-21."""
    path = b"etc/ld.so.cache"
    etc = {b"etc": entry(b"etc", "dir")}
    base, new = {**etc, path: entry(path)}, {**etc, path: entry(path, content="new")}
    ours = etc if local is None else {**etc, path: entry(path, content=local)}

    assert merge(base, ours, new) == (new, MergePlan())
    assert merge(base, ours, etc)[0] == ours
    assert merge(base, ours, {**etc, path: entry(path, "link")})[1].outcomes != ()


def test_labels_of_the_kernel_are_those_of_the_release() -> None:
    """MG-3."""
    local = replace(BASE, mode=0o600, xattrs=((b"security.selinux", b"here"),))
    new = replace(BASE, xattrs=((b"security.selinux", b"there"),))

    assert decide(BASE, local, new).entry == replace(new, mode=0o600)


def test_merged_content_is_no_conflict() -> None:
    """MG-9, MG-10."""
    merged = Merged(b"both", "both", "line by line")

    found = decide(BASE, EDITED, replace(NEWER, time_ns=9), merged)

    assert found.entry == replace(BASE, size=4, sha256="both", time_ns=9)
    assert (found.source, found.beside, found.losses) == ("merged", None, ())


# --- above and below -------------------------------------------------------------------------


def tree(*entries: Entry) -> Side:
    return {b"": entry(b"", "dir"), b"etc": entry(b"etc", "dir")} | {
        one.path: one for one in entries
    }


D: Final = entry(b"etc/d", "dir")
INNER: Final = entry(b"etc/d/x")
WITH_INNER: Final = tree(D, INNER)
INNER_NEW: Final = entry(b"etc/d/x", content="new")
D_LINK: Final = entry(b"etc/d", "link", "elsewhere")
D_FILE: Final = entry(b"etc/d", content="new")


def conflicts(plan: MergePlan) -> set[bytes]:
    return {one.path for one in plan.findings if one.kind == "conflict"}


def test_a_deleted_directory_stays_deleted() -> None:
    """MG-4."""
    result, plan = merge(WITH_INNER, tree(), WITH_INNER)

    assert result == tree()
    assert not conflicts(plan)


def test_a_deleted_directory_is_there_for_what_the_release_put_into_it() -> None:
    """MG-4."""
    added = entry(b"etc/d/added")

    result, plan = merge(WITH_INNER, tree(), tree(D, INNER, added))

    assert result == tree(D, added)
    assert conflicts(plan) == {b"etc/d"}


def test_a_deleted_directory_is_there_for_a_new_default() -> None:
    """MG-4, MG-7."""
    result, plan = merge(WITH_INNER, tree(), tree(D, INNER_NEW))

    assert result == tree(D, replace(INNER_NEW, path=b"etc/d/x.rootman-new"))
    assert conflicts(plan) == {b"etc/d", b"etc/d/x"}


def test_a_symlink_in_the_place_of_a_directory_stays() -> None:
    """MG-4."""
    result, plan = merge(WITH_INNER, tree(D_LINK), WITH_INNER)

    assert result == tree(D_LINK)
    assert not conflicts(plan)


def test_a_directory_with_news_moves_aside_as_a_whole() -> None:
    """MG-4, MG-7."""
    added = entry(b"etc/d/added")

    result, plan = merge(WITH_INNER, tree(D_LINK), tree(D, INNER, added))

    moved = [b"etc/d.rootman-new", b"etc/d.rootman-new/x", b"etc/d.rootman-new/added"]
    assert result.keys() == tree(D_LINK).keys() | set(moved)
    assert conflicts(plan) == {b"etc/d"}


def test_a_directory_stays_for_what_was_changed_in_it() -> None:
    """MG-4: the release has removed it, or has a file there."""
    mine = entry(b"etc/d/mine", content="local")
    local = tree(D, INNER, mine)

    removed, _ = merge(WITH_INNER, local, tree())
    replaced, plan = merge(WITH_INNER, local, tree(D_FILE))

    assert removed == tree(D, mine)
    assert replaced == tree(D, mine, replace(D_FILE, path=b"etc/d.rootman-new"))
    assert conflicts(plan) == {b"etc/d"}


def test_a_directory_that_only_has_other_metadata_gives_way() -> None:
    """MG-3: those of a directory mean nothing for a file."""
    private = replace(D, mode=0o700)

    result, plan = merge(tree(D), tree(private), tree(D_FILE))

    assert result == tree(D_FILE, replace(private, path=b"etc/d.rootman-old"))
    assert conflicts(plan) == {b"etc/d"}


def test_a_directory_takes_the_place_of_what_nobody_changed() -> None:
    """MG-3: a time alone is no change; other metadata are beside, with what they are of."""
    touched, private = replace(entry(b"etc/d"), time_ns=5), entry(b"etc/d", mode=0o600)
    base = tree(entry(b"etc/d"))

    followed, _ = merge(base, tree(touched), WITH_INNER)
    kept, _ = merge(base, tree(private), WITH_INNER)

    assert followed == WITH_INNER
    assert kept == {**WITH_INNER, **tree(replace(private, path=b"etc/d.rootman-old"))}


def test_what_was_beside_gives_way_to_a_newer_default() -> None:
    """MG-7: with what is in it."""
    beside_it = entry(b"etc/x.rootman-new", "dir")
    old = [beside_it, entry(b"etc/x.rootman-new/inner")]

    result, plan = merge(tree(BASE), tree(EDITED, *old), tree(NEWER))

    assert result == tree(EDITED, replace(NEWER, path=b"etc/x.rootman-new"))
    assert conflicts(plan) == {P}


def test_what_is_old_is_never_overwritten() -> None:
    """MG-7."""
    earlier = entry(b"etc/x.rootman-old", content="earlier")

    result, _ = merge(tree(BASE), tree(PRIVATE, earlier), tree(FIFO))

    assert result == tree(FIFO, earlier, replace(PRIVATE, path=b"etc/x.rootman-old.2"))


def test_a_default_of_the_release_is_not_overwritten_by_one_beside() -> None:
    """MG-7."""
    theirs = entry(b"etc/x.rootman-new", content="theirs")

    result, _ = merge(tree(BASE), tree(EDITED), tree(NEWER, theirs))

    assert result == tree(EDITED, theirs, replace(NEWER, path=b"etc/x.rootman-new.2"))


def test_configuration_without_a_place_is_refused() -> None:
    """MG-4."""
    config = ConfigPaths.of(["/opt/app/etc"])
    base = {path: entry(path, "dir") for path in (b"opt", b"opt/app", b"opt/app/etc")}
    local = {b"opt/app/etc/x": entry(b"opt/app/etc/x")}
    new = {b"opt": base[b"opt"], b"opt/app": entry(b"opt/app", "link")}

    with pytest.raises(Refused, match=r"^opt/app: no directory in the release"):
        plan_merge(Sides(base, dict(local), new), config)


def test_names_of_one_inode_stay_so() -> None:
    """MG-5."""
    links = {"nlink": 2, "inode": group_inode(b"etc/x")}
    base = tree(*(replace(entry(path), **links) for path in (b"etc/x", b"etc/y")))  # type: ignore[arg-type]
    local = tree(entry(b"etc/x", content="local"), entry(b"etc/y"))

    result, _ = merge(base, local, base)

    assert result == local


# --- trees nobody thought of -----------------------------------------------------------------

NAMES: Final = (b"a", b"b", b"a.rootman-new")


@st.composite
def trees(draw: st.DrawFn) -> Side:
    """Return configuration of a few names, two levels deep, that often meet each other."""
    found = tree()
    for name in NAMES:
        path = b"etc/" + name
        one = draw(entries(path))
        if one is not None:
            found[path] = one
            if one.type == "dir":
                for inner in NAMES:
                    below = path + b"/" + inner
                    if (more := draw(entries(below))) is not None:
                        found[below] = more
                        if more.type == "dir" and (last := draw(entries(below + b"/a"))):
                            found[below + b"/a"] = last
    return found


def entries(path: bytes) -> st.SearchStrategy[Entry | None]:
    made = st.builds(
        entry,
        st.just(path),
        st.sampled_from(("file", "file", "dir", "dir", "link", "fifo", "char")),
        st.sampled_from(("1", "22", "333")),
        st.sampled_from((0o600, 0o644)),
    )
    return st.one_of(st.none(), made)


def whole(side: Side) -> Side:
    """Return a side without what has no directory above."""
    return {path: one for path, one in side.items() if all(one_above_is_dir(side, path))}


def one_above_is_dir(side: Side, path: bytes) -> list[bool]:
    return [above in side and side[above].type == "dir" for above in ancestors(path)]


@given(trees(), trees(), trees())
def test_nothing_is_lost(base: Side, local: Side, new: Side) -> None:
    """MG-3, MG-4, MG-7, MG-8: of any three trees."""
    result, plan = merge(base, local, new)
    lost = conflicts(plan)

    assert result == whole(result)
    everything = {(path, body(one)) for path, one in result.items()}
    bodies = {body(one) for one in result.values()}
    for path, one in local.items():
        if body(one) != body(base.get(path)):
            assert (path, body(one)) in everything or path.find(b".rootman-new") >= 0
        elif not is_same(one, base.get(path)):
            # Its metadata are there, beside, or what both changed is told.
            assert path in lost or path in result
    for path, one in new.items():
        was, now = base.get(path), result.get(path)
        if is_same(one, was) or is_same(now, one):
            continue
        if body(one) != body(was):
            assert body(one) in bodies
        if not {path, *ancestors(path)} & lost:
            # What the release changed stands, beside what was changed here.
            assert was is not None
            assert now is not None
            changed = metadata(one).items() - metadata(was).items()
            assert changed <= metadata(now).items()


@given(trees(), trees())
def test_what_one_side_left_alone_is_as_on_the_other(base: Side, other: Side) -> None:
    """MG-3: and what both have alike is that."""
    for sides in ((base, base, other), (base, other, base), (base, other, other)):
        result, plan = merge(*sides)

        assert result == other
        assert not conflicts(plan)


@given(trees(), trees(), trees())
def test_contents_are_contested_where_both_sides_changed_a_file(
    base: Side, local: Side, new: Side
) -> None:
    """MG-9, MG-10."""
    for path in contested(sides_of(base, local, new)):
        assert local[path].type == new[path].type == "file"
        assert len({body(side.get(path)) for side in (base, local, new)}) == 3


# --- names -----------------------------------------------------------------------------------


def test_what_is_configuration() -> None:
    """MG-2: what a config path covers, once, however many cover it."""
    config = ConfigPaths.of(["/etc", "/etc/ssh", "/usr/local/etc"])

    assert config.paths == (b"etc", b"usr/local/etc")
    assert [path for path in (b"etc", b"etc/a", b"etc-a", b"usr/local") if config.covers(path)] == [
        b"etc",
        b"etc/a",
    ]
    assert config.parents == {b".", b"usr/local"}
    assert config.above == {b"usr", b"usr/local"}


def test_a_name_beside_fits() -> None:
    """MG-7."""
    path = b"etc/" + b"n" * 255
    first = beside(path, "new", ())

    assert first == b"etc/" + b"n" * 243 + b".rootman-new"
    assert len(beside(path, "old", {beside(path, "old", ())})) == len(path)


@pytest.mark.parametrize(
    ("path", "pattern", "is_match"),
    [
        (b"etc/default/a", b"etc/default/*", True),
        (b"etc/default/a/b", b"etc/default/*", False),
        (b"etc/a.conf", b"etc/*.conf", True),
        (b"etc/A.conf", b"etc/a.conf", False),
    ],
)
def test_a_glob_stands_for_names(path: bytes, pattern: bytes, is_match: bool) -> None:  # noqa: FBT001
    """MG-10."""
    assert matches(path, pattern) is is_match
