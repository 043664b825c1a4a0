"""What the guard may not run out of, and what it does with its own bugs."""

from __future__ import annotations

import errno
import mmap
import os
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from cow import tree
from cow.disk import Disk
from cow.naming import NameRequests
from cow.nodes import Nodes
from cow.operations import GuardOperations
from tests.cow.guarding import snapshot
from tests.cow.served import few_descriptors, serving
from tests.fault.faulty import Forked, interposed

if TYPE_CHECKING:
    import pyfuse3

    from tests.conftest import MakeFs
    from tests.fault.faulty import Call

DIRECTORIES, FILES = 60, 50
_MIB = 1 << 20


def _farm(home: Path) -> tuple[Path, Path]:
    """Return a tree whose file another shares, and a mount point."""
    one, other, mnt = home / "one", home / "other", home / "mnt"
    for directory in (one, other, mnt):
        directory.mkdir()
    (one / "file").write_bytes(b"sealed" * _MIB)
    os.link(one / "file", other / "file")
    return one, mnt


def _many(tree: Path) -> None:
    for directory in range(DIRECTORIES):
        (tree / f"{directory}").mkdir()
        for file in range(FILES):
            (tree / f"{directory}/{file}").touch()


def test_what_the_kernel_forgets_is_forgotten(tmp_on_ext4: Path) -> None:
    """GD-16: after many lookups the guard has no more nodes than the kernel."""
    one, mnt = _farm(tmp_on_ext4)
    _many(one)

    with serving(one, mnt, _counting_disk):
        for path in mnt.rglob("*"):
            path.lstat()
        known = os.statvfs(mnt).f_files
        assert known > DIRECTORIES * FILES
        Path("/proc/sys/vm/drop_caches").write_text("2\n")
        # It is told of what is forgotten between other requests.
        assert any(os.statvfs(mnt).f_files < known / 10 for _ in range(10_000))


def _counting_disk() -> Disk:
    """Have statvfs(3) tell, in the process of the guard, how many nodes it has."""
    original = GuardOperations.statfs

    async def statfs(self: GuardOperations, ctx: object) -> pyfuse3.StatvfsData:
        found = await original(self, ctx)
        found.f_files = len(self.tree.nodes)
        return found

    GuardOperations.statfs = statfs  # type: ignore[method-assign]
    return Disk()


def test_descriptors_are_pooled(tmp_on_ext4: Path) -> None:
    """GD-16: more directories and open files of one inode than descriptors."""
    one, mnt = _farm(tmp_on_ext4)
    _many(one)

    with serving(one, mnt, partial(few_descriptors, 100)) as end:
        opened = [os.open(mnt / "file", os.O_RDONLY) for _ in range(200)]
        assert len(list(mnt.rglob("*"))) == DIRECTORIES * (FILES + 1) + 1
        # Of these there is nothing to be read below.
        opened.extend(os.open(path, os.O_RDONLY) for path in mnt.glob("[012]/*"))
        with pytest.raises(OSError, match="Too many open files"):
            opened.extend(os.open(path, os.O_RDWR) for path in mnt.glob("[012]/*"))
        for descriptor in opened:
            os.close(descriptor)
        assert (mnt / "file").read_bytes()[:6] == b"sealed"
        assert end()


def test_a_directory_deeper_than_the_pool_is_reached(tmp_on_ext4: Path) -> None:
    """GD-5, GD-16: a path longer than PATH_MAX, with few descriptors."""
    one, mnt = _farm(tmp_on_ext4)

    with serving(one, mnt, partial(few_descriptors, 100)) as end:
        assert Forked(partial(_go_deep, mnt)).surely()
        assert end()


def _go_deep(mnt: Path) -> bool:
    os.chdir(mnt)
    for _ in range(150):
        os.mkdir("d" * 100)
        os.chdir("d" * 100)
    Path("deep").write_text("deep")
    os.chmod("deep", 0o600)
    os.rename("deep", "deeper")
    return Path("deeper").read_text() == "deep"


