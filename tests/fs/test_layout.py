"""What a store looks like on the disk, read without rootman's help (spec/10-layout.md)."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import sys
from array import array
from typing import TYPE_CHECKING

import pytest
import zstandard

from rootman.errors import InvalidInput, RootmanError
from rootman.fsops import RealFs
from rootman.sizes import tree_sizes
from rootman.store import open_store, scan
from tests.builders import (
    Tree,
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
from tests.filesystems import run
from tests.numbers import number
from tests.stores import Lab
from tests.tampering import everything, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rootman.fsops import Name
    from rootman.names import TreeNumber
    from rootman.sizes import TreeSize

ODD = b"a\nb \xff".decode("utf-8", "surrogateescape")
ONE: Tree = {
    "bin/tool": file("tool", 0o4755),
    "bin/alias": hardlink("bin/tool"),
    "bin/twin": file("tool", 0o4755),
    "dev/null": char(1, 3),
    "empty": file(""),
    "etc/conf": file("conf"),
    "etc/gone": file("gone"),
    f"odd/{ODD}/x": file("odd"),
    "lib": symlink("usr/lib"),
    "run/fifo": fifo(),
    "run/socket": unix_socket(),
    "usr/lib/libc": file("libc"),
    "var/void": directory(0o1777),
}
TWO: Tree = {**ONE, "etc/conf": file("conf 2"), "usr/lib/new": file("new")}
del TWO["etc/gone"]
THREE: Tree = {**TWO, "etc/conf": file("conf 3")}
RECORD = {"seal.json", "manifest.zst", "inodes.zst", "digests.zst", "stamps.zst", "release.json"}
CONTROL = {"trees", "staging", "objects", "boot", "state.json", "lock"}


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    """Return a store that went from version 1 to 3; the spare is a clone of 3."""
    made = Lab(tmp_on_ext4)
    made.init()
    for version, tree in enumerate((ONE, TWO, THREE), 1):
        made.publish(version, tree)
        made.upgrade(version)
    return made


def names(path: Path) -> set[str]:
    return set(os.listdir(path))


def test_the_names(lab: Lab) -> None:
    """ST-1, ST-2, ST-11, ST-12: there is nothing else."""
    assert names(lab.store) == {"olpc.2", "olpc.3", "current", "previous", ".rootman"}
    assert stat.S_IMODE(lab.control.stat().st_mode) == 0o700
    assert names(lab.control) == CONTROL
    assert names(lab.control / "trees") == {"2", "3"}
    assert names(lab.control / "staging") == {"spare.3"}
    assert names(lab.control / "staging/spare.3") == {"root", "meta"}
    assert names(lab.control / "objects") == set()
    for version in (2, 3):
        assert names(record(lab, version)) == RECORD | {"edits.zst"}
    assert names(lab.spare(3).parent / "meta") == RECORD | {"edits.zst"}


def test_the_links(lab: Lab) -> None:
    """ST-3: relative, and nothing but a name."""
    assert (lab.link("current"), lab.link("previous")) == ("olpc.3", "olpc.2")


@pytest.mark.parametrize(
    "target", ["/etc", "../store/olpc.2", "./olpc.2", "olpc.9", "olpc.2/", "etc", "olpc.02"]
)
def test_a_link_that_leads_elsewhere_counts_as_absent(lab: Lab, target: str) -> None:
    """ST-3: it is reported, and the next switch replaces it."""
    (lab.store / "previous").unlink()
    (lab.store / "previous").symlink_to(target)

    state = lab.scan()

    assert (state.current, state.previous) == (number(3), None)
    assert [one for one in state.problems if one.startswith(f"previous -> {target}")]
    lab.rollback(2)
    assert (lab.link("current"), lab.link("previous")) == ("olpc.2", "olpc.3")
    assert lab.scan().problems == ()


def test_a_new_link_is_not_put_into_the_tree_that_the_old_one_leads_to(lab: Lab) -> None:
    """S2: as ``ln -sf`` and ``mv`` would."""
    before = snapshot(lab.tree(2))

    lab.rollback(2)
    lab.rollback(3)

    assert differences(snapshot(lab.tree(2)), before) == []
    assert names(lab.store) == {"olpc.2", "olpc.3", "current", "previous", ".rootman"}


def record(lab: Lab, version: int) -> Path:
    return lab.control / f"trees/{version}"


def manifest_of(meta: Path) -> bytes:
    """Return the manifest of a record by hand."""
    lines = unpacked(meta / "manifest.zst").splitlines(keepends=True)
    edits = unpacked(meta / "edits.zst") if (meta / "edits.zst").exists() else b""
    came = []
    for edit in edits.splitlines(keepends=True):
        number, _, line = edit[1:].partition(b" ")
        if edit.startswith(b"-"):
            assert lines[int(number) + 1] == line
            lines[int(number) + 1] = b""
        else:
            came.append((int(number), line))
    lines = [line for line in lines if line]
    for place, line in came:
        lines.insert(place + 1, line)
    return b"".join(lines)


def test_the_manifest_and_its_edits(tmp_on_ext4: Path) -> None:
    """ST-6, ST-19: by a hardlink as long as they are few, back to it included."""
    lab = Lab(tmp_on_ext4)
    lab.init()
    many: Tree = {f"many/{number}": file(str(number)) for number in range(2000)}
    trees = (ONE, TWO, ONE, {**ONE, **many}, {**TWO, **many})
    for version, tree in enumerate(trees, 1):
        lab.publish(version, tree)
        lab.pin(version - 1) if version > 1 else None
        lab.upgrade(version)

    for version in range(1, 6):
        digest = json.loads((record(lab, version) / "seal.json").read_text())["manifest"]
        assert hashlib.sha256(manifest_of(record(lab, version))).hexdigest() == digest
    first, fourth = (inode(record(lab, one) / "manifest.zst") for one in (1, 4))
    kept = [inode(record(lab, one) / "manifest.zst") for one in range(1, 6)]
    assert kept == [first, first, first, fourth, fourth]
    edited = [one for one in range(1, 6) if (record(lab, one) / "edits.zst").exists()]
    assert edited == [2, 5]
    assert all(lab.verdict(one) == "pristine" for one in range(1, 6))


def test_the_summary_of_a_seal(lab: Lab) -> None:
    """ST-5."""
    text = (record(lab, 3) / "seal.json").read_text()
    seal = json.loads(text)
    manifest = manifest_of(record(lab, 3))

    assert text == json.dumps(seal, sort_keys=True) + "\n"
    assert list(seal) == [
        "bundles", "edits", "entries", "format", "manifest", "parts", "revision", "sealed_at",
        "size", "version",
    ]  # fmt: skip
    assert (seal["format"], seal["version"]) == (1, 3)
    assert seal["manifest"] == hashlib.sha256(manifest).hexdigest()
    assert seal["entries"] == manifest.count(b"\n") - 1
    # Each inode once: tool and alias are one, twin is another.
    assert seal["size"] == len("tool" + "tool" + "conf 3" + "odd" + "libc" + "new")


def test_the_record_has_the_release_and_the_manifest(lab: Lab) -> None:
    """ST-6: as published."""
    published = lab.repo / "releases/3.json"
    digest = json.loads(published.read_text())["bundles"][0]["manifest"]

    assert (record(lab, 3) / "release.json").read_bytes() == published.read_bytes()
    manifest = manifest_of(record(lab, 3))
    assert manifest == unpacked(lab.repo / f"manifests/{digest}.zst")


def test_objects_do_not_stay_large(lab: Lab) -> None:
    """ST-11, ST-12: what an installation made of the directory is not read for ever."""
    for index in range(2000):
        (lab.control / "objects" / f"{index:064x}").touch()
    assert (lab.control / "objects").stat().st_size > 1 << 16
    lab.publish(4, ONE)

    lab.upgrade(4)

    status = (lab.control / "objects").stat()
    assert status.st_size == 4096
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert names(lab.control / "objects") == set()
    assert names(lab.control / "staging") == {"spare.4"}
    lab.publish(5, TWO)
    lab.upgrade(5)
    assert lab.verdict(5) == "pristine"


def test_an_adopted_tree_has_no_release(lab: Lab) -> None:
    """ST-6."""
    lab.init(lab.source(1), 9)

    assert "release.json" not in names(record(lab, 9))
    assert lab.verdict(9) == "pristine"


def test_the_size_of_an_adopted_tree(lab: Lab) -> None:
    """ST-5: is that of the same tree published."""
    lab.pin(2)
    lab.init(lab.source(2), 9)

    two, nine = (json.loads((record(lab, one) / "seal.json").read_text()) for one in (2, 9))
    assert nine["manifest"] == two["manifest"]
    assert nine["size"] == two["size"]


def decoded(field: bytes) -> bytes:
    """Return the path of a path field, by another way than rootman's."""
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), field)


