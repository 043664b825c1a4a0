"""Publishing: what comes out, what is refused, and that no fault changes what readers see."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import os
import signal
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from rootman.bundles import parse_list
from rootman.comparison import lines
from rootman.errors import (
    Busy,
    InvalidInput,
    NoSpace,
    NotFound,
    Refused,
    RootmanError,
    SystemFailure,
)
from rootman.fsops import RealFs
from rootman.manifest import parse_line
from rootman.repo import layout, objects
from rootman.repo.index import parse_index
from rootman.repo.publish import Publication, PublishResult, publish
from rootman.repo.repository import Repository
from rootman.textstream import decompress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rootman.bundles import BundleList
    from rootman.fsops import Fs
    from tests.conftest import MakeFs

TIME = "2026-11-20T17:00:00Z"
V1 = Publication(1, timestamp=TIME)
LARGE = 17 << 20  # compressed in three pieces


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(10**18, 10**18))
    return path


@pytest.fixture
def tree(tmp_on_ext4: Path) -> Path:
    path = tmp_on_ext4 / "tree"
    write(path / "bin/one", b"one")
    write(path / "bin/two", b"two" * 1000)
    write(path / "etc/same", b"one")
    write(path / "etc/empty", b"")
    write(path / "lib/new\nline \xff".encode("latin-1").decode("utf-8", "surrogateescape"), b"odd")
    os.link(path / "bin/two", path / "bin/zwei")
    (path / "link").symlink_to("bin/one")
    os.mkfifo(path / "fifo")
    os.utime(path, ns=(10**18, 10**18))
    return path


@pytest.fixture
def repo(tmp_on_ext4: Path) -> Path:
    return tmp_on_ext4 / "repo"


def run(tree: Path, repo: Path, wanted: Publication = V1, fs: Fs | None = None) -> PublishResult:
    return publish(str(tree), str(repo), wanted, fs=fs or RealFs())


def snapshot(repo: Path) -> dict[str, bytes]:
    """Return what readers see and nothing changes: all but ``tmp/``, the lock and the index."""
    mutable = (repo / "lock", repo / "releases/index.json")
    return {
        str(path.relative_to(repo)): path.read_bytes()
        for path in repo.rglob("*")
        if path.is_file() and path.parent != repo / "tmp" and path not in mutable
    }


def indexed(repo: Path) -> list[int]:
    """Return the versions that the index lists."""
    path = repo / "releases/index.json"
    return parse_index(path.read_bytes(), str(path)) if path.exists() else []


def check(repo: Path, versions: list[int]) -> dict[int, dict[bytes, bytes]]:
    """Check that the repository is whole; return the content of each release's files."""
    found: dict[int, dict[bytes, bytes]] = {}
    with Repository.open(str(repo)) as repository:
        assert repository.versions() == versions
        for version in versions:
            bundle = repository.read_release(version).base
            with repository.open_manifest(bundle.manifest) as file:
                manifest = b"".join(decompress(file, "manifest"))
            assert hashlib.sha256(manifest).hexdigest() == bundle.manifest
            assert len(manifest) == bundle.manifest_size
            entries = [parse_line(line) for line in lines([manifest])]
            assert len(entries) == bundle.entries
            files = found[version] = {}
            for entry in entries:
                if entry.type == "file":
                    files[entry.path] = content(repository, entry.sha256) if entry.size else b""
                    assert hashlib.sha256(files[entry.path]).hexdigest() == entry.sha256
    return found


def content(repository: Repository, digest: str) -> bytes:
    with repository.source.open(layout.object_path(digest)) as file:
        return b"".join(decompress(file, "object"))


