"""Traps that others have fallen into (design, section 3): each of them once, from the outside.

What other files prove as well is here in its shortest form. Out of scope: tampering in
every way (``test_upgrade``), faults (``tests/fault``).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from rootman.errors import Busy, RootmanError
from rootman.fsops import RealFs
from rootman.usage import refuse_in_use
from tests.builders import (
    Tree,
    differences,
    directory,
    file,
    hardlink,
    published,
    rsync_differences,
    snapshot,
    symlink,
)
from tests.fault.faulty import Call, Forked, Hasty, interposed
from tests.filesystems import run
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rootman.fsops import Name

TREE: Final[Tree] = {
    "bin/sh": file("shell", 0o755),
    "bin/bash": hardlink("bin/sh"),
    "etc/conf": file("conf"),
    "etc/empty": file(),
    "etc/none": file(),
    "lib": symlink("usr/lib"),
    "share/a": file("same"),
    "share/b": file("same"),
    "usr/lib/libc": file("libc"),
}


def changed(number: int) -> Tree:
    return {**TREE, "etc/conf": file(f"conf {number}")}


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    """Return a store with the versions 1 and 2 and a spare, and a release 3."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    lab.init()
    for number in (1, 2):
        lab.publish(number, changed(number))
        lab.upgrade(number)
    lab.publish(3, changed(3))
    return lab


def is_as_published(lab: Lab, version: int) -> bool:
    wanted = published(snapshot(lab.source(version)))
    assert differences(published(snapshot(lab.tree(version))), wanted) == []
    assert rsync_differences(lab.source(version), lab.tree(version)) == ""
    return lab.verify(version) == []


@contextlib.contextmanager
def mounted(*command: object) -> Iterator[None]:
    """Have something mounted; the last word is where."""
    run("mount", *map(str, command))
    try:
        yield
    finally:
        run("umount", "--lazy", str(command[-1]))


# --- links ------------------------------------------------------------------------------


def test_a_link_to_a_directory_is_replaced_itself(lab: Lab) -> None:
    """S2: ``ln -sf`` and ``mv`` follow it and put the new link into the directory."""
    inside = [sorted(os.listdir(lab.tree(version))) for version in (1, 2)]

    lab.rollback()
    lab.rollback(2)

    assert [sorted(os.listdir(lab.tree(version))) for version in (1, 2)] == inside
    assert (lab.link("current"), lab.link("previous")) == ("olpc.2", "olpc.1")


def test_a_rename_between_names_of_one_inode(lab: Lab) -> None:
    """S2: it does nothing and leaves the old name."""
    (lab.control / "staging/link").hardlink_to(lab.store / "previous")
    assert os.path.samestat(
        os.lstat(lab.control / "staging/link"), os.lstat(lab.store / "previous")
    )

    lab.upgrade(3)

    assert (lab.link("current"), lab.link("previous")) == ("olpc.3", "olpc.2")
    assert os.listdir(lab.control / "staging") == ["spare.3"]