@pytest.mark.parametrize("version", [2, 3])
def test_the_inodes_of_a_record(lab: Lab, version: int) -> None:
    """ST-7, ST-9: of files with content, and of symlinks; in the order of the manifest."""
    numbers = unpacked(record(lab, version) / "inodes.zst")
    lines = manifest_of(record(lab, version)).splitlines()[1:]
    inodes = struct.unpack(f"<{len(lines)}Q", numbers)

    expected = []
    for line in lines:
        path = os.path.join(os.fsencode(lab.tree(version)), decoded(line.split(b" ")[0]))
        status = os.lstat(path)
        shared = stat.S_ISLNK(status.st_mode) or (
            stat.S_ISREG(status.st_mode) and status.st_size > 0
        )
        expected.append(status.st_ino if shared else 0)
    assert list(inodes) == expected


def test_the_digests_of_a_record(lab: Lab) -> None:
    """ST-8: one for each directory."""
    paths, _, digests = unpacked(record(lab, 3) / "digests.zst").partition(b"\0\0")
    found = paths.split(b"\0")

    there = {os.path.relpath(path, lab.tree(3)) for path, _, _ in os.walk(lab.tree(3))}
    assert set(map(os.fsdecode, found)) == there
    assert [os.fsdecode(one) for one in found] == sorted(map(os.fsdecode, found))
    assert len(digests) == 16 * len(found)


