"""A tree that is deeper than a path may be long is guarded as any other."""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

from cow.disk import Disk
from tests.cow.guarding import end, guarding, mount
from tests.cow.served import few_descriptors, serving
from tests.fault.faulty import Forked, KillBefore, interposed

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")

NAME: Final = "d" * 80
LEVELS: Final = 60  # more than PATH_MAX, and than the directories that are kept open


def _deep(top: Path, do: Callable[[], T]) -> T:
    """Return what ``do`` returns in the deepest directory of a tree."""

    def there() -> T:
        os.chdir(top)
        for _ in range(LEVELS):
            os.chdir(NAME)
        return do()

    return Forked(there).surely()


def _farm(home: Path) -> tuple[Path, Path]:
    """Return a tree, in whose depth is what another shares, and a mount point."""
    one, other, mnt = home / "one", home / "other", home / "mnt"
    for directory in (one, other, mnt):
        directory.mkdir(parents=True)
    for name in ("file", "group"):
        (other / name).write_text("sealed")

    def fill() -> bool:
        os.chdir(one)
        for _ in range(LEVELS):
            os.mkdir("beside")  # to come back for
            os.mkdir(NAME)
            os.chdir(NAME)
        os.link(other / "file", "file")
        for name in ("group", "again", one / "top"):
            os.link(other / "group", name)
        return True

    assert Forked(fill).surely()
    return one, mnt


def _append(name: str) -> str:
    with open(name, "a", encoding="ascii") as file:
        file.write(" and changed")
    return Path(name).read_text()


def test_it_is_mounted(tmp_on_ext4: Path) -> None:
    """GD-5, GD-16: with few descriptors, and what is in its depth can be changed."""
    one, mnt = _farm(tmp_on_ext4)

    with serving(one, mnt, partial(few_descriptors, 100)) as unmount:
        assert _deep(mnt, partial(_append, "file")) == "sealed and changed"
        assert unmount()

    assert _deep(one, Path("file").read_text) == "sealed and changed"
    assert (tmp_on_ext4 / "other/file").read_text() == "sealed"


def test_it_is_mounted_again_after_a_kill(tmp_on_ext4: Path) -> None:
    """GD-13."""
    one, mnt = _farm(tmp_on_ext4)

    guard = mount("mount", "--tree", one, tree=one, mnt=mnt)
    try:
        _deep(mnt, partial(_append, "file"))
        guard.kill()
        with guarding(one, mnt):
            assert _deep(mnt, Path("file").read_text) == "sealed and changed"
    finally:
        end(guard)


def test_a_group_is_broken_whatever_kills_the_guard(tmp_on_ext4: Path) -> None:
    """GD-7, GD-13: of names in depth, too, the next mount changes all that are left."""
    for renames in count():
        one, mnt = _farm(tmp_on_ext4 / str(renames))
        with serving(one, mnt, partial(_deadly, renames)) as unmount:
            done = _deep(mnt, partial(_chmod, "group"))
            assert unmount() is done
        with serving(one, mnt) as unmount:
            assert unmount()

        inodes = _deep(one, lambda: {os.stat(name).st_ino for name in ("group", "again")})
        assert inodes == {(one / "top").stat().st_ino}
        assert not stat.S_IMODE((one.parent / "other/group").stat().st_mode) & 0o111
        if done:
            break
    assert renames > 3


def _deadly(renames: int) -> Disk:
    """Return a disk that kills the guard at a rename, after so many of them."""
    kill = KillBefore(lambda call: call.op == "rename", renames)
    return cast("Disk", interposed(Disk(), kill))


def _chmod(name: str) -> bool:
    try:
        os.chmod(name, 0o755)
    except OSError as error:
        assert error.errno in (errno.ENOTCONN, errno.ECONNABORTED)  # noqa: PT017 - not of pytest
        return False
    return True
