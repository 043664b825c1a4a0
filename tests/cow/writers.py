"""Writers in a mounted tree: they do to the sealed files whatever programs do, without a pause.

In scope: the tree that they work on, what they do, and having them at it. Out of scope: what
must hold meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
from functools import partial
from io import FileIO
from typing import TYPE_CHECKING, Final

from tests.builders import Tree, directory, file, hardlink, symlink
from tests.fault.faulty import Forked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_DIRECTORIES: Final = 20
_FILES: Final = 250
_WRITERS: Final = 3
_GONE: Final = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)


def tree_of(version: int) -> Tree:
    """Return a tree of files, in-tree hardlinks, symlinks and empty files."""
    tree: Tree = {".": directory(), "version": file(f"{version:04}")}
    for folder in range(_DIRECTORIES):
        for number in range(_FILES):
            name = f"d{folder}/sub/f{number}"
            tree[name] = file(f"{folder} {number} sealed\n" * (1 + number % 7))
        tree[f"d{folder}/sub/again"] = hardlink(f"d{folder}/sub/f0")
        tree[f"d{folder}/sub/link"] = symlink("f1")
        tree[f"d{folder}/empty"] = file()
    tree[f"new.{version}"] = file(f"new in {version}")
    return tree


# --- what writers do ----------------------------------------------------------------------


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(text)
    new.rename(path)


def _replace_alike(path: Path, text: str) -> None:
    """Replace by what lstat says the same of, but for the inode."""
    status = path.stat()
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text((text * status.st_size)[: status.st_size])
    new.chmod(status.st_mode & 0o7777)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.rename(path)


def _write_in_place(path: Path, text: str) -> None:
    with path.open("r+") as opened:
        opened.write(text)


def _truncate(path: Path, _: str) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _link(path: Path, _: str) -> None:
    new = path.with_name(f"linked.{os.getpid()}")
    os.link(path, new)
    new.rename(path.with_name(f"linked.{os.getpid()}.too"))


def _delete(path: Path, _: str) -> None:
    path.unlink()


def _create(path: Path, text: str) -> None:
    path.with_name(f"created.{os.getpid()}").write_text(text)


def _move_directory(path: Path, _: str) -> None:
    folder = path.parent
    new = folder.with_name(f"moved.{os.getpid()}")
    folder.rename(new)
    new.rename(folder)


def _change_metadata(path: Path, _: str) -> None:
    path.chmod(path.stat().st_mode ^ 0o011)


_ACTS: Final = (
    _replace, _replace_alike, _write_in_place, _truncate, _link, _delete, _create,
    _move_directory, _change_metadata,
)  # fmt: skip


def _opened(path: Path) -> FileIO:
    """Open it for writing; in a tree that others were at work in before, it may be gone."""
    return FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+")


def keep_writing(mnt: Path, seed: int, stop: Path) -> int:
    """Change things until ``stop`` is there; return how many changes were made."""
    chance = random.Random(seed)
    # Opened while sealed: what is written through it is never to reach another tree.
    early = [_opened(mnt / f"d{one}/sub/f{seed}") for one in range(_DIRECTORIES)]
    done = 0
    for count in itertools.count():
        if stop.exists():
            break
        folder, number = chance.randrange(_DIRECTORIES), chance.randrange(_FILES)
        path = mnt / f"d{folder}/sub/f{number}"
        # Another writer may have been there first.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            chance.choice(_ACTS)(path, f"{seed} {count}\n")
            done += 1
        early[folder].seek(0)
        early[folder].write(b"written early")
    for one in early:
        one.close()
    return done


def _write_until_killed(mnt: Path, seed: int, stop: Path) -> int:
    """Change things until the guard is gone."""
    try:
        keep_writing(mnt, seed, stop)
    except OSError as error:
        if error.errno not in _GONE:
            raise
    return 1


@contextlib.contextmanager
def at_work(mnt: Path, stop: Path, *, until_killed: bool = False) -> Iterator[None]:
    """Have writers at work in the context, all of whom must come to a good end.

    They are forks, so that nothing is to be open here that others wait for the end of.
    With ``until_killed`` the end of their guard is a good one.
    """
    work = _write_until_killed if until_killed else keep_writing
    stop.unlink(missing_ok=True)
    writers = [Forked(partial(work, mnt, seed, stop)) for seed in range(_WRITERS)]
    try:
        yield
    finally:
        stop.touch()
        done = [one.surely() for one in writers]
    assert min(done) > 0