def stamps(meta: Path) -> dict[str, int]:
    numbers = array("q", unpacked(meta / "stamps.zst"))
    if sys.byteorder == "big":
        numbers.byteswap()
    paths = unpacked(meta / "digests.zst").partition(b"\0\0")[0].split(b"\0")
    return dict(zip(map(os.fsdecode, paths), numbers, strict=True))


@pytest.mark.parametrize("place", ["olpc.2", "olpc.3", "spare.3"])
def test_the_stamps_of_a_record(lab: Lab, place: str) -> None:
    """ST-18: of a tree that was built, cloned or rolled forward."""
    spare = place == "spare.3"
    root = lab.spare(3) if spare else lab.store / place
    found = stamps(lab.spare(3).parent / "meta" if spare else record(lab, int(place[-1])))

    found.pop(".")  # its rename came later
    known = {path: stamp for path, stamp in found.items() if stamp}
    assert known == {path: (root / path).stat().st_ctime_ns for path in known}
    mixed = {"dev", "run"}
    touched = {"etc", "usr/lib"} if spare else set()
    assert found.keys() - known.keys() == mixed | touched


def test_the_first_spare_has_stamps_although_its_tree_is_new(tmp_on_ext4: Path) -> None:
    """ST-18, ST-20: what was changed just before the clone is looked at when it has settled."""
    lab = Lab(tmp_on_ext4)
    lab.init()
    for version, tree in enumerate((ONE, TWO), 1):
        lab.publish(version, tree)
        lab.upgrade(version)

    found = stamps(lab.spare(2).parent / "meta")

    known = {path: stamp for path, stamp in found.items() if stamp}
    assert known == {path: (lab.spare(2) / path).stat().st_ctime_ns for path in known}
    assert found.keys() - known.keys() == {".", "dev", "run"}


def test_a_spare_without_stamps(lab: Lab) -> None:
    """ST-18: every directory is looked at then."""
    with (lab.spare(3) / "usr/lib/libc").open("ab") as out:
        out.write(b"!")
    (lab.spare(3).parent / "meta/stamps.zst").unlink()
    lab.publish(4, THREE)

    lab.upgrade(4)

    assert lab.verify(4) == []


def change_mode(tree: Path) -> None:
    (tree / "var/void").chmod(0o700)


def change_root(tree: Path) -> None:
    tree.chmod(0o700)


def replace_a_file(tree: Path) -> None:
    old = (tree / "etc/conf").stat()
    (tree / "new").write_bytes((tree / "etc/conf").read_bytes())
    (tree / "new").chmod(0o644)
    os.utime(tree / "new", ns=(old.st_mtime_ns,) * 2)
    parents = [(path, path.stat().st_mtime_ns) for path in (tree, tree / "etc")]
    (tree / "new").rename(tree / "etc/conf")
    for path, time in parents:
        os.utime(path, ns=(time, time))


def write_within(tree: Path) -> None:
    with (tree / "empty").open("wb") as out:
        out.write(b"x")


