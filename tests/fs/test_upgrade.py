"""Upgrades from any tree to any other: the new one as published, the old ones as they were.

Seeds are made in two ways, and most tests meet both: the first upgrade clones, the
next ones use the spare. Out of scope: wrong input and a wrong machine, what the
command line prints, faults in the middle.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from rootman.errors import Refused
from rootman.fsops import RealFs
from rootman.upgrade import Options
from tests.builders import (
    TIME,
    Node,
    Tree,
    block,
    char,
    differences,
    directory,
    fifo,
    file,
    hardlink,
    snapshot,
    symlink,
    unix_socket,
)
from tests.checks import check_published, check_upgrade, check_upgrades
from tests.fault.faulty import Hasty
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootman.fsops import Name
    from tests.conftest import MakeFs
    from tests.filesystems import Kind

SEEDS: Final = ("clone", "spare")


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    return Lab(tmp_on_ext4, make_fs=Hasty)


def check_change(lab: Lab, seed: str, before: Tree, after: Tree) -> None:
    """Upgrade from ``before`` to ``after`` and back, by a clone or with the spare."""
    if seed == "clone":
        check_upgrades(lab, before, after)
    else:
        check_upgrades(lab, before, before, after, before, after)


# --- any type becomes any other --------------------------------------------------------

BIG: Final = bytes(range(256)) * 300
Make = "Callable[[str], Tree]"


def filled(path: str) -> Tree:
    return {
        path: directory(0o750, time=5),
        f"{path}/file": file("inside"),
        f"{path}/empty": file(),
        f"{path}/sub/deep/file": file("deep inside"),
        f"{path}/sub/link": symlink("../file"),
        f"{path}/sub/fifo": fifo(),
    }


KINDS: Final[dict[str, Callable[[str], Tree]]] = {
    "nothing": lambda _: {},
    "file": lambda path: {path: file("content", 0o4755)},
    "big": lambda path: {path: file(BIG)},
    "empty": lambda path: {path: file(b"", 0o600)},
    "emptydir": lambda path: {path: directory(0o1777)},
    "dir": filled,
    "link": lambda path: {path: symlink("dir-dir")},
    "dangling": lambda path: {path: symlink("/nowhere/at all", time=3)},
    "fifo": lambda path: {path: fifo(0o622)},
    "socket": lambda path: {path: unix_socket()},
    "char": lambda path: {path: char(1, 3)},
    "block": lambda path: {path: block(7, 200, uid=3)},
    "group": lambda path: {
        path: file("of a group"),
        f"{path}+": hardlink(path),
        f"~{path}": hardlink(path),
    },
}


def kinds(*, first: bool) -> Tree:
    """Return a path for each pair of kinds, as the ``first`` of the pair or the second."""
    tree: Tree = {}
    for old in KINDS:
        for new in KINDS:
            tree |= KINDS[old if first else new](f"{old}-{new}")
    return tree


@pytest.mark.parametrize("seed", SEEDS)
def test_any_type_becomes_any_other(lab: Lab, seed: str) -> None:
    """S1, S5, TR-12."""
    check_change(lab, seed, kinds(first=True), kinds(first=False))


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_any_type_on_other_filesystems(make_fs: MakeFs, kind: Kind) -> None:
    """S1, S5."""
    lab = Lab(make_fs(kind).path)
    check_change(lab, "spare", kinds(first=True), kinds(first=False))


# --- metadata alone ----------------------------------------------------------------------


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Return an ACL of (tag, permissions, id) as the kernel keeps it."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)


NOBODY: Final = 0xFFFFFFFF
ACL: Final = acl((1, 6, NOBODY), (2, 4, 1000), (4, 4, NOBODY), (0x10, 4, NOBODY), (0x20, 0, NOBODY))
ACL_MORE: Final = acl(
    (1, 6, NOBODY), (2, 4, 1000), (2, 6, 1001), (4, 4, NOBODY), (0x10, 6, NOBODY), (0x20, 0, NOBODY)
)
CAPABILITY: Final = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"

NODES: Final[dict[str, Node]] = {
    "file": file("content", 0o644),
    "empty": file(b"", 0o644),
    "dir": directory(0o755),
    "link": symlink("target"),
    "fifo": fifo(0o644),
    "socket": unix_socket(0o755),
    "char": char(1, 5, 0o644),
    "block": block(7, 1, 0o644),
}
ANY: Final = tuple(NODES)
NO_LINK: Final = tuple(kind for kind in NODES if kind != "link")
CONTENT: Final = ("file", "empty", "dir")
METADATA: Final[dict[str, tuple[tuple[str, ...], Callable[[Node], Node]]]] = {
    "mode": (NO_LINK, lambda node: replace(node, mode=0o600)),
    "setuid": (("file", "empty"), lambda node: replace(node, mode=0o4755)),
    "setgid": (("file", "empty", "dir"), lambda node: replace(node, mode=0o2755)),
    "sticky": (("dir", "file"), lambda node: replace(node, mode=0o1777)),
    "none": (NO_LINK, lambda node: replace(node, mode=0)),
    "uid": (ANY, lambda node: replace(node, uid=1234)),
    "gid": (ANY, lambda node: replace(node, gid=4_294_967_294)),
    "suid-and-owner": (("file",), lambda node: replace(node, mode=0o6755, uid=7, gid=8)),
    "time": (ANY, lambda node: replace(node, time=TIME + 1)),
    "1970": (ANY, lambda node: replace(node, time=1)),
    "before-1970": (ANY, lambda node: replace(node, time=-1_500_000_000)),
    "user": (CONTENT, lambda node: replace(node, xattrs={"user.a": b"1", "user.b": b"\0\xff"})),
    "other-user": (CONTENT, lambda node: replace(node, xattrs={"user.b": b""})),
    "trusted": (ANY, lambda node: replace(node, xattrs={"trusted.note": b"x" * 200})),
    "acl": (NO_LINK, lambda node: replace(node, mode=0o640, xattrs={ACCESS: ACL})),
    "acl-more": (NO_LINK, lambda node: replace(node, mode=0o660, xattrs={ACCESS: ACL_MORE})),
    "acl-default": (("dir",), lambda node: replace(node, xattrs={DEFAULT: ACL_MORE})),
    "capability": (
        ("file", "empty"),
        lambda node: replace(node, mode=0o755, uid=5, xattrs={"security.capability": CAPABILITY}),
    ),
}


def metadata(old: str, new: str) -> tuple[Tree, Tree]:
    """Return two trees: each kind of entry that can have both, with ``old`` and with ``new``."""
    trees: tuple[Tree, Tree] = ({}, {})
    for kind, node in NODES.items():
        for tree, name in zip(trees, (old, new), strict=True):
            fitting, change = METADATA.get(name, (ANY, lambda same: same))
            tree[f"{old}-{new}/{kind}"] = change(node) if kind in fitting else node
    return trees


@pytest.mark.parametrize("seed", SEEDS)
def test_metadata_alone(lab: Lab, seed: str) -> None:
    """S5: no shared inode is touched for it, and nothing is lost on the way."""
    before: Tree = {}
    after: Tree = {}
    pairs = [("plain", name) for name in METADATA] + [
        ("user", "other-user"),
        ("acl", "acl-more"),
        ("acl", "capability"),
        ("capability", "setuid"),
        ("setuid", "uid"),
        ("none", "trusted"),
    ]
    for old, new in pairs:
        one, other = metadata(old, new)
        before |= one
        after |= other
    before["."] = directory(0o755)
    after["."] = directory(0o2711, uid=3, time=77, xattrs={"user.root": b"x"})

    check_change(lab, seed, before, after)


def test_content_is_not_fetched_for_metadata(lab: Lab) -> None:
    """RL-7: what stands at the path already is copied, so the objects may be gone."""
    lab.init()
    for version, mode in enumerate((0o644, 0o755, 0o600), 1):
        lab.publish(version, {"file": file(BIG, mode), "kept": file("kept")})
        if version > 1:
            shutil.rmtree(lab.repo / "objects")
        check_upgrade(lab, version)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_inherited_from_a_directory(lab: Lab, seed: str) -> None:
    """A default ACL and setgid give new entries what their manifest lines do not say."""
    lab.init()
    names = {f"dir/{kind}": node for kind, node in NODES.items()}
    trees: list[Tree] = [{"dir": directory()}, {"dir": directory()}, {"dir": directory(), **names}]
    for version, tree in enumerate(trees[seed == "clone" :], 1):
        lab.publish(version, tree) if "dir/file" not in tree else build_and_set(lab, version, tree)
        check_upgrade(lab, version)


def build_and_set(lab: Lab, version: int, tree: Tree) -> None:
    """Publish ``tree`` with a default ACL and a setgid bit that came after the entries."""
    from tests.builders import build

    root = build(lab.source(version), tree)
    os.setxattr(root / "dir", DEFAULT, ACL_MORE)
    (root / "dir").chmod(0o2775)
    os.utime(root / "dir", ns=(TIME, TIME))
    lab.publish(version)


# --- hardlink groups -----------------------------------------------------------------------

X: Final = file("of x", 0o755)
Y: Final = file("of y", 0o755)


def groups(*names: str, node: Node = X) -> Tree:
    """Return a tree with one group for each of ``names``, a letter for each of its paths."""
    tree: Tree = {"other": file("other")}
    for group in names:
        for letter in group:
            tree[f"d{letter}/{letter}"] = (
                node if letter == group[0] else hardlink(f"d{group[0]}/{group[0]}")
            )
    return tree


GROUPS: Final = {
    "made": (groups("a", "b", "c"), groups("abc")),
    "a name more": (groups("ab"), groups("abc")),
    "a first name more": (groups("bc"), groups("abc")),
    "a name less": (groups("abc"), groups("ab")),
    "the first name less": (groups("abc"), groups("bc")),
    "one left": (groups("abc"), groups("b")),
    "another name": (groups("ab"), groups("ac")),
    "another first name": (groups("bc"), groups("ac")),
    "moved": (groups("abc"), groups("def")),
    "split": (groups("abcd"), groups("ab", "cd")),
    "joined": (groups("ab", "cd"), groups("abcd")),
    "crossed": (groups("ab", "cd"), groups("ac", "bd")),
    "taken apart": (groups("abc"), groups("a", "b", "c")),
    "other content": (groups("abc"), groups("abc", node=Y)),
    "other content, another name": (groups("abc"), groups("bcd", node=Y)),
    "other mode": (groups("abc"), groups("abc", node=replace(X, mode=0o4711))),
    "empty": (groups("abc", node=file()), groups("ab", "cd", node=file())),
    "empty to full": (groups("abc", node=file()), groups("abd")),
    "fifos": (groups("abc", node=fifo()), groups("bc", "ad", node=fifo())),
    "devices": (groups("abc", node=char(1, 3)), groups("abd", node=char(1, 3))),
    "symlinks": (groups("abc", node=symlink("x")), groups("acd", node=symlink("x"))),
    "to symlinks": (groups("abc"), groups("abc", node=symlink("x"))),
    "a name becomes a directory": (groups("abc"), {**groups("ab"), "dc/c/inside": file("y")}),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", GROUPS)
def test_hardlink_groups(lab: Lab, seed: str, name: str) -> None:
    """ST-9, MF-9: what is one inode is one inode, and nothing else is."""
    check_change(lab, seed, *GROUPS[name])


# --- names, holes, sizes ---------------------------------------------------------------------

NAMES: Final = (
    " ", "a b", "new\nline", "tab\t", "back\\slash", "\\012", "#mtree", "*", "?", "[x]", "=",
    "-rf", "...", ".hidden", "ä", "\udcff\udcfe", "\udc80 \n", "\x01\x7f", "'\"`$(x)", "a" * 255,
    "current", ".rootman", "root", "meta", "olpc.1",
)  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_names_of_every_kind(lab: Lab, seed: str) -> None:
    """MF-4, MF-5."""
    before: Tree = {}
    after: Tree = {}
    for name in NAMES:
        before |= {f"changed/{name}": file("1"), f"removed/{name}": symlink(name)}
        before |= {f"in/{name}/file": file("x"), f"kept/{name}": file("kept")}
        after |= {f"changed/{name}": file("2"), f"added/{name}": symlink(f"to/{name}")}
        after |= {f"in/{name}/{name}": file("y"), f"kept/{name}": file("kept")}
        after |= {f"linked/{name}": hardlink(f"in/{name}/{name}")}

    check_change(lab, seed, before, after)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_paths(lab: Lab, seed: str) -> None:
    """MF-2: names that sort between a directory and what is in it."""
    before: Tree = {"a/x": file("1"), "a-b/x": file("2"), "a.b": file("3"), "a/x-y": file("4")}
    after: Tree = {"a": file("5"), "a-b": file("6"), "a.b/x": file("7"), "a+/x/y/z": file("8")}

    check_change(lab, seed, before, after)


@pytest.mark.parametrize("seed", SEEDS)
def test_sparse_files(lab: Lab, seed: str) -> None:
    """Holes are made again, wherever the file came from."""
    before: Tree = {
        "grows": file("end", hole=1 << 20),
        "mode": file("end", 0o644, hole=40 << 20),
        "only": file(b"", hole=8 << 20),
        "filled": file("x", hole=4096),
    }
    after: Tree = {
        "grows": file("end", hole=30 << 20),
        "mode": file("end", 0o600, hole=40 << 20),
        "only": file(b"", hole=8 << 20),
        "filled": file(b"x" * 4097),
        "new": file(b"", hole=16 << 20),
    }

    check_change(lab, seed, before, after)

    newest = max(tree.number for tree in lab.scan().trees)
    for name in ("grows", "mode", "only", "new"):
        assert (lab.tree(newest) / name).stat().st_blocks * 512 <= 64 << 10, name


def test_deep_and_wide(lab: Lab) -> None:
    """More directories than descriptors are kept open."""
    deep = "/".join("d" * 20 for _ in range(100))
    wide = {f"wide/{number}/{number % 7}": file(str(number)) for number in range(300)}
    before: Tree = {f"{deep}/file": file("deep"), **wide}
    after: Tree = {
        f"{deep}/file": file("deeper"),
        **{name: file(f"{node.content!r}") for name, node in wide.items()},
    }
    after[f"{deep}/more/file"] = file("deepest")

    check_upgrades(lab, before, before, after, before)


def test_to_nothing_and_back(lab: Lab) -> None:
    """An empty tree is a tree."""
    check_upgrades(lab, {}, filled("x"), {}, {}, kinds(first=True), {}, filled("x"))


# --- a spare that was changed behind our back ---------------------------------------------------

# What lstat(2) cannot see is not noticed in a seed (decisions/0003, ST-8): content changed in
# place with size and modification time put back; xattrs, ACLs and capabilities of an inode
# that is shared; one that was replaced by one of the same number. `verify` finds those, so
# the tests of `verify`
# are where they stand.

TREE: Final[Tree] = {
    "dir/kept": file("kept"),
    "dir/changed": file("old"),
    "dir/removed": file("to go"),
    "dir/empty": file(),
    "dir/fifo": fifo(),
    "dir/null": char(1, 3),
    "dir/link": symlink("kept"),
    "dir/sub/file": file("in sub"),
    "dir/sub/deep/file": file("deep"),
    "group/a": file("group", 0o755),
    "group/b": hardlink("group/a"),
    "only/shared": file("shared"),
    "top": file("top"),
}
NEXT: Final[Tree] = {**TREE, "dir/changed": file("new"), "dir/new": file("new, too")}
del NEXT["dir/removed"]


def in_place(path: Path, data: bytes) -> None:
    with path.open("r+b") as out:
        out.write(data)


def append(path: Path) -> None:
    with path.open("ab") as out:
        out.write(b"appended")


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def instead(path: Path, make: Callable[[Path], object]) -> None:
    remove(path)
    make(path)


def rewritten(path: Path) -> None:
    """Replace the file by one that only its inode tells from it."""
    status, data = path.stat(), path.read_bytes()
    path.rename(path.with_name("aside"))
    path.write_bytes(data)
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_mtime_ns,) * 2)
    path.with_name("aside").unlink()


Tamper = tuple[str, "Callable[[Path], object]"]
FILES: Final[dict[str, Callable[[Path], object]]] = {
    "appended": append,
    "written in place": lambda path: in_place(path, b"XX"),
    "truncated": lambda path: os.truncate(path, 0),
    "removed": remove,
    "replaced": lambda path: instead(path, lambda new: new.write_bytes(b"replaced")),
    "replaced by the same": rewritten,
    "mode": lambda path: path.chmod(0o777),
    "owner": lambda path: os.chown(path, 1, 2),
    "time": os.utime,
    "now a directory": lambda path: instead(path, lambda new: (new / "x/y").mkdir(parents=True)),
    "now a symlink": lambda path: instead(path, lambda new: new.symlink_to("/etc/passwd")),
    "now a fifo": lambda path: instead(path, os.mkfifo),
    "one more name": lambda path: os.link(path, path.with_name("one more")),
}
OTHERS: Final[dict[str, Callable[[Path], object]]] = {
    "added": lambda root: (root / "dir/new").write_bytes(b"in the way"),
    "added elsewhere": lambda root: (root / "dir/sub/added").write_bytes(b"x"),
    "directory added": lambda root: shutil.copytree(root / "dir/sub", root / "added"),
    "directory added in the way": lambda root: (root / "dir/new/deep").mkdir(parents=True),
    "directory removed": lambda root: shutil.rmtree(root / "dir/sub"),
    "all removed": lambda root: list(map(remove, root.iterdir())),
    "directory's mode": lambda root: (root / "dir/sub").chmod(0o777),
    "directory's owner": lambda root: os.chown(root / "dir", 1, 1),
    "directory's time": lambda root: os.utime(root / "dir/sub/deep"),
    "directory's xattr": lambda root: os.setxattr(root / "dir/sub", "user.local", b"x"),
    "deep directory's xattr": lambda root: os.setxattr(root / "dir/sub/deep", "trusted.x", b""),
    "root's xattr": lambda root: os.setxattr(root, "user.local", b"x"),
    "root's mode": lambda root: root.chmod(0o700),
    "root's owner": lambda root: os.chown(root, 9, 9),
    "directory now a file": lambda root: instead(root / "dir/sub", Path.touch),
    "directory now a symlink": lambda root: instead(
        root / "dir/sub", lambda new: new.symlink_to("../group")
    ),
    "symlink": lambda root: instead(root / "dir/link", lambda new: new.symlink_to("gone")),
    "symlink removed": lambda root: remove(root / "dir/link"),
    "empty filled": lambda root: append(root / "dir/empty"),
    "empty's xattr": lambda root: os.setxattr(root / "dir/empty", "user.local", b"x"),
    "fifo's xattr": lambda root: os.setxattr(root / "dir/fifo", "trusted.local", b"x"),
    "empty's mode": lambda root: (root / "dir/empty").chmod(0o600),
    "empty removed": lambda root: remove(root / "dir/empty"),
    "fifo now a file": lambda root: instead(root / "dir/fifo", Path.touch),
    "device": lambda root: instead(root / "dir/null", partial(os.mknod, mode=0o20666, device=259)),
    "group broken": lambda root: rewritten(root / "group/b"),
    "group's name removed": lambda root: remove(root / "group/a"),
    "two linked": lambda root: instead(
        root / "dir/kept", lambda new: os.link(root / "top", new)
    ),
    "exchanged": lambda root: [
        (root / "top").rename(root / "x"),
        (root / "dir/kept").rename(root / "top"),
        (root / "x").rename(root / "dir/kept"),
    ],
    "very much": lambda root: [(root / f"dir/{number}").write_bytes(b"") for number in range(300)],
}  # fmt: skip
TAMPERS: Final[dict[str, Callable[[Path], object]]] = {
    **OTHERS,
    **{
        f"{path} {what}": lambda root, path=path, change=change: change(root / path)  # type: ignore[misc]
        for path in ("dir/kept", "dir/changed")
        for what, change in FILES.items()
    },
}


# Of what the spare shares; ADR 0007 says who sees them.
IN_PLACE: Final[dict[str, Callable[[Path], object]]] = {
    "appended": lambda root: append(root / "group/b"),
    "written": lambda root: in_place(root / "only/shared", b"XX"),
    "mode": lambda root: (root / "only/shared").chmod(0o600),
}


@pytest.fixture
def with_spare(lab: Lab) -> Lab:
    """Return a store with the versions 2 and 3 and a spare of 3, and releases up to 5."""
    lab.init()
    for version in (1, 2, 3):
        lab.publish(version, TREE)
        lab.upgrade(version)
    lab.publish(4, NEXT)
    lab.publish(5, TREE)
    return lab


@pytest.mark.parametrize("what", TAMPERS)
def test_a_spare_that_was_changed(with_spare: Lab, what: str) -> None:
    """ST-8, ST-18, S5: none of it is in a new tree."""
    lab = with_spare
    TAMPERS[what](lab.spare(3))

    check_upgrade(lab, 4)
    check_upgrade(lab, 5)

    warned = any("the spare cannot be trusted" in one for one in lab.heard.warnings)
    assert warned == (what == "very much")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda stage: shutil.rmtree(stage / "meta"),
        lambda stage: shutil.rmtree(stage / "root"),
        lambda stage: (stage / "meta/digests.zst").unlink(),
        lambda stage: instead(stage / "meta/digests.zst", lambda new: new.write_bytes(b"x")),
        lambda stage: instead(stage / "meta/inodes.zst", lambda new: new.write_bytes(b"x")),
        lambda stage: instead(stage / "meta/manifest.zst", lambda new: new.write_bytes(b"x")),
        lambda stage: instead(stage / "meta/seal.json", lambda new: new.write_bytes(b"{}")),
        lambda stage: instead(stage / "root", lambda new: new.symlink_to("../../../olpc.3")),
        shutil.rmtree,
    ],
    ids=["no meta", "no root", "no digests", "digests", "inodes", "manifest", "seal", "link", "no"],
)
def test_a_spare_that_is_none(with_spare: Lab, spoil: Callable[[Path], object]) -> None:
    """TR-11, TR-13: it is done without."""
    lab = with_spare
    (lab.spare(3) / "top").chmod(0o600)  # so that the record is read, and current differs
    spoil(lab.spare(3).parent)

    check_upgrade(lab, 4)

    assert os.listdir(lab.control / "staging") == ["spare.4"]


# --- local changes -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", TAMPERS)
def test_local_changes_stay_where_they_are(lab: Lab, what: str) -> None:
    """S5: none gets into a later tree, by the clone or when the tree has become the spare."""
    lab.init()
    lab.publish(1, TREE)
    lab.upgrade(1)
    TAMPERS[what](lab.tree(1))

    for version, tree in enumerate((NEXT, TREE, NEXT, TREE), 2):
        lab.publish(version, tree)
        check_upgrade(lab, version)


@pytest.mark.parametrize("what", TAMPERS)
def test_local_changes_with_a_spare(with_spare: Lab, what: str) -> None:
    """S5: the tree that was changed falls out and is the spare of a later upgrade."""
    lab = with_spare
    TAMPERS[what](lab.tree(3))

    for version, tree in ((4, None), (5, None), (6, NEXT), (7, TREE)):
        if tree is not None:
            lab.publish(version, tree)
        check_upgrade(lab, version)


@pytest.mark.parametrize("what", IN_PLACE)
def test_what_is_changed_in_place_is_not_cloned(lab: Lab, what: str) -> None:
    """S5: a clone looks at every inode that it links."""
    lab.init()
    lab.publish(1, TREE)
    lab.upgrade(1)
    IN_PLACE[what](lab.tree(1))
    lab.publish(2, NEXT)

    check_upgrade(lab, 2)


@pytest.mark.parametrize("what", IN_PLACE)
def test_what_is_changed_in_place_without_the_guard(with_spare: Lab, what: str) -> None:
    """ST-18: it is in every tree that shares the inode; verify says so, and repair mends it."""
    lab = with_spare
    IN_PLACE[what](lab.tree(3))

    lab.upgrade(4)

    assert [one.damaged for one in lab.verify(4)][:1] == [True]
    lab.repair(4)
    assert lab.verify(4) == []
    lab.upgrade(5)
    check_published(lab, 5)


def test_a_file_that_changed_and_changed_back(lab: Lab) -> None:
    """TR-13: an equal line is another inode, and the spare has the one of current."""
    lab.init()
    for version, tree in enumerate((TREE, NEXT, TREE, NEXT, TREE), 1):
        lab.publish(version, tree)
        lab.upgrade(version)
        if version > 1:
            drift = [one for one in lab.drift_of_spare(version) if one.what != ("group",)]
            assert drift == []


# --- the cost ------------------------------------------------------------------------------------


class CountingFs(RealFs):
    """Counts what makes and removes names."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def mkdir(self, name: Name, mode: int, *, dir_fd: int) -> None:
        self.count["mkdir"] += 1
        super().mkdir(name, mode, dir_fd=dir_fd)

    def link(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
        self.count["link"] += 1
        super().link(source, target, source_fd=source_fd, target_fd=target_fd)

    def create(self, name: Name, *, dir_fd: int, mode: int = 0o600) -> int:
        self.count["create"] += 1
        return super().create(name, dir_fd=dir_fd, mode=mode)

    def unlink(self, name: Name, *, dir_fd: int) -> None:
        self.count["unlink"] += 1
        super().unlink(name, dir_fd=dir_fd)

    def rmdir(self, name: Name, *, dir_fd: int) -> None:
        self.count["rmdir"] += 1
        super().rmdir(name, dir_fd=dir_fd)

    def total(self) -> int:
        return sum(self.count.values())


def costs(home: Path, size: int) -> list[Counter[str]]:
    """Return what each of five upgrades of a tree with ``size`` directories costs."""
    home.mkdir()
    lab = Lab(home)
    lab.init()
    found = []
    for version in range(1, 6):
        tree: Tree = {f"d{number}/kept": file(str(number)) for number in range(size)}
        tree |= {f"d{number}/changed": file(f"{version}.{number}") for number in range(5)}
        tree["d0/empty"] = file()
        lab.publish(version, tree)
        fs = CountingFs()
        lab.upgrade(version, fs=fs)
        found.append(fs.count)
    return found


def test_the_cost_follows_the_change(tmp_on_ext4: Path) -> None:
    """TR-13: with the spare the size of the tree does not matter."""
    small = costs(tmp_on_ext4 / "small", 20)
    large = costs(tmp_on_ext4 / "large", 200)

    assert large[1].total() > small[1].total() + 2 * 180  # the first upgrade clones
    assert large[2:] == small[2:]
    for count in large[2:]:
        assert count["mkdir"] == count["rmdir"] <= 3
        assert count["link"] <= 5 + 7
        assert count["unlink"] <= 2 * 5 + 16


# --- the ways that lead to an upgrade -------------------------------------------------------------


def numbered(version: int) -> Tree:
    return {**TREE, "dir/changed": file(f"{version}"), f"only/in.{version}": file("x")}


@pytest.fixture
def three(lab: Lab) -> Lab:
    """Return a store with three upgrades behind it, and releases up to 6."""
    lab.init()
    for version in range(1, 7):
        lab.publish(version, numbered(version))
    for version in (1, 2, 3):
        lab.upgrade(version)
    return lab


def staged(lab: Lab) -> list[str]:
    return sorted(os.listdir(lab.control / "staging"))


def test_after_a_rollback(three: Lab) -> None:
    """TR-13: the tree that was left falls out; the spare serves as before."""
    three.rollback()
    assert staged(three) == ["spare.3"]

    check_upgrade(three, 4)

    assert (three.link("current"), three.link("previous")) == ("olpc.4", "olpc.2")
    assert staged(three) == ["spare.4"]
    assert not three.tree(3).exists()
    check_upgrade(three, 5)


def test_after_two_rollbacks(three: Lab) -> None:
    """TR-14."""
    three.rollback()
    three.rollback()

    check_upgrade(three, 4)

    assert (three.link("current"), three.link("previous")) == ("olpc.4", "olpc.3")
    check_upgrade(three, 5)


def test_a_tree_that_was_left_is_taken_again(three: Lab) -> None:
    """RL-12: it is here, so the links change and nothing else."""
    three.rollback()
    before = {version: snapshot(three.tree(version)) for version in (2, 3)}
    fs = CountingFs()

    three.upgrade(3, fs=fs)

    assert (three.link("current"), three.link("previous")) == ("olpc.3", "olpc.2")
    assert fs.total() == 0
    for version, was in before.items():
        assert differences(snapshot(three.tree(version)), was) == []
    check_upgrade(three, 4)


def test_a_version_that_is_current_is_nothing_to_do(three: Lab) -> None:
    """RL-12."""
    fs = CountingFs()

    result = three.upgrade(3, fs=fs)

    assert (result.plan, fs.total()) == ((), 0)
    assert (three.link("current"), three.link("previous")) == ("olpc.3", "olpc.2")


def test_a_pinned_tree_stays_and_there_is_a_spare(three: Lab) -> None:
    """TR-13, TR-15: it costs a clone."""
    three.pin(2)

    check_upgrade(three, 4)

    assert staged(three) == ["spare.4"]
    check_published(three, 2)
    check_upgrade(three, 5)
    check_published(three, 2)
    assert staged(three) == ["spare.5"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_downgrade(three: Lab, version: int) -> None:
    """RL-12: only where it was asked for, whether the tree is here (2) or not (1)."""
    with pytest.raises(Refused, match="not newer"):
        three.upgrade(version)
    assert (three.link("current"), three.link("previous")) == ("olpc.3", "olpc.2")

    check_upgrade(three, version, Options(allow_downgrade=True))

    assert (three.link("current"), three.link("previous")) == (f"olpc.{version}", "olpc.3")
    check_upgrade(three, 4)
    check_upgrade(three, 5)


def test_the_spare_of_a_version_that_was_pruned(three: Lab) -> None:
    """ST-10: it has a record of its own."""
    three.pin(2)
    three.upgrade(4)
    three.rollback(2)
    three.rollback(3)
    three.prune(4)
    assert staged(three) == ["spare.4"]
    assert not three.tree(4).exists()

    check_upgrade(three, 5)

    assert staged(three) == ["spare.5"]
    assert three.heard.warnings == []
    check_upgrade(three, 6)


def test_upgrades_that_leave_versions_out(three: Lab) -> None:
    check_upgrade(three, 6)
    assert (three.link("current"), three.link("previous")) == ("olpc.6", "olpc.3")
    assert staged(three) == ["spare.6"]


def test_a_spare_of_another_version_than_current(three: Lab) -> None:
    """It is a seed as good as any."""
    three.pin(2)
    three.rollback(2)

    check_upgrade(three, 5)

    assert staged(three) == ["spare.5"]
    check_published(three, 2)


@pytest.mark.parametrize("forks", [1, 3, 5])
def test_with_any_number_of_forks(lab: Lab, forks: int) -> None:
    lab.init()
    for version, tree in enumerate((kinds(first=True), kinds(first=False), TREE, NEXT), 1):
        lab.publish(version, tree)
        lab.upgrade(version, forks=forks)
        check_published(lab, version)


def test_a_tree_that_was_adopted(lab: Lab) -> None:
    """An upgrade from it clones it; its source shares inodes with all of them."""
    lab.publish(1, TREE)
    lab.publish(2, NEXT)
    lab.publish(3, TREE)
    lab.publish(4, NEXT)
    lab.init(lab.source(1), 1)
    before = snapshot(lab.source(1))

    for version in (2, 3, 4):
        check_upgrade(lab, version)

    after = snapshot(lab.source(1))
    for path, facts in before.items():  # rsync reads, so access times move
        assert after[path]._replace(atime=0) == facts._replace(atime=0)