class NoVainRename(Hasty):
    """Refuses what rename(2) silently does not do: replacing a name by another of its inode."""

    def rename(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
        one = os.stat(source, dir_fd=source_fd, follow_symlinks=False)
        try:
            other = os.stat(target, dir_fd=target_fd, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            assert (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino), (source, target)
        super().rename(source, target, source_fd=source_fd, target_fd=target_fd)
        with pytest.raises(FileNotFoundError):
            os.stat(source, dir_fd=source_fd, follow_symlinks=False)


def test_no_rename_is_between_two_names_of_one_inode(lab: Lab) -> None:
    """Of all that upgrade, rollback and repair do, also with links of what is to be there."""
    lab.make_fs = NoVainRename
    os.link(lab.spare(2) / "share/a", lab.control / "objects/left over")

    lab.upgrade(3)
    lab.rollback()
    for name, other in (("etc/conf", "usr/lib/libc"), ("share/a", "share/b")):
        (lab.tree(3) / name).unlink()
        (lab.tree(3) / name).hardlink_to(lab.tree(3) / other)
    (lab.tree(3) / "bin/bash").chmod(0o700)
    lab.repair(3)
    lab.repair(2)

    assert is_as_published(lab, 2)
    assert is_as_published(lab, 3)
    lab.upgrade(3)
    assert lab.look().is_settled


@pytest.mark.parametrize("kind", ["symlink", "file", "directory"])
def test_a_temporary_link_that_was_left(lab: Lab, kind: str) -> None:
    """TR-6: the next run does not fail with EEXIST."""
    left = lab.control / "staging/link"
    if kind == "symlink":
        left.symlink_to("olpc.1")
    elif kind == "file":
        left.touch()
    else:
        (left / "deep").mkdir(parents=True)

    lab.upgrade(3)

    assert is_as_published(lab, 3)
    assert os.listdir(lab.control / "staging") == ["spare.3"]


@pytest.mark.parametrize("link", ["current", "previous"])
@pytest.mark.parametrize("kind", ["directory", "file"])
def test_a_link_that_is_none(lab: Lab, link: str, kind: str) -> None:
    """S6: what stands in the way of the switch is found before the first change, and stays."""
    place = lab.store / link
    place.unlink()
    if kind == "directory":
        place.mkdir()
        (place / "precious").write_text("x")
    else:
        place.write_text("x")
    before = snapshot(place) if kind == "directory" else place.read_text()
    trees = {version: snapshot(lab.tree(version)) for version in (1, 2)}

    with pytest.raises(RootmanError, match=f"{link} is not a symlink"):
        lab.upgrade(3)
    with pytest.raises(RootmanError, match=f"{link} is not a symlink"):
        lab.rollback(1)

    assert (snapshot(place) if kind == "directory" else place.read_text()) == before
    assert {version: snapshot(lab.tree(version)) for version in (1, 2)} == trees
    assert sorted(os.listdir(lab.control / "staging")) == ["spare.2"]
    assert not lab.tree(3).exists()


@pytest.mark.parametrize("kind", ["symlink", "file"])
def test_a_name_of_a_tree_that_is_taken(lab: Lab, kind: str) -> None:
    """S1, ST-2: what stands there is neither followed nor replaced."""
    outside = lab.home / "outside"
    outside.mkdir()
    if kind == "symlink":
        lab.tree(3).symlink_to(outside)
    else:
        lab.tree(3).write_text("precious")

    with pytest.raises(RootmanError, match=r"olpc\.3"):
        lab.upgrade(3)

    assert os.listdir(outside) == []
    assert lab.tree(3).is_symlink() or lab.tree(3).read_text() == "precious"
    assert (lab.link("current"), lab.link("previous")) == ("olpc.2", "olpc.1")
    assert lab.scan().is_settled


# --- what is shared and what is not -----------------------------------------------------


def trees(lab: Lab) -> list[Path]:
    """Return all trees of a store that has just been upgraded to version 3."""
    return [lab.tree(2), lab.tree(3), lab.spare(3)]


def test_empty_files_are_never_linked(lab: Lab) -> None:
    """ST-9: unrelated programs would share the locks of one inode."""
    lab.upgrade(3)

    inodes = [(tree / f"etc/{name}").stat() for tree in trees(lab) for name in ("empty", "none")]

    assert len({one.st_ino for one in inodes}) == len(inodes)
    with (lab.tree(2) / "etc/empty").open() as one, (lab.tree(3) / "etc/none").open() as other:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_is_the_same_in_two_trees_is_one_inode(lab: Lab) -> None:
    """ST-9: files with content, and symlinks."""
    lab.upgrade(3)

    for name in ("usr/lib/libc", "bin/sh", "share/a", "lib"):
        assert len({(tree / name).lstat().st_ino for tree in trees(lab)}) == 1
    assert (lab.tree(2) / "etc/conf").stat().st_ino != (lab.tree(3) / "etc/conf").stat().st_ino


def test_the_same_content_at_two_paths_is_two_inodes(lab: Lab) -> None:
    """ST-9: unless the manifest says that they are one; also content that just came."""
    lab.publish(4, {**changed(4), "etc/a": file("twice"), "etc/b": file("twice")})
    lab.upgrade(4)

    for one, other in (("share/a", "share/b"), ("etc/a", "etc/b")):
        assert (lab.tree(4) / one).stat().st_ino != (lab.tree(4) / other).stat().st_ino


def test_hardlinks_within_a_tree_are_kept(lab: Lab) -> None:
    """ST-9: also when their content changes."""
    lab.publish(4, {**changed(4), "bin/sh": file("shell 4", 0o755)})
    lab.upgrade(4)

    for tree in (lab.tree(2), lab.tree(4), lab.spare(4)):
        assert (tree / "bin/sh").stat().st_ino == (tree / "bin/bash").stat().st_ino
    assert (lab.tree(2) / "bin/sh").stat().st_ino != (lab.tree(4) / "bin/sh").stat().st_ino


def test_no_room_for_another_link(tmp_on_ext4: Path) -> None:
    """ST-9: wherever EMLINK comes, in clone, spare, roll forward or adoption, it is copied."""
    at = 1
    fired = True
    while fired:
        lab = Lab(tmp_on_ext4 / str(at), make_fs=Hasty)
        lab.home.mkdir()
        full = Full(at)
        for version in (1, 2, 3):
            lab.publish(version, changed(version))
        lab.init()
        fs = interposed(Hasty(), full)
        for version in (1, 2, 3):
            lab.upgrade(version, fs)
        lab.init(lab.source(1), 7, fs)
        fired = full.fired
        lab.publish(4, changed(4))
        lab.upgrade(4, Hasty())
        for version in (3, 4):
            assert lab.verify(version) == [], f"link {at}: version {version}"
            wanted = published(snapshot(lab.source(version)))
            assert published(snapshot(lab.tree(version))) == wanted, f"link {at}"
        assert published(snapshot(lab.tree(7))) == published(snapshot(lab.source(1)))
        shutil.rmtree(lab.home)
        at += 1
    assert at > 20


class Full:
    """A tap that has no room for the link number ``at`` of what is linked between trees."""

    def __init__(self, at: int) -> None:
        self._at = at
        self._count = 0
        self.fired = False

    def __call__(self, call: Call) -> None:
        # Within staging records and hardlink groups are linked, to new inodes.
        if call.op != "link" or "/staging/" in call.paths[0] or "/trees/" in call.paths[0]:
            return
        self._count += 1
        if self._count == self._at:
            self.fired = True
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))