CHANGES: dict[tuple[str, str], Callable[[Path], object]] = {
    ("./var/void", "mode"): change_mode,
    (".", "mode"): change_root,
    ("./etc/conf", "inode"): replace_a_file,
    ("./empty", "size"): write_within,
    ("./run/fifo", "missing"): lambda tree: (tree / "run/fifo").unlink(),
    ("./run/extra", "extra"): lambda tree: (tree / "run/extra").mkdir(),
    ("./dev/null", "uid"): lambda tree: os.chown(tree / "dev/null", 7, 0),
    ("./lib", "time"): lambda tree: os.utime(tree / "lib", (1, 1), follow_symlinks=False),
}


@pytest.mark.parametrize(("path", "what"), CHANGES)
def test_a_digest_stands_for_what_lstat_says(lab: Lab, path: str, what: str) -> None:
    """ST-8: the quick check finds it, and it alone beside directories that it moved."""
    from rootman.verify import verify_quickly

    CHANGES[path, what](lab.tree(3))

    with open_store(str(lab.store)) as store:
        tree = scan(store).tree(number(3))
        assert tree is not None
        found = {
            one.path: (*one.what, {"added": "extra", "removed": "missing"}.get(one.kind, ""))
            for one in verify_quickly(store, tree, forks=1)
        }
    wanted = path.encode().removeprefix(b"./")
    assert what in found.pop(wanted)
    assert set(found) <= {os.path.dirname(wanted), b"."}


def inode(path: Path) -> int:
    return path.lstat().st_ino


def test_what_trees_share(lab: Lab) -> None:
    """ST-9: files with content and symlinks, in every tree and the spare; and nothing else."""
    trees = [lab.tree(2), lab.tree(3), lab.spare(3)]
    for path in ("bin/tool", "bin/twin", "lib", "usr/lib/libc", "usr/lib/new", f"odd/{ODD}/x"):
        assert len({inode(tree / path) for tree in trees}) == 1, path
    for path in (".", "var/void", "empty", "run/fifo", "run/socket", "dev/null"):
        assert len({inode(tree / path) for tree in trees}) == 3, path
    assert inode(lab.tree(2) / "etc/conf") != inode(lab.tree(3) / "etc/conf")
    for tree in trees:
        assert inode(tree / "bin/tool") == inode(tree / "bin/alias")
        assert inode(tree / "bin/tool") != inode(tree / "bin/twin")


def test_a_clone_has_the_record_of_its_source(lab: Lab) -> None:
    """ST-10: by hardlinks, but for the stamps."""
    spare = lab.control / "staging/spare.3/meta"

    assert names(spare) == names(record(lab, 3))
    own = {name for name in names(spare) if inode(spare / name) != inode(record(lab, 3) / name)}
    assert own == {"stamps.zst"}


def test_a_repair_leaves_the_record_of_the_clone_alone(lab: Lab) -> None:
    """ST-10: the files of a record are replaced, not written. ST-18: the spare is not trusted."""
    spare = lab.control / "staging/spare.3/meta"
    before = {name: (inode(spare / name), (spare / name).read_bytes()) for name in names(spare)}
    (lab.tree(3) / "etc/conf").unlink()

    lab.repair(3)

    assert names(spare) == names(record(lab, 3)) - {"stamps.zst"}
    assert all(
        (inode(spare / name), (spare / name).read_bytes()) == before[name] for name in names(spare)
    )
    changed = {name for name in names(spare) if inode(record(lab, 3) / name) != before[name][0]}
    assert changed == {"inodes.zst", "digests.zst"}


def test_settings(lab: Lab) -> None:
    """ST-13."""
    lab.pin(3)

    text = (lab.control / "state.json").read_text()
    assert text == '{"compatible": "", "format": 1, "name": "olpc", "pinned": ["3"]}\n'
    lab.pin(3, pinned=False)
    assert json.loads((lab.control / "state.json").read_text())["pinned"] == []


def test_the_lock_stays(lab: Lab) -> None:
    """ST-14: were it removed, two processes could hold two of them."""
    before = inode(lab.control / "lock")

    lab.rollback()

    assert inode(lab.control / "lock") == before
    assert int((lab.control / "lock").read_text()) == os.getpid()


