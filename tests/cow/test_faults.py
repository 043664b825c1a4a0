"""Every call of a break fails, and the guard is killed before each: nothing is lost or leaks."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from cow.disk import Disk
from tests.cow.guarding import snapshot
from tests.cow.served import serving
from tests.fault.faulty import Fault, interposed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rootman.fsops import Name
    from tests.fault.faulty import Call, Mode

Snapshot = dict[str, tuple[object, ...]]

_CODES: Final = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
_GONE: Final = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)


@dataclass(frozen=True)
class _Change:
    """``apply`` changes what stands at ``name``."""

    name: str
    apply: Callable[[Path], None]

    def __str__(self) -> str:
        return f"{self.apply.__name__} {self.name}"


def chmod(path: Path) -> None:
    path.chmod(0o640)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def chown(path: Path) -> None:
    os.chown(path, 12, 34, follow_symlinks=False)


CHANGES: Final = (
    _Change("file", append),
    _Change("group", chmod),
    _Change("symlink", chown),
    _Change("fifo", chown),
)
KEPT: Final = ("group", "again", "below/third")


def _farm(home: Path) -> tuple[Path, Path]:
    """Return two trees that share everything but directories."""
    one, other = home / "one", home / "other"
    (one / "below").mkdir(parents=True)
    with (one / "file").open("wb") as file:  # with a hole
        file.write(b"content")
        file.seek(1 << 20)
        file.write(b"end")
    os.setxattr(one / "file", "user.kept", b"value")
    (one / "group").write_text("three names\n")
    os.link(one / "group", one / "again")
    os.link(one / "group", one / "below/third")
    (one / "symlink").symlink_to("file")
    os.mkfifo(one / "fifo")
    subprocess.run(("cp", "-al", one, other), check=True)
    return one, other


def _faulty(mode: Mode, at: int) -> Disk:
    return cast("Disk", interposed(Disk(), Fault(mode, at)))


def _attempt(change: _Change, mnt: Path) -> int:
    """Return the errno that the change ends with, 0 if it is made."""
    try:
        change.apply(mnt / change.name)
    except OSError as error:
        return error.errno or -1
    return 0


def _calls(change: _Change, home: Path) -> int:
    """Return how many calls the break before the change makes."""
    counted: list[object] = []
    one, _ = _farm(home)
    shared = home / "calls"
    shared.touch()

    def tap(call: object) -> None:
        counted.append(call)
        os.truncate(shared, len(counted))

    disk = cast("Disk", interposed(Disk(), tap))
    with serving(one, _mountpoint(home), lambda: disk):
        assert _attempt(change, home / "mnt") == 0
    return shared.stat().st_size


def _mountpoint(home: Path) -> Path:
    mnt = home / "mnt"
    mnt.mkdir(exist_ok=True)
    return mnt


def _fresh(home: Path, name: str) -> Path:
    home = home / name
    home.mkdir()
    return home


def _litter(home: Path) -> list[str]:
    return sorted(set(os.listdir(home)) - {"one", "other", "mnt"})


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("mode", ["ENOSPC", "EIO"])
def test_a_break_that_fails_changes_nothing(tmp_on_ext4: Path, change: _Change, mode: Mode) -> None:
    """GD-12: the caller gets the error, the tree is as it was, and it works the next time."""
    failed = 0
    for at in range(1, _calls(change, _fresh(tmp_on_ext4, "count")) + 1):
        home = _fresh(tmp_on_ext4, str(at))
        one, other = _farm(home)
        mine, theirs = snapshot(one), snapshot(other)
        with serving(one, _mountpoint(home), partial(_faulty, mode, at)) as end:
            code = _attempt(change, home / "mnt")
            if code:
                failed += 1
                assert code == _CODES[mode]
                assert snapshot(one) == mine
                assert os.listdir(home / ".one.rootman-guard") == []
                assert _attempt(change, home / "mnt") == 0
            assert end()
        _is_changed(one, change)
        assert snapshot(other) == theirs
        assert _litter(home) == []
    assert failed >= 3


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_guard_that_is_killed_leaves_old_or_new(tmp_on_ext4: Path, change: _Change) -> None:
    """GD-13: complete at any moment, and whole after the next mount."""
    for at in range(1, _calls(change, _fresh(tmp_on_ext4, "count")) + 1):
        home = _fresh(tmp_on_ext4, str(at))
        one, other = _farm(home)
        mine, theirs = _without_inodes(snapshot(one)), snapshot(other)
        with serving(one, _mountpoint(home), partial(_faulty, "kill", at)) as end:
            assert _attempt(change, home / "mnt") in _GONE
            assert not end()
        assert _without_inodes(snapshot(one)) == mine  # broken or not, nothing is changed yet
        assert set(os.listdir(one)) == set(os.listdir(other))
        with serving(one, home / "mnt") as end:
            assert len({(one / name).stat().st_ino for name in KEPT}) == 1
            assert _attempt(change, home / "mnt") == 0
            assert end()
        _is_changed(one, change)
        assert snapshot(other) == theirs
        assert _litter(home) == []


def _without_inodes(found: Snapshot) -> dict[str, tuple[Any, ...]]:
    """Return it without what a break changes: inodes, and for a moment a directory's times."""
    return {
        name: (*row[:5], *row[8:]) if stat.S_ISDIR(cast("int", row[0])) else (*row[:5], *row[6:])
        for name, row in found.items()
    }


