"""Whatever is wrong with the machine, an upgrade says it in one line and changes nothing (EX-4)."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rootman.adopt import make_store
from rootman.errors import Busy, NoSpace, Refused, SystemFailure
from rootman.fsops import RealFs
from rootman.session import session
from rootman.state import Settings
from tests.builders import Tree, build, differences, file, hardlink, snapshot, symlink
from tests.filesystems import run
from tests.stores import Lab, Listener
from tests.tampering import (
    BASE,
    TREES,
    BadRepository,
    Shop,
    attempt,
    check_refused,
    check_told,
    contents,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootman.fsops import Name
    from tests.conftest import MakeFs
    from tests.filesystems import LoopFilesystem


@pytest.fixture(scope="module")
def shop(ext4: LoopFilesystem) -> Iterator[Shop]:
    home = ext4.path / "wrong-machine"
    home.mkdir()
    yield Shop(home)
    shutil.rmtree(home)


@pytest.fixture(params=["empty", "clone", "spare"])
def lab(shop: Shop, request: pytest.FixtureRequest) -> Lab:
    found: Lab = shop.labs[request.param]
    return found


@pytest.fixture
def bad(shop: Shop, tmp_on_ext4: Path) -> BadRepository:
    return BadRepository(shop.repo, tmp_on_ext4 / "repo", 3)


# --- the machine ---------------------------------------------------------------------


def small_lab(filesystem: LoopFilesystem, repo: Path, *, installed: bool = True) -> Lab:
    lab = Lab(filesystem.path)
    lab.repo.symlink_to(repo)
    lab.init()
    with session(str(lab.store), RealFs(), Listener(), forks=1):
        pass  # now the lock's file is there
    if installed:
        lab.upgrade(1)
    return lab


@pytest.mark.parametrize("installed", [False, True], ids=["empty", "installed"])
def test_too_little_space(
    tmp_on_ext4: Path,
    make_fs: MakeFs,
    installed: bool,  # noqa: FBT001
) -> None:
    """S6: found out before anything is written; what is missing is said."""
    source = Lab(tmp_on_ext4)
    source.publish(1, BASE)
    source.publish(2, {**BASE, "large": file(os.urandom(40 << 20))})
    lab = small_lab(make_fs(size_mib=24), source.repo, installed=installed)

    check_refused(
        lab,
        f"{source.repo}/releases/2.json",
        NoSpace,
        r"needs 40\.\d MiB and",
        hint="rootman prune",
    )


@pytest.mark.parametrize("installed", [False, True], ids=["empty", "installed"])
def test_too_few_inodes(
    tmp_on_ext4: Path,
    make_fs: MakeFs,
    installed: bool,  # noqa: FBT001
) -> None:
    """S6."""
    source = Lab(tmp_on_ext4)
    source.publish(1, BASE)
    source.publish(2, {**BASE, **{f"many/{number}": file(f"{number}") for number in range(300)}})
    lab = small_lab(make_fs(size_mib=24, inodes=160), source.repo, installed=installed)

    check_refused(
        lab,
        f"{source.repo}/releases/2.json",
        NoSpace,
        r"needs 3\d\d inodes and \d+ are free",
        hint="rootman prune",
    )


def test_too_few_inodes_to_take_a_tree_in(tmp_on_ext4: Path, make_fs: MakeFs) -> None:
    """S6: nothing is begun that cannot be finished."""
    source = build(tmp_on_ext4 / "tree", {f"many/{number}": file("") for number in range(300)})
    lab = Lab(make_fs(size_mib=24, inodes=160).path)
    lab.init()
    before = contents(lab)

    with pytest.raises(NoSpace):
        lab.init(source, 1)

    assert contents(lab) == before


def test_a_read_only_filesystem(shop: Shop, make_fs: MakeFs) -> None:
    filesystem = make_fs(size_mib=64)
    lab = small_lab(filesystem, shop.repo)
    run("mount", "-o", "remount,ro", str(filesystem.path))

    check_refused(
        lab,
        shop.repo / "releases/2.json",
        SystemFailure,
        r"Read-only file system",
        hint="writable",
    )


def test_a_filesystem_that_turns_read_only(lab: Lab, bad: BadRepository) -> None:
    """EX-3: in the midst of it, as after a fault of the disk."""

    class TurningReadOnly(RealFs):
        def create(self, name: Name, *, dir_fd: int, mode: int = 0o600) -> int:
            del dir_fd, mode
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)

    before = contents(lab)

    with pytest.raises(SystemFailure, match=r"^fetch .*: Read-only file system$") as caught:
        attempt(lab, bad.release, fs=TurningReadOnly())

    check_told(caught.value, "remount")
    assert contents(lab) == before


HOLD = """import sys, time
from rootman.fsops import RealFs
from rootman.report import Silent
from rootman.session import session
with session(sys.argv[1], RealFs(), Silent(), forks=1):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def held(lab: Lab, script: Path) -> Iterator[int]:
    """Have another process, which runs ``script``, work on the store; yield its id."""
    script.write_text(HOLD)
    command = [sys.executable, str(script), str(lab.store)]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        try:
            yield other.pid
        finally:
            other.kill()