GROUPS: Final[Tree] = {
    **TREE,
    "etc/empty.too": hardlink("etc/empty"),
    "same/one": file("the same"),
    "same/two": hardlink("same/one"),
}
REGROUPED: Final[dict[str, Tree]] = {
    "a name more": {**GROUPS, "bin/ash": hardlink("bin/sh"), "zz": hardlink("same/one")},
    "another name": {
        **{name: node for name, node in GROUPS.items() if name != "same/two"},
        "same/third": hardlink("same/one"),
    },
    "taken apart": {**GROUPS, "bin/bash": file("shell", 0o755)},
}


@pytest.mark.parametrize("name", REGROUPED)
def test_no_room_for_a_link_of_a_group_that_changes(tmp_on_ext4: Path, name: str) -> None:
    """ST-9: wherever EMLINK comes, groups stay groups, then and after the next upgrade."""
    shop = Lab(tmp_on_ext4 / "shop", make_fs=Hasty)
    shop.home.mkdir()
    for version, tree in enumerate((GROUPS, REGROUPED[name], GROUPS, REGROUPED[name]), 1):
        shop.publish(version, tree)
    at = 1
    fired = True
    while fired:
        lab = Lab(tmp_on_ext4 / str(at), make_fs=Hasty)
        lab.home.mkdir()
        lab.repo.symlink_to(shop.repo)
        lab.init()
        full = Full(at)
        fs = interposed(Hasty(), full)
        for version in (1, 2, 3, 4):
            lab.upgrade(version, fs)
            wanted = published(snapshot(shop.source(version)))
            assert published(snapshot(lab.tree(version))) == wanted, f"link {at}"
            assert lab.verify(version) == [], f"link {at}: version {version}"
        fired = full.fired
        shutil.rmtree(lab.home)
        at += 1
    assert at > 10


