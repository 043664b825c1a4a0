"""A tree that is deeper than a path may be long is guarded as any other."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from tests.cow.guarding import end, guarding, mount
from tests.cow.served import few_descriptors, serving
from tests.fault.faulty import Forked

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
    """Return a tree, in whose depth is a file that another shares, and a mount point."""
    one, other, mnt = home / "one", home / "other", home / "mnt"
    for directory in (one, other, mnt):
        directory.mkdir(parents=True)
    (other / "file").write_text("sealed")

    def fill() -> bool:
        os.chdir(one)
        for _ in range(LEVELS):
            os.mkdir("beside")  # to come back for
            os.mkdir(NAME)
            os.chdir(NAME)
        os.link(other / "file", "file")
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