def sizes(lab: Lab) -> dict[TreeNumber, TreeSize]:
    with open_store(str(lab.store)) as store:
        return tree_sizes(store, RealFs, scan(store).trees)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"key": null, "sizes": {}}', "\0", "[" * 100_000]
)
def test_the_sizes_that_are_kept_are_not_relied_on(lab: Lab, content: str) -> None:
    """ST-15."""
    known = sizes(lab)
    path = lab.control / "sizes.json"
    assert json.loads(path.read_text())
    path.write_text(content)

    assert sizes(lab) == known
    path.unlink()
    assert sizes(lab) == known


def test_the_sizes_after_a_repair(lab: Lab) -> None:
    """ST-15: the inode that was shared is the tree's own now."""
    lab.tree(3).joinpath("usr/lib/libc").unlink()
    before = sizes(lab)

    lab.repair(3)

    found = sizes(lab)
    (lab.control / "sizes.json").unlink()
    assert found == sizes(lab) != before


@pytest.mark.parametrize("wrong", [None, [], {}, {"2": 1, "3": [1]}, {"x": [1, 2]}])
def test_the_sizes_that_are_kept_may_be_damaged(lab: Lab, wrong: object) -> None:
    """ST-15."""
    known = sizes(lab)
    path = lab.control / "sizes.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sizes": wrong}))

    assert sizes(lab) == known


# --- what is not rootman's -----------------------------------------------------------


def test_other_names_are_left_alone(lab: Lab) -> None:
    """ST-2, ST-4, TR-5: by every command."""
    (lab.store / "olpc.9").mkdir()
    (lab.store / "olpc.9/file").write_text("mine")
    (lab.store / "olpc.07").mkdir()
    (lab.store / "olpc.3.0").mkdir()
    (lab.store / "olpc.3.01").mkdir()
    (lab.store / "debian.1").mkdir()
    (lab.store / "olpc.5").write_text("a file")
    (lab.store / "notes").write_text("mine")
    mine = ("olpc.9", "olpc.07", "olpc.3.0", "olpc.3.01", "debian.1", "olpc.5", "notes")
    before = {name: everything(lab.store / name) for name in mine}
    lab.publish(4, TWO)

    lab.upgrade(4)
    lab.rollback()
    lab.prune(keep=0)

    assert {name: everything(lab.store / name) for name in mine} == before
    assert [(one.name, one.state) for one in lab.scan().trees] == [
        ("olpc.3", "sealed"),
        ("olpc.4", "sealed"),
        ("olpc.9", "unsealed"),
    ]
    with pytest.raises(InvalidInput, match=r"olpc\.9 has no seal record"):
        lab.rollback(9)
    with pytest.raises(InvalidInput, match=r"olpc\.9 has no seal record"):
        lab.prune(9)
    lab.publish(9, ONE)
    with pytest.raises(InvalidInput, match=r"olpc\.9 exists and rootman did not make it"):
        lab.upgrade(9)


def test_a_store_that_was_half_made_is_made_anew(tmp_on_ext4: Path) -> None:
    """ST-1."""
    lab = Lab(tmp_on_ext4)
    (lab.store / ".rootman.new/trees").mkdir(parents=True)
    (lab.store / ".rootman.new/state.json").write_text("{")

    lab.init()

    assert names(lab.store) == {".rootman"}
    assert names(lab.control) == CONTROL


def test_litter_is_removed_whatever_it_is(lab: Lab) -> None:
    """ST-11, TR-6: without following a link."""
    staging = lab.control / "staging"
    (staging / "link").symlink_to("olpc.2")
    (staging / "state.json.new").write_text("{")
    (staging / "elsewhere").symlink_to(lab.tree(2))
    (staging / "lost+found/below").mkdir(parents=True)
    os.mkfifo(staging / "fifo")
    before = snapshot(lab.tree(2))

    lab.rollback()

    assert names(staging) == {"spare.3"}
    assert differences(snapshot(lab.tree(2)), before) == []


def test_downloads_of_another_process_are_verified_before_use(lab: Lab) -> None:
    """ST-12: a power cut may have torn them."""
    lab.publish(4, {**THREE, "etc/conf": file("conf 4"), "etc/more": file("more 4")})
    objects = lab.control / "objects"
    for content, there in ((b"conf 4", b"conf 4"), (b"more 4", b"more\0\0")):
        (objects / hashlib.sha256(content).hexdigest()).write_bytes(there)

    lab.upgrade(4)

    assert lab.verdict(4) == "pristine"
    assert names(objects) == set()


# --- staying inside ------------------------------------------------------------------