# --- symlinks in the way ----------------------------------------------------------------


def test_a_directory_that_becomes_a_symlink_and_back(lab: Lab) -> None:
    """ST-16: the update does not write through it, wherever it leads."""
    outside = lab.home / "outside"
    outside.mkdir()
    (outside / "conf").write_text("precious")
    before = snapshot(outside)
    rest = {name: node for name, node in TREE.items() if not name.startswith("etc/")}
    shapes: list[Tree] = [
        {**rest, "etc": symlink(str(outside))},
        {**rest, "etc": directory(), "etc/conf": file("conf 4"), "etc/new": file("new")},
        {**rest, "etc": symlink("../outside")},
        changed(6),
    ]

    for version, tree in enumerate(shapes, 3):
        shutil.rmtree(lab.source(version), ignore_errors=True)
        shutil.rmtree(lab.repo)
        lab.publish(version, tree)
        lab.upgrade(version)
        assert is_as_published(lab, version)

    assert differences(snapshot(outside), before) == []


@pytest.mark.parametrize("seed", ["spare", "current"])
@pytest.mark.parametrize("place", ["etc", "usr", "usr/lib", "bin"])
def test_a_symlink_put_into_the_seed(lab: Lab, seed: str, place: str) -> None:
    """ST-16: a path through it leads nowhere."""
    tree = lab.spare(2) if seed == "spare" else lab.tree(2)
    if seed == "current":
        shutil.rmtree(lab.spare(2).parent)
    outside = lab.home / "outside"
    shutil.copytree(tree / place, outside, symlinks=True)
    before = snapshot(outside)
    shutil.rmtree(tree / place)
    (tree / place).symlink_to(outside)

    lab.upgrade(3)

    assert is_as_published(lab, 3)
    assert differences(snapshot(outside), before) == []


def test_a_symlink_put_into_a_tree_that_is_deleted(lab: Lab) -> None:
    """ST-16: what it leads to is not deleted."""
    outside = lab.home / "outside"
    shutil.copytree(lab.tree(1), outside, symlinks=True)
    before = snapshot(outside)
    (lab.tree(1) / "there").symlink_to(outside)
    shutil.rmtree(lab.tree(1) / "usr")
    (lab.tree(1) / "usr").symlink_to(outside / "usr")
    lab.upgrade(3)  # the tree falls out: now it is the spare
    lab.publish(4, changed(4))
    lab.upgrade(4)

    assert is_as_published(lab, 4)
    assert differences(snapshot(outside), before) == []


# --- mounts and users -------------------------------------------------------------------


@pytest.fixture
def full_lab(lab: Lab) -> Lab:
    """Return a store with the versions 1, 2 and 3, of which 1 may be pruned."""
    lab.pin(1)
    lab.upgrade(3)
    lab.pin(1, pinned=False)
    return lab


@pytest.mark.parametrize("kind", ["bind", "tmpfs", "file"])
def test_a_mount_in_a_tree(full_lab: Lab, kind: str) -> None:
    """TR-15, ST-16: prune refuses and names it, and what is mounted stays."""
    lab = full_lab
    outside = lab.home / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    place = lab.tree(1) / ("share/a" if kind == "file" else "share")
    what: tuple[object, ...] = ("--bind", outside, place)
    if kind == "file":
        what = ("--bind", outside / "precious", place)
    if kind == "tmpfs":
        what = ("-t", "tmpfs", "none", place)
    before = snapshot(outside)

    with mounted(*what), pytest.raises(Busy, match=str(place)):
        lab.prune()

    assert lab.tree(1).exists()
    assert differences(snapshot(outside), before) == []
    lab.prune()
    assert not lab.tree(1).exists()