def test_a_tree_is_published_whole(tree: Path, repo: Path) -> None:
    """RL-5: every file's content is there, and an empty one has no object."""
    write(tree / "large", os.urandom(LARGE))

    result = run(tree, repo)

    files = check(repo, [1])[1]
    assert files == {
        os.fsencode(path.relative_to(tree)): path.read_bytes()
        for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    base = result.release.base
    assert base.entries == 13
    assert base.size == 3 + 3000 + 3 + 3 + LARGE
    assert (result.objects_new, result.bytes_new) == (4, 3 + 3000 + 3 + LARGE)
    assert result.bytes_stored == sum(
        path.stat().st_size for path in (repo / "objects").rglob("*.zst")
    )
    assert not result.already_published
    assert list((repo / "tmp").iterdir()) == []


def test_a_web_server_can_read_it(tree: Path, repo: Path) -> None:
    run(tree, repo)

    assert {path.stat().st_mode & 0o777 for path in repo.rglob("*.*") if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in repo.rglob("*") if path.is_dir()} == {0o755}


def test_the_zstd_program_reads_it(tree: Path, repo: Path) -> None:
    write(tree / "large", os.urandom(LARGE))
    run(tree, repo)

    for path in (repo / "objects").rglob("*.zst"):
        data = subprocess.run(("zstd", "-dc", path), check=True, capture_output=True).stdout
        assert hashlib.sha256(data).hexdigest() == path.stem


def test_state_takes_a_directory(tree: Path, repo: Path) -> None:
    """RL-9: nothing can be mounted where there is none, and a symlink might lead anywhere."""
    (tree / "srv").symlink_to("var")
    for path in ("/srv", "/none"):
        with pytest.raises(InvalidInput, match=f"the state path {path} is no directory"):
            run(tree, repo, Publication(1, state=(path,)))


def test_the_release_says_what_was_asked(tree: Path, repo: Path) -> None:
    for name in ("home", "var"):
        (tree / name).mkdir(exist_ok=True)
    wanted = Publication(
        7,
        name="demo",
        compatible=("b", "a"),
        config=("/etc",),
        state=("/var", "/home", "/var"),
        timestamp=TIME,
    )

    release = run(tree, repo, wanted).release

    with Repository.open(str(repo)) as repository:
        assert repository.read_release(7) == release
    assert (release.name, release.version, release.timestamp) == ("demo", 7, TIME)
    assert (release.compatible, release.state) == (("a", "b"), ("/home", "/var"))


def test_only_new_content_is_stored(tree: Path, repo: Path) -> None:
    run(tree, repo)
    before = snapshot(repo)
    write(tree / "etc/new", b"new")

    result = run(tree, repo, Publication(2))

    assert (result.objects_new, result.bytes_new) == (1, 3)
    assert before.items() <= snapshot(repo).items()
    assert check(repo, [1, 2])[2][b"etc/new"] == b"new"


def test_many_files_go_in_batches(tree: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_BATCH_FILES", 7)
    for number in range(200):
        write(tree / f"many/{number}", b"%d" % (number % 150))

    result = run(tree, repo)

    assert result.objects_new == 150 + 3
    assert len(check(repo, [1])[1]) == 200 + 6


def test_the_same_again_is_done_already(tree: Path, repo: Path) -> None:
    """RL-6."""
    run(tree, repo, Publication(1, compatible=("a", "b"), timestamp=TIME))
    before = snapshot(repo)
    stamps = {path: path.stat().st_mtime_ns for path in repo.rglob("*")}

    result = run(
        tree, repo, Publication(1, compatible=("b", "a"), timestamp="2030-01-01T00:00:00Z")
    )

    assert result.already_published
    assert result.release.timestamp == TIME
    assert snapshot(repo) == before
    assert {path: path.stat().st_mtime_ns for path in repo.rglob("*")} == stamps


@pytest.mark.parametrize(
    ("change", "wanted", "what"),
    [
        (True, V1, "manifest"),
        (False, replace(V1, compatible=("x",)), "compatible"),
        (False, replace(V1, config=("/etc",)), "config"),
        (True, replace(V1, state=("/new",)), "manifest, state"),
        (False, replace(V1, clamp_time_ns=5), "manifest"),
    ],
)
def test_a_published_version_is_immutable(
    tree: Path,
    repo: Path,
    change: bool,  # noqa: FBT001
    wanted: Publication,
    what: str,
) -> None:
    """RL-6."""
    run(tree, repo)
    run(tree, repo, Publication(8))
    before = snapshot(repo)
    if change:
        (tree / "new").mkdir()

    with pytest.raises(Refused) as caught:
        run(tree, repo, wanted)

    assert str(caught.value) == f"version 1 is already published with other content ({what})"
    assert caught.value.hint == "use --version 9"
    assert snapshot(repo) == before
    assert list((repo / "tmp").iterdir()) == []


def test_clamped_times_make_a_rebuilt_tree_the_same(tree: Path, repo: Path) -> None:
    clamped = Publication(1, clamp_time_ns=10**18)
    run(tree, repo, clamped)
    for path in tree.rglob("*"):
        os.utime(path, follow_symlinks=False)

    assert run(tree, repo, clamped).already_published


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Publication(0), "version"),
        (Publication(2**31), "version"),
        (Publication(1, name="A"), "name"),
        (Publication(1, config=("etc",)), "config"),
        (Publication(1, state=("/var/../etc",)), "state"),
        (Publication(1, config=("/etc",), state=("/etc",)), "config and state"),
        (Publication(1, config=("/var/x",), state=("/var",)), "in the state path /var"),
        (Publication(1, state=("/run/x",)), "state"),
        (Publication(1, state=("/a:b",)), "state"),
        (Publication(1, timestamp="now"), "timestamp"),
        (Publication(1, compatible=("",)), "compatible"),
    ],
)
def test_wrong_wishes_are_refused_before_anything_is_made(
    tree: Path, repo: Path, wanted: Publication, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        run(tree, repo, wanted)

    assert not repo.exists()


def test_a_tree_that_is_not_there(tree: Path, repo: Path) -> None:
    with pytest.raises(NotFound, match="no such directory"):
        run(tree / "nothing", repo)
    with pytest.raises(InvalidInput, match="not a directory"):
        run(tree / "bin/one", repo)

    assert not repo.exists()


@pytest.mark.parametrize("place", ["", "repo", "usr/share/repo", "../tree", "to-tree/repo"])
def test_a_repository_inside_the_tree_is_refused(tree: Path, place: str) -> None:
    (tree / "to-tree").symlink_to(".")
    before = sorted(tree.rglob("*"))

    with pytest.raises(Refused, match="is inside"):
        run(tree, tree / place)

    assert sorted(tree.rglob("*")) == before


def test_another_folder_is_refused_and_left_alone(tree: Path, repo: Path) -> None:
    write(repo / "tmp/thesis.txt", b"three years")

    with pytest.raises(Refused, match="not empty and not a repository"):
        run(tree, repo)

    assert [path.name for path in repo.rglob("*")] == ["tmp", "thesis.txt"]


def test_a_file_is_no_repository(tree: Path, repo: Path) -> None:
    write(repo, b"")

    with pytest.raises(Refused, match="not a directory"):
        run(tree, repo)


def test_a_missing_parent_is_named(tree: Path, repo: Path) -> None:
    with pytest.raises(NotFound, match="no such directory"):
        run(tree, repo / "deep/er")


def test_another_os_is_refused(tree: Path, repo: Path) -> None:
    run(tree, repo, Publication(1, name="demo"))

    with pytest.raises(Refused, match="is a repository of demo, not of olpc"):
        run(tree, repo, Publication(2, name="olpc"))
    run(tree, repo, Publication(2))

    check(repo, [1, 2])


def test_two_publishers_do_not_mix(tree: Path, repo: Path) -> None:
    run(tree, repo)
    with (repo / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Busy, match=rf"repo: .+ \(process {os.getpid()}\) is at work here"):
            run(tree, repo, Publication(2))

    run(tree, repo, Publication(2))
    check(repo, [1, 2])


@pytest.mark.parametrize(
    ("name", "start", "size"),
    [
        ("large", b"", LARGE - 1),
        ("large", b"", LARGE + 1),
        ("large", b"1", LARGE),
        ("bin/one", b"1", 1),
        ("bin/one", b"one more", 8),
        ("bin/one", b"", 0),
    ],
)
def test_a_file_that_changes_after_the_scan_is_noticed(
    tree: Path, repo: Path, name: str, start: bytes, size: int
) -> None:
    """RL-9."""
    write(tree / "large", bytes(LARGE))

    def change(what: str, _done: int) -> None:
        if what == "scan":
            write(tree / name, start.ljust(size, b"\0"))

    with pytest.raises(Busy, match=f"^{name}: changed"):
        publish(str(tree), str(repo), V1, fs=RealFs(), on_progress=change)

    assert list((repo / "tmp").iterdir()) == []
    check(repo, [])
    run(tree, repo)
    check(repo, [1])


def test_a_full_disk_leaves_what_was(tree: Path, make_fs: MakeFs) -> None:
    repo = make_fs("ext4", size_mib=16).path / "repo"
    run(tree, repo)
    before = snapshot(repo)
    write(tree / "random", os.urandom(20 << 20))

    with pytest.raises(NoSpace, match="No space left on device") as caught:
        run(tree, repo, Publication(2))

    assert caught.value.hint is not None
    assert before.items() <= snapshot(repo).items()
    assert list((repo / "tmp").iterdir()) == []
    (tree / "random").unlink()
    run(tree, repo, Publication(2))
    check(repo, [1, 2])


def test_a_read_only_disk_is_said(tree: Path, make_fs: MakeFs) -> None:
    path = make_fs("ext4", size_mib=16, options="ro").path

    with pytest.raises(SystemFailure, match="Read-only file system"):
        run(tree, path / "repo")


class Recorder:
    """An ``Fs`` that does what it is told, notes it, and fails where ``fault`` says so."""

    def __init__(self, fault: Callable[[int, str], None] = lambda *_: None) -> None:
        self._real = RealFs()
        self._fault = fault
        self.calls: list[tuple[str, tuple[object, ...], dict[str, str]]] = []

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return functools.partial(self._call, method)

    def _call(self, method: str, *args: object, **kwargs: object) -> object:
        self._fault(len(self.calls), method)
        self.calls.append((method, args, {key: where(fd) for key, fd in kwargs.items()}))
        if method in ("fsync", "syncfs", "freeze_thaw"):
            self.calls[-1] = (method, (where(args[0]),), {})
        return getattr(self._real, method)(*args, **kwargs)


def where(fd: object) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return str(fd)


@pytest.mark.parametrize("lists", [{}, {"odd": parse_list(b"/lib", "list")}])
def test_nothing_is_named_before_it_is_durable(
    tree: Path, repo: Path, monkeypatch: pytest.MonkeyPatch, lists: dict[str, BundleList]
) -> None:
    """RL-7, S3: durable content before its name, durable names before what needs them."""
    monkeypatch.setattr(objects, "_BATCH_FILES", 2)
    fs = Recorder()

    run(tree, repo, replace(V1, lists=lists), fs=fs)

    dirty: set[str] = set()  # written and not synced
    renamed: dict[str, int] = {}  # directories in which a new name is not durable
    seen: list[str] = []
    for method, args, kwargs in fs.calls:
        if method == "create":
            dirty.add(str(args[0]))
        elif method == "syncfs":
            dirty.clear()
            renamed.clear()
        elif method == "fsync":
            renamed.pop(str(args[0]), None)
        elif method == "rename":
            assert args[0] not in dirty, f"{args[0]} gets its name before it is durable"
            target = kwargs["target_fd"]
            if target.endswith(("/manifests", "/releases")):
                assert not renamed.keys() - {target}, "what it needs is not durable"
            renamed[target] = 1
            seen.append(
                target.removeprefix(str(repo)).split("/")[1:2][0] if target != str(repo) else ""
            )
    assert not renamed
    assert fs.calls[-1][0] == "freeze_thaw"
    assert [name for i, name in enumerate(seen) if [name] != seen[i - 1 : i]] == [
        "",
        "objects",
        "manifests",
        "releases",
    ]


def kill(at: int) -> Callable[[int, str], None]:
    def fault(number: int, _method: str) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return fault


def fail(at: int, code: int, *, for_good: bool) -> Callable[[int, str], None]:
    def fault(number: int, _method: str) -> None:
        if number == at or (for_good and number > at):
            raise OSError(code, os.strerror(code))

    return fault


def publish_killed(tree: Path, repo: Path, wanted: Publication, at: int) -> bool:
    """Publish in a process that is killed at its Fs call ``at``; return whether it was."""
    pid = os.fork()
    if pid == 0:
        try:
            run(tree, repo, wanted, Recorder(kill(at)))
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1] != 0


