"""Packs in a repository: made of real trees, read back, and what faults leave of them."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest
import zstandard

from rootman.comparison import known_lines
from rootman.errors import Busy, InvalidInput, NoSpace, NotFound, SystemFailure
from rootman.fsops import RealFs
from rootman.manifest import HEADER
from rootman.packs import delivery
from rootman.packs.delivery import Tree as SourceTree
from rootman.repo.packs import Pack, make_packs, usual_origins
from rootman.repo.repository import Repository
from rootman.repo.writer import open_writer
from tests.builders import Tree, build, char, directory, fifo, file, hardlink, symlink, unix_socket
from tests.debian_trees import debian_trees
from tests.fs.test_publish import Recorder, fail, kill, snapshot
from tests.packing import Read, digest_of, read
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from rootman.fsops import Fs
    from tests.conftest import MakeFs
    from tests.filesystems import LoopFilesystem

pytestmark = pytest.mark.loopfs

RANDOM = random.Random(7)
PROGRAM: Final = b"\x7fELF" + bytes(14) + b"\x3e\0" + RANDOM.randbytes(200_000)
PATCHED: Final = PROGRAM[:70_000] + b"patched" + PROGRAM[70_000:]
LIBRARY: Final = RANDOM.randbytes(90_000)
MOVED: Final = RANDOM.randbytes(50_000)
ODD: Final = "odd name\n\udcff"
_TEXT: Final = "".join(f"line {number} of a text that many have\n" for number in range(90))
# What makes a pack from nothing smaller than its objects is that they are alike.
ALIKE: Final[Tree] = {f"doc/{number:02}": file(f"{number}\n{_TEXT}") for number in range(20)}

ONE: Final[Tree] = {
    ".": directory(),
    "bin/program": file(PROGRAM, 0o755),
    "dev/console": char(5, 1, 0o600),
    "etc/conf": file("conf" * 99, xattrs={"user.old": b"1"}),
    "lib/libx.so.1.2": file(LIBRARY),
    "lib/libx.so": symlink("libx.so.1.2"),
    "share/here": file(MOVED),
    "share/also": hardlink("share/here"),
    "run/pipe": fifo(),
    ODD: file("odd" * 99),
}
TWO: Final[Tree] = {
    ".": directory(time=5),
    "bin/program": file(PATCHED, 0o4755),
    "bin/programm": hardlink("bin/program"),
    "dev/console": char(5, 2, 0o600),
    "etc/conf": file("conf" * 99, xattrs={"user.new": b"\0\xff"}),
    "etc/empty": file(),
    "lib/libx.so.1.3": file(LIBRARY + b"more"),
    "lib/libx.so": symlink("libx.so.1.3"),
    "new/place": file(MOVED, 0o600),
    "new/socket": unix_socket(),
    ODD: file("odd" * 99 + "!"),
    **ALIKE,
}
SMALL_ONE: Final[Tree] = {"doc/00": ALIKE["doc/00"], "etc/conf": file(_TEXT)}
SMALL_TWO: Final[Tree] = {**ALIKE, "etc/conf": file(_TEXT + "changed")}


@pytest.fixture(scope="module")
def template(ext4: LoopFilesystem) -> Iterator[Lab]:
    """Return a repository with two versions, to be copied."""
    with tempfile.TemporaryDirectory(dir=ext4.path) as home:
        lab = Lab(home)
        lab.publish(1, ONE)
        lab.publish(2, TWO)
        yield lab


@pytest.fixture
def lab(tmp_on_ext4: Path, template: Lab) -> Lab:
    """Return a repository with two versions."""
    lab = Lab(tmp_on_ext4)
    shutil.copytree(template.repo, lab.repo)
    for version in (1, 2):
        lab.source(version).symlink_to(template.source(version))
    return lab


def made(lab: Lab, *origins: int | None, version: int = 2, fs: Fs | None = None) -> list[Pack]:
    return list(make_packs(str(lab.repo), version, origins, fs=fs or RealFs()))


def packs(lab: Lab) -> dict[str, bytes]:
    """Return the packs that readers see."""
    return {str(path.relative_to(lab.repo)): path.read_bytes() for path in lab.repo.rglob("*.pack")}


def manifest(lab: Lab, version: int | None) -> bytes:
    if version is None:
        return HEADER
    with Repository.open(str(lab.repo)) as repository:
        digest = repository.read_release(version).base.manifest
        with repository.open_manifest(digest) as found:
            return zstandard.ZstdDecompressor().stream_reader(found).readall()


def path_of(lab: Lab, old: int | None, new: int) -> Path:
    with Repository.open(str(lab.repo)) as repository:
        names = [
            repository.read_release(version).base.manifest if version else "empty"
            for version in (old, new)
        ]
    return lab.repo / f"packs/{names[1]}/{names[0]}.pack"


def contents(root: Path) -> dict[bytes, bytes]:
    """Return the files of a tree by their paths."""
    return {
        os.fsencode(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if stat.S_ISREG(path.lstat().st_mode)
    }


def read_back(lab: Lab, old: int | None, new: int = 2) -> Read:
    before = manifest(lab, old)
    files: Mapping[bytes, bytes] = contents(lab.source(old)) if old else {}
    data = path_of(lab, old, new).read_bytes()
    return read(data, before if old else b"", manifest(lab, new), files)


def litter(lab: Lab) -> list[str]:
    return os.listdir(lab.repo / "tmp")


def test_a_pack_makes_one_tree_of_another(lab: Lab) -> None:
    """PK-1, PK-3, PK-8: whatever changed, and what moved is in none."""
    before = snapshot(lab.repo)

    pack, whole = made(lab, 1, None)

    found = read_back(lab, 1)
    new = contents(lab.source(2))
    assert found.manifest == manifest(lab, 2)
    docs = set(map(os.fsencode, ALIKE))
    assert set(found.files) == {b"bin/program", b"lib/libx.so.1.3", os.fsencode(ODD)} | docs
    assert found.files.items() <= new.items()
    assert [path for path in found.opened if path] == [
        b"bin/program",
        b"lib/libx.so.1.2",
        os.fsencode(ODD),
    ]
    assert not found.wrong
    assert (pack.old, pack.kept, pack.made) == (1, True, True)
    assert pack.size == path_of(lab, 1, 2).stat().st_size < 3000 < pack.instead

    found = read_back(lab, None)
    assert set(found.files.values()) == set(new.values()) - {b""}
    assert found.manifest == manifest(lab, 2)
    assert whole.size == path_of(lab, None, 2).stat().st_size < whole.instead
    assert {path.stat().st_mode & 0o777 for path in lab.repo.rglob("*.pack")} == {0o644}
    assert before.items() <= snapshot(lab.repo).items()
    assert litter(lab) == []


def test_a_pack_leads_back_as_well(lab: Lab) -> None:
    """PK-1: versions have no order here."""
    (pack,) = made(lab, 2, version=1)

    assert pack.kept
    assert read_back(lab, 2, 1).manifest == manifest(lab, 1)


def test_a_pack_is_made_once(lab: Lab) -> None:
    """PK-1."""
    first = made(lab, 1, None)
    before = packs(lab)
    stamps = [path.stat().st_mtime_ns for path in sorted(lab.repo.rglob("*"))]

    again = made(lab, 1, None)

    assert packs(lab) == before
    assert [path.stat().st_mtime_ns for path in sorted(lab.repo.rglob("*"))] == stamps
    assert [(one.size, one.instead, one.kept) for one in again] == [
        (one.size, one.instead, one.kept) for one in first
    ]
    assert not any(one.made for one in again)


def test_packs_are_the_same_wherever_they_are_made(lab: Lab) -> None:
    """PK-1: with all processors, or with one."""
    made(lab, 1, None)
    before = packs(lab)
    for path in lab.repo.rglob("*.pack"):
        path.unlink()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        made(lab, 1, None)
    finally:
        os.sched_setaffinity(0, allowed)

    assert packs(lab) == before


def test_a_pack_that_does_not_win_is_dropped(lab: Lab) -> None:
    """PK-4."""
    lab.publish(3, {"one": file(RANDOM.randbytes(3000))})
    lab.publish(4, {"chmod": file(MOVED)})

    other, nothing = made(lab, 2, None, version=3)
    (same,) = made(lab, 2, version=4)

    for pack in (other, nothing, same):
        assert (pack.kept, pack.made) == (False, True)
        assert pack.size >= pack.instead
    assert packs(lab) == {}
    assert litter(lab) == []


def test_a_pack_to_itself_is_refused(lab: Lab) -> None:
    with pytest.raises(InvalidInput, match="a pack from 2 to 2 would have nothing in it"):
        made(lab, 1, 2)

    assert packs(lab) == {}


@pytest.mark.parametrize(("version", "origins"), [(9, (1,)), (2, (9,))])
def test_a_release_that_is_not_there(lab: Lab, version: int, origins: tuple[int]) -> None:
    with pytest.raises(NotFound, match="there is no release 9"):
        made(lab, *origins, version=version)


def test_the_usual_origins() -> None:
    assert usual_origins([1, 2, 5, 7, 9], 7) == [5, 2, None]
    assert usual_origins([1], 1) == [None]
    assert usual_origins([3, 4], 4) == [3, None]


def test_without_bsdiff4_it_is_said(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """PK-1: packs from nothing need none."""
    monkeypatch.setitem(sys.modules, "bsdiff4", None)

    with pytest.raises(SystemFailure, match="bsdiff4 is not installed") as caught:
        made(lab, 1, None)

    assert caught.value.hint == "pip install 'rootman[publish]'"
    assert made(lab, None)[0].kept


def test_two_do_not_work_there_at_once(lab: Lab) -> None:
    with open_writer(RealFs(), str(lab.repo), None), pytest.raises(Busy, match="is at work here"):
        made(lab, 1)


# --- damage ----------------------------------------------------------------------------


def _object(lab: Lab, content: bytes) -> Path:
    return lab.repo / f"objects/{digest_of(content)[:2]}/{digest_of(content)}.zst"


def _manifest(lab: Lab, version: int) -> Path:
    return lab.repo / f"manifests/{digest_of(manifest(lab, version))}.zst"


DAMAGES: Final[dict[str, Callable[[Path], object]]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"garbage"),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "other": lambda path: path.write_bytes(zstandard.ZstdCompressor().compress(b"#mtree\n")),
}
PLACES: Final[dict[str, Callable[[Lab], Path]]] = {
    "new manifest": lambda lab: _manifest(lab, 2),
    "old manifest": lambda lab: _manifest(lab, 1),
    "new object": lambda lab: _object(lab, PATCHED),
    "old object": lambda lab: _object(lab, PROGRAM),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_repository_is_said_in_one_line(lab: Lab, place: str, damage: str) -> None:
    """PK-1, PK-4: what is damaged is named, and no pack is made of it."""
    path = PLACES[place](lab)
    DAMAGES[damage](path)

    with pytest.raises(InvalidInput, match=path.stem) as caught:
        made(lab, 1)

    assert "\n" not in str(caught.value)
    assert packs(lab) == {}
    assert litter(lab) == []


# --- faults ----------------------------------------------------------------------------


def test_nothing_is_named_before_it_is_durable(lab: Lab) -> None:
    """PK-1, S3."""
    fs = Recorder()

    made(lab, 1, None, fs=fs)

    calls = [method for method, *_ in fs.calls if method != "write"]
    one = ["create", "mkdir", "syncfs", "rename"]
    assert calls == [*one, "create", "syncfs", "rename", "syncfs"]
    names = [args[1] for method, args, _ in fs.calls if method == "rename"]
    assert names == [path_of(lab, old, 2).name for old in (1, None)]


def make_killed(lab: Lab, at: int) -> bool:
    """Make packs in a process that is killed at its Fs call ``at``; return whether it was."""
    pid = os.fork()
    if pid == 0:
        try:
            made(lab, 1, None, fs=Recorder(kill(at)))
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1] != 0


def once(at: int, code: int) -> Callable[[int, str], None]:
    """Return a fault of one call, and not of the next, which may be to clean up."""
    first = fail(at, code, for_good=False)
    hit: list[int] = []

    def fault(number: int, method: str) -> None:
        if not hit:
            hit.extend([number] * (number == at))
            first(number, method)

    return fault


def make_failing(lab: Lab, fault: Callable[[int, str], None]) -> bool:
    try:
        made(lab, 1, None, fs=Recorder(fault))
    except (NoSpace, SystemFailure) as error:
        return str(error).startswith(str(lab.repo))
    return False


@pytest.mark.parametrize("kind", ["kill", "ENOSPC", "EIO", "EIO-for-good"])
def test_no_fault_leaves_half_a_pack(tmp_on_ext4: Path, kind: str) -> None:
    """PK-1, RL-8: each call of the Fs fails in turn; the next time goes on."""
    lab = Lab(tmp_on_ext4)
    lab.publish(1, SMALL_ONE)
    lab.publish(2, SMALL_TWO)
    made(lab, 1, None)
    before, whole = snapshot(lab.repo), packs(lab)
    at, seen = 0, set[int]()
    broken = True
    while broken:
        for path in lab.repo.rglob("*.pack"):
            path.unlink()
        for path in (lab.repo / "packs").iterdir():
            path.rmdir()
        if kind == "kill":
            broken = make_killed(lab, at)
        else:
            code = getattr(errno, kind.partition("-")[0])
            fault = fail(at, code, for_good=True) if "good" in kind else once(at, code)
            broken = make_failing(lab, fault)
            assert litter(lab) == [] or "good" in kind
        found = packs(lab)
        assert found.items() <= whole.items()
        seen.add(len(found))
        made(lab, 1, None)
        assert snapshot(lab.repo) == before
        assert litter(lab) == []
        at += 1
    assert at > 10
    assert seen == {0, 1, 2}


def test_a_full_disk_leaves_what_was(make_fs: MakeFs) -> None:
    """PK-1: also where it is full before there is a pack, of what is put aside for it."""
    lab = Lab(make_fs("ext4", size_mib=16).path)
    lab.publish(1, ONE)
    lab.publish(2, TWO)
    ballast = lab.home / "ballast"
    with ballast.open("wb", buffering=0) as out, suppress(OSError):
        while out.write(bytes(1 << 16)):
            pass
    os.truncate(ballast, ballast.stat().st_size - 100_000)
    before = snapshot(lab.repo)

    with pytest.raises(NoSpace, match="No space left on device") as caught:
        made(lab, None)

    assert caught.value.hint == "make room and try again"
    assert snapshot(lab.repo) == before
    assert litter(lab) == []
    ballast.unlink()
    assert made(lab, None)[0].kept


def test_a_pack_that_is_not_wanted_any_more_leaves_nothing(lab: Lab) -> None:
    for pack in make_packs(str(lab.repo), 2, [1, None], fs=RealFs()):
        assert pack.kept
        break

    assert len(packs(lab)) == 1
    assert litter(lab) == []
    assert [one.made for one in made(lab, 1, None)] == [False, True]


# --- sources ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (b"file", b"here"),
        (b"sub/file", b"below"),
        (b"to-file", b""),
        (b"to-sub/file", b""),
        (b"to-outside/secret", b""),
        (b"to-secret", b""),
        (b"sub", b""),
        (b".", b""),
        (b"", b""),
        (b"pipe", b""),
        (b"socket", b""),
        (b"device", b""),
        (b"file/file", b""),
        (b"nothing", b""),
        (b"no/thing", b""),
        (b"x" * 300, b""),
        (b"sub/" * 2000 + b"file", b""),
        (b"../secret", b""),
        (b"sub/../../secret", b""),
    ],
)
def test_a_source_is_a_file_of_the_tree(
    tmp_on_ext4: Path, monkeypatch: pytest.MonkeyPatch, path: bytes, content: bytes
) -> None:
    """PK-10, PK-11: nothing else is so much as opened; it has nothing."""
    tree: Tree = {
        "file": file("here"),
        "sub/file": file("below"),
        "to-file": symlink("file"),
        "to-sub": symlink("sub"),
        "to-outside": symlink(".."),
        "to-secret": symlink("../secret"),
        "pipe": fifo(),
        "socket": unix_socket(),
        "device": char(1, 5),
    }
    build(tmp_on_ext4 / "tree", tree)
    (tmp_on_ext4 / "secret").write_text("secret")
    opened: list[bytes] = []
    original = delivery.open_quietly  # type: ignore[attr-defined]

    def quietly(name: bytes, *, dir_fd: int) -> int:
        opened.append(name)
        return int(original(name, dir_fd=dir_fd))

    monkeypatch.setattr(delivery, "open_quietly", quietly)
    root = os.open(tmp_on_ext4 / "tree", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with SourceTree(root) as tree_of_root:
            with tree_of_root.open(path, expanded=False) as source:
                assert source.read(9) == content
                source.seek(2**62)
                assert not source.read(3)
            with tree_of_root.open(path, expanded=True) as source:
                assert not source.read(9)
    finally:
        os.close(root)
    assert bool(opened) == bool(content)


# --- a real pair -----------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.debian
def test_a_pack_of_a_real_pair_is_small(tmp_on_ext4: Path) -> None:
    """PK-3, PK-4: it makes every file, in less than half of what the objects are."""
    trees = debian_trees()
    lab = Lab(tmp_on_ext4)
    for version, tree in enumerate((trees.first, trees.second), 1):
        lab.source(version).symlink_to(tree)
        lab.publish(version)

    (pack,) = made(lab, 1)

    assert pack.kept
    assert pack.size < pack.instead / 2
    found = read_back(lab, 1)
    assert found.manifest == manifest(lab, 2)
    assert not found.wrong
    lines = set(known_lines([manifest(lab, 2)])) - set(known_lines([manifest(lab, 1)]))
    assert 100 < len(found.files) <= len(lines)
    assert found.files.items() <= contents(trees.second).items()