def test_a_tree_that_is_the_root(tmp_on_ext4: Path, tmp_path: Path) -> None:
    """TR-15: nobody is told to unmount that."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    lab.init()
    lab.publish(1, {"proc": directory(), "rootfs": directory()})
    lab.upgrade(1)

    def refused() -> str | None:
        os.chroot(tmp_path)
        with pytest.raises(Busy) as caught:
            refuse_in_use("/rootfs", "olpc.1")
        return caught.value.hint

    with (
        mounted("--bind", lab.tree(1), tmp_path),
        mounted("--bind", lab.store, tmp_path / "rootfs"),
        mounted("--bind", "/proc", tmp_path / "proc"),
    ):
        assert Forked(refused).surely() == "boot another version first"


def test_a_mount_in_the_spare(lab: Lab) -> None:
    """ST-16: nothing below it is deleted or written, and without it all is well."""
    outside = lab.home / "outside"
    shutil.copytree(lab.tree(1) / "etc", outside)
    before = snapshot(outside)
    run("mount", "--bind", str(outside), str(lab.spare(2) / "etc"))
    try:
        with pytest.raises(RootmanError, match=r"etc.* mount|etc: Invalid cross-device link"):
            lab.upgrade(3)
    finally:
        # Where it is by now: the spare was renamed, with it.
        for place in (lab.control / "staging").glob("*/root/etc"):
            run("umount", str(place))

    assert differences(snapshot(outside), before) == []
    assert not lab.tree(3).exists()
    lab.upgrade(3)
    assert is_as_published(lab, 3)
    assert lab.look().is_settled
    assert differences(snapshot(outside), before) == []


def test_a_tree_that_is_mounted_elsewhere(full_lab: Lab) -> None:
    """TR-15: as the root of a running system is, by a bind mount."""
    lab = full_lab
    place = lab.home / "mnt"
    place.mkdir()

    for part in (lab.tree(1), lab.tree(1) / "usr/lib"):
        with mounted("--bind", part, place), pytest.raises(Busy, match=f"mounted at {place}"):
            lab.prune(1)
    lab.prune(1)

    assert not lab.tree(1).exists()


def test_a_tree_under_an_overlay(full_lab: Lab) -> None:
    """TR-15: the base of a container."""
    lab = full_lab
    places = [lab.home / name for name in ("upper", "work", "mnt")]
    for place in places:
        place.mkdir()
    upper, work, point = places
    options = f"lowerdir={lab.tree(2)}:{lab.tree(1)},upperdir={upper},workdir={work}"

    with (
        mounted("-t", "overlay", "-o", options, "none", point),
        pytest.raises(Busy, match=f"mounted at {point}"),
    ):
        lab.prune(1)

    assert lab.tree(1).exists()


def test_the_root_of_a_container(full_lab: Lab) -> None:
    """TR-15: in a mount namespace of its own its paths are not ours; the culprit is named."""
    lab = full_lab
    place = lab.home / "mnt"
    place.mkdir()
    script = f"mount --bind {lab.tree(1)} {place} && cd {place} && echo ready && exec sleep 1000"
    command = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script)

    with subprocess.Popen(command, stdout=subprocess.PIPE) as container:
        assert container.stdout is not None
        assert container.stdout.readline() == b"ready\n"
        with pytest.raises(Busy, match=rf"olpc.1 is in use by .*\(process {container.pid}\)"):
            lab.prune(1)
        container.kill()

    lab.prune(1)
    assert not lab.tree(1).exists()


USES: Final = {
    "working directory": "import os; os.chdir('{tree}/usr')",
    "root directory": "import os; os.chroot('{tree}')",
    "open file": "f = open('{tree}/etc/conf')",
    "open file, deleted": "import os; f = open('{tree}/etc/conf'); os.unlink(f.name)",
    "open directory": "import os; f = os.open('{tree}/usr', os.O_RDONLY)",
}


@contextlib.contextmanager
def user(lab: Lab, use: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a process that uses tree 1."""
    code = USES[use].format(tree=lab.tree(1)) + "\nprint('ready', flush=True)\ninput()"
    command = (sys.executable, "-c", code)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process