def publish_failing(
    tree: Path, repo: Path, wanted: Publication, fault: Callable[[int, str], None]
) -> RootmanError | None:
    """Publish with ``fault``; return the error, None where it came too late to be one."""
    fs = Recorder(fault)
    try:
        run(tree, repo, wanted, fs)
    except (NoSpace, SystemFailure) as error:
        return error
    return None


@pytest.mark.parametrize(
    ("kind", "first"),
    [("kill", True), ("kill", False), ("ENOSPC", False), ("EIO", True), ("EIO-for-good", False)],
)
def test_no_fault_changes_what_readers_see(
    tree: Path,
    tmp_on_ext4: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    first: bool,  # noqa: FBT001
) -> None:
    """RL-8, RL-13: each call of the Fs fails in turn.

    Readers find what was, and publishing goes on.
    """
    monkeypatch.setattr(objects, "_BATCH_FILES", 2)
    monkeypatch.setattr(objects, "_SMALL", 4096)
    monkeypatch.setattr(objects, "_PIECE", 4096)
    write(tree / "large", os.urandom(10_000))
    wanted = Publication(2, timestamp=TIME)
    published: list[int] = [] if first else [1]
    at = 0
    while True:
        repo = tmp_on_ext4 / f"repo{at}"
        if not first:
            run(tree / "bin", repo)
        before = snapshot(repo) if repo.exists() else {}
        if kind == "kill":
            broken = publish_killed(tree, repo, wanted, at)
        else:
            fault = fail(at, getattr(errno, kind.partition("-")[0]), for_good="good" in kind)
            error = publish_failing(tree, repo, wanted, fault)
            broken = error is not None
            assert error is None or str(error).startswith(str(tmp_on_ext4))
        if not broken:
            break
        seen = snapshot(repo) if repo.exists() else {}
        done = "releases/2.json" in seen
        assert before.items() <= seen.items()
        assert indexed(repo) in (published, [*published, 2])
        assert done or indexed(repo) == published
        if "repository.json" in seen:
            check(repo, [*published, 2] if done else published)
        assert run(tree, repo, wanted).already_published is done
        assert check(repo, [*published, 2])[2][b"large"] == (tree / "large").read_bytes()
        assert indexed(repo) == [*published, 2]
        assert list((repo / "tmp").iterdir()) == []
        at += 1
    assert at > 15


def test_an_interrupted_publish_goes_on_where_it_was(
    tree: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RL-8."""
    monkeypatch.setattr(objects, "_BATCH_FILES", 10)
    for number in range(100):
        write(tree / f"many/{number}", b"content %d" % number)

    def third_sync(_number: int, method: str) -> None:
        syncs.append(method == "syncfs")
        if sum(syncs) == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    syncs: list[bool] = []
    pid = os.fork()
    if pid == 0:
        run(tree, repo, fs=Recorder(third_sync))
        os._exit(0)
    os.waitpid(pid, 0)

    assert list((repo / "tmp").iterdir())
    assert run(tree, repo).objects_new == 100 + 3 - 30
    check(repo, [1])
