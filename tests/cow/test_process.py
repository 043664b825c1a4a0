"""The guard as a process: mounted, unmounted, ended, killed, and what status says of it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cli.render import printable
from tests.builders import file
from tests.commands import Machine
from tests.cow.guarding import Guard, end, guarding, mount, snapshot
from tests.filesystems import run
from tests.numbers import renumber
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MakeFs

BUSY, WRONG, MISSING, USAGE = 5, 3, 8, 2


@pytest.fixture
def machine(tmp_on_ext4: Path) -> Iterator[Machine]:
    """Return a device with two versions; whatever is mounted is unmounted."""
    machine = Machine(tmp_on_ext4)
    one, two = ({"same": file("both\n"), "etc/issue": file(issue)} for issue in ("1\n", "2\n"))
    machine.install(one, two)
    yield machine
    subprocess.run(("umount", "--lazy", tmp_on_ext4 / "mnt"), check=False, capture_output=True)


@pytest.fixture
def mnt(tmp_on_ext4: Path) -> Path:
    """Return a mount point."""
    path = tmp_on_ext4 / "mnt"
    path.mkdir()
    return path


@pytest.fixture
def tree(tmp_on_ext4: Path) -> Path:
    """Return a tree that shares its file with another."""
    for name in ("one", "other"):
        (tmp_on_ext4 / name).mkdir()
    (tmp_on_ext4 / "one/file").write_text("sealed\n")
    os.link(tmp_on_ext4 / "one/file", tmp_on_ext4 / "other/file")
    return tmp_on_ext4 / "one"


def test_a_version_is_mounted_changed_and_unmounted(machine: Machine, mnt: Path) -> None:
    """GD-17, GD-19: in the background, and its scratch directory goes with it."""
    before = snapshot(machine.tree(1))

    said = machine.run("mount", mnt).out
    assert said == f"{machine.store}/olpc.2 is mounted at {mnt}\n"
    (mnt / "same").write_text("changed\n")
    assert (machine.store / ".rootman/guard/2").is_dir()
    said = machine.run("umount", "current").out

    assert said == f"{machine.store}/olpc.2 is no longer mounted at {mnt}\n"
    assert (machine.tree(2) / "same").read_text() == "changed\n"
    assert snapshot(machine.tree(1)) == before
    assert not (machine.store / ".rootman/guard/2").exists()


def test_what_serves_the_root_of_a_system_is_named_so_that_systemd_lets_it_live(
    machine: Machine, mnt: Path
) -> None:
    """BT-44: of all other guards the name is what it is."""
    machine.run("mount", "--storage-daemon", "1", mnt)
    marked = _command_line(mnt)
    machine.run("umount", mnt)
    machine.run("mount", "1", mnt)

    assert marked.startswith(b"@")
    assert not _command_line(mnt).startswith(b"@")


def test_a_tree_is_mounted_by_its_number(machine: Machine, mnt: Path) -> None:
    """GD-17, GD-19: where several are of one version, too."""
    renumber(Lab(machine.home), 2, "1.1")
    before = snapshot(machine.tree(1))

    said = machine.run("mount", "1.1", mnt).out
    assert said == f"{machine.store}/olpc.1.1 is mounted at {mnt}\n"
    (mnt / "same").write_text("changed\n")
    assert (machine.store / ".rootman/guard/1.1").is_dir()
    shown = {one["name"]: one["mounted_at"] for one in machine.document("status")["trees"]}
    assert shown == {"olpc.1": [], "olpc.1.1": [str(mnt)]}
    machine.refused("umount", "1", code=MISSING)
    said = machine.run("umount", "1.1").out

    assert said == f"{machine.store}/olpc.1.1 is no longer mounted at {mnt}\n"
    assert (machine.tree("1.1") / "same").read_text() == "changed\n"
    assert snapshot(machine.tree(1)) == before


def test_an_inode_that_one_version_has_alone_is_not_changed_either(
    machine: Machine, mnt: Path
) -> None:
    """GD-2: it is what the tree was sealed with."""
    sealed = (machine.tree(2) / "etc/issue").stat()
    assert sealed.st_nlink <= 2  # perhaps of the spare

    machine.run("mount", "2", mnt)
    (mnt / "etc/issue").chmod(0o600)
    machine.run("umount", mnt)

    assert (machine.tree(2) / "etc/issue").stat().st_ino != sealed.st_ino


def test_status_says_where_a_version_is_mounted_and_which_guard_died(
    machine: Machine, mnt: Path
) -> None:
    machine.run("mount", "1", mnt)
    assert [tree["mounted_at"] for tree in machine.document("status")["trees"]] == [[str(mnt)], []]
    assert any(line.endswith(f"mounted at {mnt}") for line in machine.run("status").lines)

    _kill_guard(mnt)
    document = machine.document("status")

    assert [tree["mounted_at"] for tree in document["trees"]] == [[], []]
    assert document["problems"] == [
        f"the guard of olpc.1 at {mnt} has died (hint: rootman umount {mnt}, and mount it again)"
    ]


def test_a_mount_point_of_a_dead_guard_is_mounted_over(machine: Machine, mnt: Path) -> None:
    """GD-18, GD-13: and what was synced is there."""
    machine.run("mount", "1", mnt)
    with (mnt / "same").open("w") as file:
        file.write("synced\n")
        file.flush()
        os.fsync(file.fileno())
        _kill_guard(mnt)

    machine.run("mount", "1", mnt)

    assert (mnt / "same").read_text() == "synced\n"
    machine.run("umount", mnt)


def _guard_of(mnt: Path) -> int:
    (pid,) = map(int, run("pgrep", "-f", f"rootman.* mount .*{mnt}").split())
    return pid


def _command_line(mnt: Path) -> bytes:
    return Path("/proc", str(_guard_of(mnt)), "cmdline").read_bytes()


def _kill_guard(mnt: Path) -> None:
    pid = _guard_of(mnt)
    descriptor = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([descriptor], [], [])  # until it has ended
    os.close(descriptor)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("9", "MNT"), MISSING, "olpc.9: no such tree"),
        (("1", "MNT/nowhere"), MISSING, "there is no such directory"),
        (("1", "STORE/olpc.1/etc"), WRONG, "is in the tree itself"),
        (("1", "STORE/olpc.1/same"), WRONG, "is not a directory"),
        (("--tree", "STORE/nowhere", "MNT"), MISSING, "there is no such directory"),
        (("--tree", "/proc", "MNT"), WRONG, "is a filesystem of its own"),
        (("0", "MNT"), USAGE, "is no version"),
        (("1", "2", "MNT"), USAGE, "there is one MOUNTPOINT"),
        (("--tree", "STORE", "1", "MNT"), USAGE, "there is one MOUNTPOINT"),
    ],
)
def test_wrong_input_is_named(
    machine: Machine, mnt: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    given = [one.replace("MNT", str(mnt)).replace("STORE", str(machine.store)) for one in arguments]

    done = machine.attempt("mount", *given)

    assert (done.code, len(done.err.splitlines())) == (code, 1)
    assert words in done.err
    assert not mnt.is_mount()


def test_a_tree_with_a_subvolume_is_refused(make_fs: MakeFs) -> None:
    """GD-6: its inodes have the numbers of others."""
    home = make_fs("btrfs").path
    for name in ("tree", "mnt"):
        (home / name).mkdir()
    for name in ("one", "other"):
        subprocess.run(("btrfs", "-q", "subvolume", "create", home / "tree" / name), check=True)

    done = Machine(home).attempt("mount", "--tree", home / "tree", home / "mnt")

    assert done.code == WRONG
    assert re.search("(one|other): another filesystem begins here", done.err)
    assert not (home / "mnt").is_mount()
    assert sorted(os.listdir(home)) == ["mnt", "tree"]


def test_a_tree_has_one_guard(machine: Machine, mnt: Path, tmp_on_ext4: Path) -> None:
    """GD-15."""
    (tmp_on_ext4 / "second").mkdir()
    machine.run("mount", "1", mnt)

    done = machine.attempt("mount", "1", tmp_on_ext4 / "second")

    assert done.code == BUSY
    assert "is guarded already" in done.err
    machine.run("umount", "1")


def test_who_uses_a_mount_is_named(machine: Machine, mnt: Path) -> None:
    machine.run("mount", mnt)
    with (mnt / "same").open():
        done = machine.attempt("umount", mnt)

    assert done.code == BUSY
    assert f"(process {os.getpid()})" in done.err
    machine.run("umount", mnt)


@pytest.mark.parametrize("what", ["MNT", "1", "9", "current", "²"])
def test_what_is_not_mounted_is_not_unmounted(machine: Machine, mnt: Path, what: str) -> None:
    what = what.replace("MNT", str(mnt))

    done = machine.attempt("umount", what)

    assert done.code == MISSING
    assert done.err == (
        f"rootman: umount: {printable(what)}: no guard is mounted there "
        "(hint: rootman status lists them)\n"
    )


def test_a_signal_detaches_the_mount_and_waits_for_who_uses_it(tree: Path, mnt: Path) -> None:
    """GD-17."""
    guard = mount("mount", "--tree", tree, tree=tree, mnt=mnt)
    try:
        with (mnt / "file").open("a+") as file:
            guard.process.terminate()
            _until_detached(guard)
            file.write("written\n")
            file.flush()
            assert guard.process.poll() is None
        assert guard.process.wait(30) == 0
    finally:
        end(guard)
    assert (tree / "file").read_text() == "sealed\nwritten\n"
    assert (tree.parent / "other/file").read_text() == "sealed\n"


def _until_detached(guard: Guard) -> None:
    while guard.mnt.is_mount():
        assert guard.process.poll() is None


def test_a_second_signal_does_not_wait(tree: Path, mnt: Path) -> None:
    """GD-17."""
    guard = mount("mount", "--tree", tree, tree=tree, mnt=mnt)
    try:
        opened = os.open(mnt / "file", os.O_RDONLY)
        guard.process.terminate()
        _until_detached(guard)
        guard.process.terminate()
        assert guard.process.wait(30) == 0
        with pytest.raises(OSError, match="not connected"):
            os.getxattr(opened, "user.none")
        with contextlib.suppress(OSError):  # it has nobody to tell
            os.close(opened)
    finally:
        end(guard)


def test_a_symlink_is_the_callers_and_what_is_mounted_below_is_not_seen(
    tree: Path, mnt: Path, tmp_on_ext4: Path
) -> None:
    """GD-9."""
    outside = tmp_on_ext4 / "outside"
    outside.write_text("outside\n")
    (tree / "absolute").symlink_to(outside)
    (tree / "upwards").symlink_to("../outside")
    (tree / "covered").mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "none", tree / "covered"), check=True)
    try:
        (tree / "covered/hidden").touch()
        with guarding(tree, mnt):
            assert (mnt / "absolute").read_text() == "outside\n"
            assert (mnt / "upwards").read_text() == "outside\n"
            (mnt / "absolute").chmod(0o600)
            os.chown(mnt / "upwards", 7, 7, follow_symlinks=False)
            assert list((mnt / "covered").iterdir()) == []
    finally:
        subprocess.run(("umount", tree / "covered"), check=True)
    assert outside.stat().st_uid == 0
    assert (tree / "upwards").lstat().st_uid == 7