@pytest.mark.parametrize("use", USES)
def test_a_process_that_uses_a_tree(full_lab: Lab, use: str) -> None:
    """TR-15: it is named, and nothing is deleted; when it has ended the tree goes."""
    with user(full_lab, use) as process:
        with pytest.raises(Busy, match=rf"olpc.1 is in use by .*\(process {process.pid}\)"):
            full_lab.prune(1)
        assert full_lab.tree(1).exists()

    full_lab.prune(1)
    assert not full_lab.tree(1).exists()


def test_a_program_of_a_tree_that_runs(full_lab: Lab) -> None:
    """TR-15: its executable is in the tree."""
    program = full_lab.tree(1) / "bin/sleep"
    shutil.copy("/bin/sleep", program)

    with subprocess.Popen((program, "1000")) as process:
        with pytest.raises(Busy, match=rf"sleep \(process {process.pid}\)"):
            full_lab.prune(1)
        process.kill()


@pytest.mark.parametrize("use", USES)
def test_a_tree_in_use_is_not_made_a_spare(lab: Lab, use: str) -> None:
    """TR-13: it stays what it is, and the upgrade succeeds."""
    with user(lab, use) as process:
        before = snapshot(lab.tree(1))
        lab.upgrade(3)
        assert differences(snapshot(lab.tree(1)), before) == []

    assert [one for one in lab.heard.warnings if f"process {process.pid}" in one]
    assert (lab.link("current"), lab.link("previous")) == ("olpc.3", "olpc.2")
    assert is_as_published(lab, 3)


def test_the_same_path_elsewhere_is_no_use(full_lab: Lab) -> None:
    """TR-15: in another mount namespace something else can have the tree's path."""
    lab = full_lab
    script = f"mount -t tmpfs none {lab.home} && mkdir -p {lab.tree(1)} && cd {lab.tree(1)}"
    command = (
        *("unshare", "--mount", "--propagation", "private"),
        *("sh", "-c", f"{script} && echo ready && exec sleep 1000"),
    )

    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        lab.prune(1)
        process.kill()

    assert not lab.tree(1).exists()


# --- what runs while it is upgraded -----------------------------------------------------


@pytest.mark.parametrize("how", ["replaced", "new"])
def test_an_open_file_never_writes_into_a_later_tree(lab: Lab, how: str) -> None:
    """S5: a program of the current tree goes on writing to a file of its own for two upgrades.

    A sealed file that it writes to in place is the guard's to break.
    """
    path = lab.tree(2) / ("etc/log" if how == "new" else "share/a")
    if how == "replaced":
        path.unlink()
    lab.publish(4, changed(4))

    with path.open("ab", buffering=0) as log:
        log.write(b"first ")
        lab.upgrade(3)
        later3 = snapshot(lab.tree(3))
        log.write(b"second ")
        assert snapshot(lab.tree(3)) == later3
        lab.upgrade(4)
        later = snapshot(lab.tree(3)), snapshot(lab.tree(4))
        log.write(b"third")
        assert (snapshot(lab.tree(3)), snapshot(lab.tree(4))) == later

    assert is_as_published(lab, 4)
    assert path.read_bytes().endswith(b"first second third")  # tree 2 was in use and stayed


def test_a_program_that_runs_keeps_its_file(lab: Lab) -> None:
    """S5: whoever reads a file of the current tree goes on reading it, whatever comes."""
    with (lab.tree(2) / "etc/conf").open("rb") as conf:
        lab.upgrade(3)
        lab.publish(4, changed(4))
        lab.upgrade(4)

        assert conf.read() == b"conf 2"


def test_the_real_disk_is_no_different(tmp_on_ext4: Path) -> None:
    """S2, S3: with every sync and freeze on, for once."""
    lab = Lab(tmp_on_ext4, make_fs=RealFs)
    lab.init()
    for number in (1, 2, 3):
        lab.publish(number, changed(number))
        lab.upgrade(number)

    assert is_as_published(lab, 3)
    assert (lab.link("current"), lab.link("previous")) == ("olpc.3", "olpc.2")