def test_a_second_rootman(lab: Lab, bad: BadRepository) -> None:
    """ST-14: the one at work is named, and goes on undisturbed."""
    script = bad.path / "hold"
    with held(lab, script) as pid:
        lock = (lab.control / "lock").read_bytes()
        message = rf"is in use by .*{script} .*\(process {pid}\)"
        check_refused(lab, bad.release, Busy, message, hint="wait for it to end")
        assert (lab.control / "lock").read_bytes() == lock


def test_a_lock_whose_holder_was_killed(lab: Lab, bad: BadRepository) -> None:
    """ST-14: is taken over without a question."""
    with held(lab, bad.path / "hold"):
        pass
    bad.change(compatible=["xo-4"])  # a refusal that comes after the lock

    check_refused(lab, bad.release, Refused, "is for xo-4")


def test_a_lock_that_says_nonsense(lab: Lab, bad: BadRepository) -> None:
    """ST-14: its content means nothing."""
    bad.change(compatible=["xo-4"])
    for content in (b"", b"\xff\n", b"999999999\n", b"1\n"):
        (lab.control / "lock").write_bytes(content)
        check_refused(lab, bad.release, Refused, "is for xo-4")


@pytest.mark.parametrize("name", ["staging", "objects", "trees"])
def test_a_store_on_several_filesystems(shop: Shop, make_fs: MakeFs, name: str) -> None:
    """ST-1: EXDEV from the middle of it; what was done is undone."""
    lab = small_lab(make_fs(size_mib=64), shop.repo)
    other = make_fs(size_mib=64)
    (other.path / "lost+found").rmdir()
    place = lab.control / name
    shutil.copytree(place, other.path, dirs_exist_ok=True, symlinks=True)
    run("mount", "--bind", str(other.path), str(place))
    try:
        before = contents(lab, downloads=True)
        with pytest.raises(SystemFailure, match="Invalid cross-device link") as caught:
            attempt(lab, shop.repo / "releases/3.json")
        check_told(caught.value, "one filesystem")
        after = contents(lab, downloads=True)
    finally:
        run("umount", str(place))

    assert (lab.link("current"), lab.scan().previous) == ("olpc.1", None)
    assert after.keys() == before.keys()
    assert [path for path in before if after[path].content != before[path].content] == []


def fill(file_: Path, directory: Path) -> None:
    """Give the inode of ``file_`` all the names that ext4 allows."""
    directory.mkdir()
    for number in range(65_000 - file_.stat().st_nlink):
        os.link(file_, directory / str(number))


def test_an_inode_without_room_for_links(shop: Shop, tmp_on_ext4: Path) -> None:
    """ST-9: EMLINK (65,000 on ext4) is no failure, the file is copied."""
    lab = Lab(tmp_on_ext4)
    lab.repo.symlink_to(shop.repo)
    lab.init()
    lab.upgrade(1)
    full = lab.tree(1) / "usr/lib/libc"
    fill(full, tmp_on_ext4 / "names")
    before = snapshot(lab.tree(1))

    lab.upgrade(2)

    assert lab.verdict(2) == "pristine"
    assert (lab.tree(2) / "usr/lib/libc").stat().st_ino != full.stat().st_ino
    assert (lab.tree(2) / "etc/old").stat().st_ino == (lab.tree(1) / "etc/old").stat().st_ino
    assert differences(snapshot(lab.tree(1)), before) == []
    lab.upgrade(3)
    assert lab.verdict(3) == "pristine"