@pytest.mark.parametrize("where", ["seed", "spare"])
def test_a_directory_that_became_a_symlink_leads_nowhere(lab: Lab, where: str) -> None:
    """ST-16, S5: an upgrade neither writes nor reads through it."""
    outside = lab.home / "outside"
    outside.mkdir()
    (outside / "conf").write_text("precious")
    (outside / "libc").write_text("libc")
    tree = lab.tree(3) if where == "seed" else lab.spare(3)
    for name in ("etc", "usr/lib"):
        shutil.rmtree(tree / name)
        (tree / name).symlink_to(outside)
    if where == "seed":
        shutil.rmtree(lab.control / "staging/spare.3")
    before = everything(outside)
    lab.publish(4, {**ONE, "etc/conf": file("conf 4"), "etc/deep/er": file("x")})

    lab.upgrade(4)

    assert lab.verdict(4) == "pristine"
    assert everything(outside) == before


def test_a_deletion_stays_inside(lab: Lab) -> None:
    """ST-16: of a tree whose directories became symlinks."""
    lab.init(lab.source(1), 7)
    outside = lab.home / "outside"
    shutil.copytree(lab.source(2), outside, symlinks=True, ignore=lambda *_: {"run", "dev"})
    before = everything(outside)
    victim = lab.tree(7)
    (victim / "outside").symlink_to(outside)
    shutil.rmtree(victim / "etc")
    (victim / "etc").symlink_to(outside / "etc")

    lab.prune(7)

    assert not victim.exists()
    assert everything(outside) == before


@pytest.mark.parametrize("stage", ["spare.2", "deleting.2", "retired.2", "building.9"])
def test_a_deletion_stops_at_a_mount(lab: Lab, stage: str) -> None:
    """ST-16: and the mount is named; when it is gone, so is the stage."""
    place = lab.control / "staging" / stage / "root/mnt"
    place.mkdir(parents=True)
    run("mount", "--bind", str(lab.source(1)), str(place))
    before = everything(lab.source(1))
    try:
        with pytest.raises(RootmanError, match="mount"):
            lab.rollback()
        assert everything(lab.source(1)) == before
    finally:
        run("umount", str(place))

    lab.rollback()

    assert names(lab.control / "staging") == {"spare.3"}


# --- other trees ---------------------------------------------------------------------


def test_no_command_changes_another_tree(lab: Lab) -> None:
    """S5, TR-12: bit for bit and lstat for lstat."""
    lab.pin(2)
    before = {version: snapshot(lab.tree(version)) for version in (2, 3)}

    def check(*versions: int) -> None:
        for version in versions:
            assert differences(snapshot(lab.tree(version)), before[version]) == []

    lab.publish(4, {**ONE, "etc/conf": file("conf 4", 0o600), "bin/tool": file("tool 4")})
    lab.upgrade(4)
    check(2, 3)
    lab.init(lab.source(1), 7)
    check(2, 3)
    before[4] = snapshot(lab.tree(4))
    (lab.tree(7) / "etc/conf").unlink()
    lab.repair(7)
    check(2, 3, 4)
    lab.rollback()
    lab.rollback(2)
    lab.prune(7)
    check(2, 3, 4)


@pytest.mark.parametrize("path", ["bin/tool", "usr/lib/libc", "etc/conf"])
def test_a_repair_writes_no_inode_that_is_shared(lab: Lab, path: str) -> None:
    """TR-16, S5: damage that shows in two trees is repaired in the one that was named."""
    victim = lab.tree(3) / path
    old = victim.stat()
    with victim.open("r+b") as out:
        out.write(b"XX")
    os.utime(victim, ns=(old.st_mtime_ns,) * 2)
    damaged = snapshot(lab.tree(2))
    spare = snapshot(lab.spare(3))

    result = lab.repair(3)

    assert list(result.left) == []
    assert lab.verdict(3) == "pristine"
    assert differences(snapshot(lab.tree(2)), damaged) == []
    assert differences(snapshot(lab.spare(3)), spare) == []
    lab.repair(2)
    assert lab.verdict(2) == "pristine"


def test_a_repair_without_the_content_changes_nothing(lab: Lab) -> None:
    """TR-16."""
    (lab.tree(3) / "etc/conf").unlink()
    (lab.tree(3) / "extra").write_text("x")
    with (lab.spare(3) / "etc/conf").open("r+b") as out:
        out.write(b"gone")
    shutil.rmtree(lab.repo / "objects")
    before = everything(lab.store, except_below=lab.control)

    with pytest.raises(RootmanError, match="object"):
        lab.repair(3)

    assert everything(lab.store, except_below=lab.control) == before