def _is_changed(tree: Path, change: _Change) -> None:
    status = (tree / change.name).lstat()
    if change.apply is chown:
        assert (status.st_uid, status.st_gid) == (12, 34)
    elif change.apply is chmod:
        assert {stat.S_IMODE((tree / name).stat().st_mode) for name in KEPT} == {0o640}
    else:
        content = (tree / change.name).read_bytes()
        assert content.endswith(b"endmore")
        assert os.getxattr(tree / change.name, "user.kept") == b"value"
        assert status.st_blocks * 512 < status.st_size


class _OutOfMemory(Disk):
    """A disk before whose first file the memory is gone."""

    def __init__(self) -> None:
        super().__init__()
        self._gone = False

    def create(self, name: Name, *, dir_fd: int, mode: int = 0o600) -> int:
        if self._gone:
            return super().create(name, dir_fd=dir_fd, mode=mode)
        self._gone = True
        raise MemoryError


def test_a_break_without_memory_changes_nothing(tmp_on_ext4: Path) -> None:
    """GD-12: ENOMEM, and it works when there is some again."""
    one, other = _farm(tmp_on_ext4)
    mine, theirs = snapshot(one), snapshot(other)

    with serving(one, _mountpoint(tmp_on_ext4), _OutOfMemory) as end:
        assert _attempt(CHANGES[0], tmp_on_ext4 / "mnt") == errno.ENOMEM
        assert snapshot(one) == mine
        assert _attempt(CHANGES[0], tmp_on_ext4 / "mnt") == 0
        assert end()

    _is_changed(one, CHANGES[0])
    assert snapshot(other) == theirs


@pytest.mark.parametrize(
    ("beginning", "granted"), [(b"group.", 1), (b"new.", 2)], ids=["a name", "the removal"]
)
def test_what_a_program_changed_since_is_not_finished(
    tmp_on_ext4: Path, beginning: bytes, granted: int
) -> None:
    """GD-13: a group that could not be removed is left for the next mount, but not its names."""
    one, other = _farm(tmp_on_ext4)
    theirs = snapshot(other)

    with serving(one, _mountpoint(tmp_on_ext4), partial(_refusing, beginning, granted)) as end:
        _attempt(_Change("group", chmod), tmp_on_ext4 / "mnt")
        for name in KEPT:
            (tmp_on_ext4 / "mnt/new").write_text("new\n")
            (tmp_on_ext4 / "mnt/new").rename(tmp_on_ext4 / "mnt" / name)
        assert end()
    with serving(one, tmp_on_ext4 / "mnt") as end:
        assert end()

    assert [(one / name).read_text() for name in KEPT] == ["new\n"] * len(KEPT)
    assert snapshot(other) == theirs
    assert _litter(tmp_on_ext4) == []


def _refusing(beginning: bytes, granted: int) -> Disk:
    """Return a disk that refuses renames from and to such names, but for the first ones."""
    seen: list[Call] = []

    def tap(call: Call) -> None:
        names = [call.arguments[one] for one in ("source", "target")] if call.op == "rename" else []
        if any(name.startswith(beginning) for name in names):
            seen.append(call)
            if len(seen) > granted:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    return cast("Disk", interposed(Disk(), tap))