@pytest.mark.parametrize("names", ["ab", "abc", "ac", "bc", "a"])
def test_a_hardlink_group_without_room_for_links(tmp_on_ext4: Path, names: str) -> None:
    """ST-9: the copies of its names are one inode again."""

    def tree(names: str) -> Tree:
        first, *others = tuple(names)
        return {first: file("tool"), **{one: hardlink(first) for one in others}}

    lab = Lab(tmp_on_ext4)
    lab.publish(1, tree("ab"))
    lab.publish(2, tree(names))
    lab.init()
    lab.upgrade(1)
    fill(lab.tree(1) / "a", tmp_on_ext4 / "names")

    lab.upgrade(2)

    assert lab.verdict(2) == "pristine"
    assert (lab.tree(2) / names[0]).stat().st_ino != (lab.tree(1) / "a").stat().st_ino


@pytest.mark.parametrize("code", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP])
def test_init_where_there_are_no_hardlinks(tmp_on_ext4: Path, code: int) -> None:
    """ST-1: vfat and exfat say EPERM."""

    class NoLinks(RealFs):
        def link(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
            del target, source_fd, target_fd
            raise OSError(code, os.strerror(code), source)

    place = tmp_on_ext4 / "store"
    place.mkdir()

    with pytest.raises(SystemFailure, match=r"store: this filesystem has no hardlinks") as caught:
        make_store(str(place), NoLinks(), Settings("olpc"))

    check_told(caught.value, "ext4, xfs or btrfs")
    assert list(place.iterdir()) == []


def test_init_of_nothing_leaves_nothing(tmp_on_ext4: Path) -> None:
    """EX-4: where the store could not be made, its directory is not either."""

    class NoLinks(RealFs):
        def link(self, source: Name, target: Name, *, source_fd: int, target_fd: int) -> None:
            del target, source_fd, target_fd
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), source)

    with pytest.raises(SystemFailure):
        make_store(str(tmp_on_ext4 / "store"), NoLinks(), Settings("olpc"))

    assert list(tmp_on_ext4.iterdir()) == []


# --- the clock -----------------------------------------------------------------------


@pytest.mark.parametrize("now", [0.0, -1.0, 4e9, 2e10], ids=["1970", "1969", "2096", "2603"])
def test_a_clock_that_is_wrong(
    shop: Shop, tmp_on_ext4: Path, monkeypatch: pytest.MonkeyPatch, now: float
) -> None:
    """ST-5: time decides nothing."""
    monkeypatch.setattr(time, "time", lambda: now)
    lab = Lab(tmp_on_ext4)
    lab.repo.symlink_to(shop.repo)
    lab.init()

    for version in TREES:
        lab.upgrade(version)
    lab.rollback()
    lab.prune(keep=0)

    state = lab.scan()
    assert [(str(one.number), one.seal and one.seal.sealed_at) for one in state.trees] == [
        ("2", int(now)),
        ("3", int(now)),
    ]
    assert (lab.verdict(2), lab.verdict(3)) == ("pristine", "pristine")


@pytest.mark.parametrize(
    "when",
    [
        0,
        1,
        -1,
        -500_000_000,
        -(2**31) * 10**9,
        2**31 * 10**9,
        10**19,
    ],
)
def test_files_of_any_time(tmp_on_ext4: Path, when: int) -> None:
    """MF-8: 1970, before it, and far from it."""
    lab = Lab(tmp_on_ext4)
    lab.publish(1, {"a": file("a", time=when), "d/l": symlink("a", time=when)})
    lab.publish(2, {"a": file("a", time=when), "d/l": symlink("b", time=when)})
    lab.init()

    lab.upgrade(1)
    lab.upgrade(2)

    assert lab.verdict(2) == "pristine"
    assert (lab.tree(2) / "a").stat().st_mtime_ns == when
    assert (lab.tree(2) / "a").stat().st_ino == (lab.tree(1) / "a").stat().st_ino
