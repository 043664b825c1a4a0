"""The filesystems that other tests stand on: real, separate, and gone afterwards."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.filesystems import Kind, loop_filesystem, run, scratch_directory, thaw

if TYPE_CHECKING:
    from tests.conftest import MakeFs


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_each_kind_is_mounted_apart(make_fs: MakeFs, kind: Kind) -> None:
    filesystem = make_fs(kind)

    assert run("findmnt", "-n", "-o", "FSTYPE", str(filesystem.path)).strip() == kind
    assert filesystem.path.stat().st_dev != Path("/").stat().st_dev
    assert Path("/sys/class/block", Path(filesystem.device).name, "stat").exists()


def test_inodes_run_out_where_asked(make_fs: MakeFs) -> None:
    path = make_fs("ext4", size_mib=32, inodes=32).path
    for number in range(os.statvfs(path).f_ffree):
        (path / str(number)).touch()

    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (path / "one more").touch()


def test_mount_options_are_handed_on(make_fs: MakeFs) -> None:
    path = make_fs("ext4", size_mib=32, options="ro").path

    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        (path / "file").touch()


@pytest.mark.loopfs
def test_nothing_stays_behind_a_failure() -> None:
    def fail(scratch: Path) -> None:
        with loop_filesystem(scratch, size_mib=32) as filesystem:
            run("fsfreeze", "--freeze", str(filesystem.path))
            raise ZeroDivisionError

    with scratch_directory() as scratch, pytest.raises(ZeroDivisionError):
        fail(scratch)

    assert not scratch.exists()
    assert str(scratch) not in Path("/proc/self/mountinfo").read_text()
    assert str(scratch) not in run("losetup", "--list", "--noheadings", "--output", "BACK-FILE")


@pytest.mark.loopfs
def test_what_a_killed_run_left_is_removed() -> None:
    with scratch_directory() as scratch, loop_filesystem(scratch, size_mib=32) as filesystem:
        # Given the directory of a process that is no more
        left = scratch.with_name("rootman-tests-999999999-left")
        left.mkdir()
        (left / "mnt").mkdir()
        run("mount", "--bind", str(filesystem.path), str(left / "mnt"))
        (filesystem.path / "precious").touch()

        with scratch_directory():
            assert not left.exists()

        assert (filesystem.path / "precious").exists()


def test_thaw_tells_whether_it_was_frozen(make_fs: MakeFs) -> None:
    path = make_fs("ext4", size_mib=32).path
    run("fsfreeze", "--freeze", str(path))

    assert thaw(path)
    assert not thaw(path)


def test_a_directory_of_its_own(tmp_on_ext4: Path, tmp_path: Path) -> None:
    assert tmp_on_ext4.stat().st_dev != tmp_path.stat().st_dev
    assert not list(tmp_on_ext4.iterdir())