def test_a_large_break_keeps_nobody_waiting(tmp_on_ext4: Path) -> None:
    """GD-10: while the content is copied, others are answered, and old readers read."""
    one, mnt = _farm(tmp_on_ext4)
    before = snapshot(tmp_on_ext4 / "other")
    begun, go_on = os.pipe(), os.pipe()

    def tap(call: Call) -> None:
        if call.op == "copy":
            os.write(begun[1], b"x")
            os.read(go_on[0], 1)

    disk = cast("Disk", interposed(_NoClone(), tap))
    with serving(one, mnt, lambda: disk) as end:
        writer = Forked(partial(_append, mnt / "file"))
        os.read(begun[0], 1)
        (mnt / "new").mkdir()
        (mnt / "file").rename(mnt / "new/moved")
        second = Forked(partial(_append, mnt / "new/moved"))
        assert (mnt / "new/moved").read_bytes()[:6] == b"sealed"
        os.write(go_on[1], b"x" * 100)
        writer.surely()
        second.surely()
        assert (mnt / "new/moved").read_bytes()[-8:] == b"moremore"
        assert end()
    assert (one / "new/moved").stat().st_size == 6 * _MIB + 8
    assert snapshot(tmp_on_ext4 / "other") == before


class _NoClone(Disk):
    def clone(self, source: int, target: int) -> bool:
        del source, target
        return False


def _append(path: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    return os.write(descriptor, b"more")


def test_a_bug_is_an_error_for_one_caller(
    tmp_on_ext4: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """GD-10: it is logged with its traceback, and the mount survives."""
    one, mnt = _farm(tmp_on_ext4)

    with serving(one, mnt, _with_a_bug) as end:
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            (mnt / "new").mkdir()
        assert (mnt / "file").exists()
        assert end()

    said = capfd.readouterr().err
    assert "a bug in the guard, in mkdir" in said
    assert "ZeroDivisionError" in said


def _with_a_bug() -> Disk:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    NameRequests._give = broken  # type: ignore[method-assign, assignment]
    return Disk()


@pytest.mark.parametrize(
    ("kind", "options", "wanted"),
    [
        ("ext4", "", False),
        ("ext4", "noauto_da_alloc", True),
        ("ext4", "data=writeback", True),
        ("btrfs", "", True),
    ],
)
def test_data_is_written_before_its_name(
    make_fs: MakeFs,
    kind: str,
    options: str,
    wanted: bool,  # noqa: FBT001
) -> None:
    """GD-14: by the guard, unless the filesystem does it."""
    home = make_fs(kind, options=options).path  # type: ignore[arg-type]
    one, mnt = _farm(home)
    shared = mmap.mmap(-1, 64 * 64)

    def tap(call: Call) -> None:
        shared.write(call.op.ljust(64).encode())

    disk = cast("Disk", interposed(_NoClone(), tap))
    with serving(one, mnt, lambda: disk) as end:
        (mnt / "file").chmod(0o600)
        assert end()

    shared.seek(0)
    ops = [shared.read(64).decode().strip("\0 ") for _ in range(64)]
    assert "rename" in ops
    assert ("write_out" in ops[: ops.index("rename")]) is wanted


def test_numbers_are_never_of_two_inodes() -> None:
    """GD-6: that of a broken inode comes back from below as another's."""
    nodes = Nodes(2, lambda _: None)
    root = nodes.root
    node = nodes.at(root, b"name", 13)
    nodes.renumber(node, 20)

    other = nodes.at(root, b"another", 13)

    assert (node.number, nodes.at(root, b"name", 20)) == (13, node)
    assert other.number not in (1, 2, 13, 20)
    assert nodes.at(root, b"another", 13) is other
    numbers = sorted(one.number for one in nodes)
    assert all(one != two for one, two in pairwise(numbers))


def test_a_deep_path_is_forgotten_at_once() -> None:
    """GD-16: when its end is, all of it, however deep."""
    dropped: list[int] = []
    nodes = Nodes(2, lambda node: dropped.append(node.number))
    node = nodes.root
    for inode in range(10, 5010):
        node = nodes.at(node, b"d", inode)

    nodes.drop_unused(node)

    assert dropped == list(range(5009, 9, -1))
    assert list(nodes) == [nodes.root]


def test_a_large_directory_is_listed_whole(
    tmp_on_ext4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GD-5: whether its listing is kept or not."""
    one, mnt = _farm(tmp_on_ext4)
    _many(one)
    monkeypatch.setattr(tree, "_REMEMBERED", FILES - 1)

    with serving(one, mnt) as end:
        for _ in range(2):
            assert {path.name for path in (mnt / "3").iterdir()} == set(map(str, range(FILES)))
        assert end()