def test_an_upgrade_succeeds_without_a_spare(lab: Lab) -> None:
    """EX-5: what cannot be prepared for later is a warning."""

    class NoRetirement(RealFs):
        def move(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
            if "retired" in str(target):
                raise OSError(errno.EIO, os.strerror(errno.EIO), source)
            super().move(source, target, source_fd=source_fd, target_fd=target_fd)

    lab.publish(4, ONE)

    result = lab.upgrade(4, fs=NoRetirement())

    assert result.number == number(4)
    assert (lab.link("current"), lab.link("previous")) == ("olpc.4", "olpc.3")
    assert [one for one in lab.heard.warnings if "no spare" in one]
    assert names(lab.control / "staging") == set()
    lab.publish(5, TWO)
    lab.upgrade(5)
    assert lab.verdict(5) == "pristine"


# --- damage --------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "{", "\0" * 100, '{"format": 2}', "[" * 100_000])
@pytest.mark.parametrize("name", ["state.json", "trees/3/seal.json"])
def test_a_damaged_file_is_named_and_nothing_is_changed(lab: Lab, name: str, content: str) -> None:
    """ST-17."""
    (lab.control / name).write_text(content)
    lab.publish(4, ONE)
    before = everything(lab.store)

    for command in (lambda: lab.upgrade(4), lab.rollback, lab.prune, lambda: lab.pin(2)):
        with pytest.raises(InvalidInput, match=rf"{name}: (damaged|format 2 is not known)"):
            command()

    after = everything(lab.store)
    del before[".rootman/lock"], after[".rootman/lock"]
    assert after == before


@pytest.mark.parametrize("name", ["manifest.zst", "edits.zst", "inodes.zst", "digests.zst"])
@pytest.mark.parametrize("damage", ["garbage", "torn", "missing"])
def test_a_damaged_record_is_refused(lab: Lab, name: str, damage: str) -> None:
    """ST-17: the spare has the same record, so neither is of use as a seed."""
    path = record(lab, 3) / name
    if damage == "garbage":
        path.write_bytes(b"garbage")
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        path.unlink()
        (lab.control / "staging/spare.3/meta" / name).unlink()
    lab.publish(4, ONE)
    before = {version: snapshot(lab.tree(version)) for version in (2, 3)}

    with pytest.raises(RootmanError) as caught:
        lab.upgrade(4)

    assert "\n" not in str(caught.value)
    assert (lab.link("current"), lab.link("previous")) == ("olpc.3", "olpc.2")
    assert names(lab.control / "staging") <= {"spare.3"}
    for version, tree in before.items():
        assert differences(snapshot(lab.tree(version)), tree) == []


def cut_off_after_three_lines(whole: bytes) -> bytes:
    """Return a manifest that is one of a smaller tree."""
    return zstandard.compress(b"".join(unpacked_bytes(whole).splitlines(keepends=True)[:3]))


def with_another_size(whole: bytes) -> bytes:
    """Return a manifest of as many lines, one of them none."""
    return zstandard.compress(unpacked_bytes(whole).replace(b" size=", b" size=x"))


def unpacked_bytes(frame: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(frame)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"garbage",
        lambda _: b"",
        lambda whole: whole[:-10],
        lambda whole: whole[: len(whole) // 2],
        cut_off_after_three_lines,
        with_another_size,
    ],
    ids=["garbage", "empty", "torn", "half", "cut off", "wrong line"],
)
def test_a_damaged_manifest_is_named_and_nothing_is_removed(
    lab: Lab, damage: Callable[[bytes], bytes]
) -> None:
    """ST-17, EX-4: what the manifest does not have any more is not called added."""
    path = record(lab, 3) / "manifest.zst"
    whole = path.read_bytes()
    path.unlink()  # the records of other trees may share it
    path.write_bytes(damage(whole))
    (lab.control / "sizes.json").unlink(missing_ok=True)
    before = snapshot(lab.tree(3))

    for command in (lambda: lab.verify(3), lambda: lab.repair(3), lambda: sizes(lab)):
        with pytest.raises(InvalidInput, match=r"olpc\.[23]/manifest\.zst: "):
            command()

    assert differences(snapshot(lab.tree(3)), before) == []
