"""Manifests of real trees: every kind of entry, every kind of trouble."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from rootman import scanner
from rootman.comparison import lines
from rootman.errors import Busy, InvalidInput, SystemFailure
from rootman.manifest import Entry, group_inode, parse_line, path_field
from rootman.scanner import scan_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeFs

TIME = 1_700_000_000_123_456_789


def manifest(tree: Path | str, *, clamp: int | None = None, workers: int | None = None) -> bytes:
    fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return b"".join(scan_tree(fd, clamp_time_ns=clamp, workers=workers))
    finally:
        os.close(fd)


def scan(tree: Path | str) -> dict[bytes, Entry]:
    """Return the entries of a tree by path, checked to be a manifest in order."""
    entries = [parse_line(line) for line in lines([manifest(tree)])]
    return {entry.path: entry for entry in entries}


def write(path: Path, content: bytes = b"content", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    os.utime(path, ns=(TIME, TIME))
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def tree(tmp_on_ext4: Path) -> Path:
    path = tmp_on_ext4 / "tree"
    path.mkdir(mode=0o755)
    return path


def test_an_empty_tree_is_its_root(tree: Path) -> None:
    os.utime(tree, ns=(TIME, TIME))

    assert manifest(tree) == (
        b"#mtree\n. type=dir mode=0755 uid=0 gid=0 time=1700000000.123456789\n"
    )


def test_a_file_is_described_in_full(tree: Path) -> None:
    write(tree / "usr/bin/su", b"x" * 3, mode=0o4755)
    os.chown(tree / "usr/bin/su", 10, 20)
    (tree / "usr/bin/su").chmod(0o6711)

    assert scan(tree)[b"usr/bin/su"] == Entry(
        path=b"usr/bin/su",
        type="file",
        mode=0o6711,
        uid=10,
        gid=20,
        time_ns=TIME,
        size=3,
        sha256=sha256(b"xxx"),
    )


def make_every_type(tree: Path) -> None:
    write(tree / "file")
    (tree / "dir").mkdir(mode=0o700)
    (tree / "dir").chmod(0o1777)
    (tree / "link").symlink_to("not there/\xe9 *")
    os.mkfifo(tree / "fifo", 0o600)
    os.mknod(tree / "null", 0o020666, os.makedev(1, 3))
    os.mknod(tree / "disk", 0o060660, os.makedev(259, 1048575))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))


def test_every_type_is_described(tree: Path) -> None:
    make_every_type(tree)

    found = scan(tree)

    assert {path: entry.type for path, entry in found.items()} == {
        b".": "dir",
        b"dir": "dir",
        b"disk": "block",
        b"fifo": "fifo",
        b"file": "file",
        b"link": "link",
        b"null": "char",
        b"socket": "socket",
    }
    assert found[b"dir"].mode == 0o1777
    assert (found[b"link"].mode, found[b"link"].link) == (0o777, "not there/\xe9 *".encode())
    assert found[b"null"].device == (1, 3)
    assert found[b"disk"].device == (259, 1048575)


NAMES = [
    b"new\nline",
    b"tab\tand space",
    b"not utf-8 \xff\xfe",
    "größe".encode(),
    b"back\\slash",
    b"#comment",
    b"a=b",
    b"glob*?[x]",
    b"\x01\x7f\x80",
    b"-rf",
    b"...",
    b"~",
    b"n" * 255,
]


def make_names(tree: Path) -> None:
    for name in NAMES:
        path = os.fsencode(tree) + b"/" + name
        os.mkdir(path)
        with open(path + b"/" + name, "wb"):
            pass


def test_every_name_comes_through(tree: Path) -> None:
    make_names(tree)

    assert set(scan(tree)) == {b".", *NAMES, *(name + b"/" + name for name in NAMES)}


def test_lines_are_in_the_order_of_sort(tree: Path) -> None:
    for name in ("a/x/y", "a-b", "a.b/c", "a+/z", "a b", "a0", "A", "a/x-/y", "a/x.y"):
        write(tree / name)

    data = manifest(tree)
    ordered = subprocess.run(
        ("sort",), input=data[7:], capture_output=True, check=True, env={"LC_ALL": "C"}
    ).stdout

    assert data == b"#mtree\n" + ordered


def test_names_of_one_inode_are_a_group(tree: Path) -> None:
    """MF-9, MF-10."""
    write(tree / "z/first-made")
    os.link(tree / "z/first-made", tree / "b")
    os.link(tree / "z/first-made", tree / "a-b")
    write(tree / "a/alone")
    os.mkfifo(tree / "p1")
    os.link(tree / "p1", tree / "p2")
    (tree / "l1").symlink_to("x")
    os.link(tree / "l1", tree / "l2", follow_symlinks=False)

    found = scan(tree)

    inode = group_inode(b"a-b")
    assert {(e.nlink, e.inode) for e in map(found.get, (b"a-b", b"b", b"z/first-made")) if e} == {
        (3, inode)
    }
    assert (found[b"a/alone"].nlink, found[b"a/alone"].inode) == (1, 0)
    assert found[b"p1"].inode == found[b"p2"].inode == group_inode(b"p1")
    assert found[b"l1"].inode == found[b"l2"].inode == group_inode(b"l1")


def test_names_outside_the_tree_do_not_count(tree: Path) -> None:
    write(tree / "inside")
    os.link(tree / "inside", tree.parent / "outside")
    write(tree / "two")
    os.link(tree / "two", tree / "names")
    os.link(tree / "two", tree.parent / "three")

    found = scan(tree)

    assert found[b"inside"].nlink == 1
    assert found[b"two"].nlink == found[b"names"].nlink == 2


def make_xattrs(tree: Path) -> None:
    path = write(tree / "ping")
    subprocess.run(("setcap", "cap_net_raw+ep", path), check=True)
    os.setxattr(path, "user.b", b"\0\xff")
    os.setxattr(path, "user.a", b"")
    os.setxattr(path, b"user.\xff =*", b"odd")
    subprocess.run(("setfacl", "-m", "u:1000:r", path), check=True)
    (tree / "dir").mkdir()
    subprocess.run(("setfacl", "-d", "-m", "g:50:rwx", tree / "dir"), check=True)
    (tree / "link").symlink_to("ping")
    os.setxattr(tree / "link", "trusted.of-the-link", b"1", follow_symlinks=False)
    os.mkfifo(tree / "fifo")
    os.setxattr(tree / "fifo", "trusted.t", b"2")


def test_xattrs_acls_and_capabilities(tree: Path) -> None:
    make_xattrs(tree)

    found = scan(tree)

    attributes = dict(found[b"ping"].xattrs)
    assert set(attributes) == {
        b"security.capability",
        b"system.posix_acl_access",
        b"user.a",
        b"user.b",
        b"user.\xff =*",
    }
    assert attributes[b"user.b"] == b"\0\xff"
    assert attributes[b"user.a"] == b""
    assert attributes[b"security.capability"] == os.getxattr(tree / "ping", "security.capability")
    assert [name for name, _ in found[b"dir"].xattrs] == [b"system.posix_acl_default"]
    assert found[b"link"].xattrs == ((b"trusted.of-the-link", b"1"),)
    assert found[b"fifo"].xattrs == ((b"trusted.t", b"2"),)


@pytest.mark.parametrize("size", [0, 1, scanner.CHUNK - 1, scanner.CHUNK, scanner.CHUNK + 1, 10**6])
def test_content_of_every_size(tree: Path, size: int) -> None:
    content = os.urandom(size)
    write(tree / "file", content)

    found = scan(tree)[b"file"]

    assert (found.size, found.sha256) == (size, sha256(content))


def test_a_sparse_file_is_its_content(tree: Path) -> None:
    """MF-14."""
    write(tree / "sparse", b"")
    os.truncate(tree / "sparse", 5_000_000)

    found = scan(tree)[b"sparse"]

    assert (found.size, found.sha256) == (5_000_000, sha256(bytes(5_000_000)))


@pytest.mark.parametrize("time_ns", [0, 1, -1, -1_500_000_000, 2**31 * 10**9 + 7])
def test_times_to_the_nanosecond(tree: Path, time_ns: int) -> None:
    """MF-8."""
    write(tree / "file")
    os.utime(tree / "file", ns=(0, time_ns))

    assert scan(tree)[b"file"].time_ns == time_ns


def test_later_times_are_clamped(tree: Path) -> None:
    write(tree / "late")
    write(tree / "early")
    os.utime(tree / "early", ns=(5, 5))

    found = [parse_line(line) for line in lines([manifest(tree, clamp=1000)])]

    assert [(entry.path, entry.time_ns) for entry in found] == [
        (b".", 1000),
        (b"early", 5),
        (b"late", 1000),
    ]


def many(tree: Path, count: int = 3000) -> None:
    for number in range(count):
        write(tree / f"d{number % 30}/f{number}", b"%d" % number)
    os.link(tree / "d0/f0", tree / "d9/zz")


def test_the_number_of_workers_changes_nothing(tree: Path) -> None:
    many(tree)

    assert manifest(tree) == manifest(tree, workers=1) == manifest(tree, workers=3)


def test_progress_ends_at_the_number_of_entries(tree: Path) -> None:
    many(tree)
    seen: list[int] = []
    fd = os.open(tree, os.O_RDONLY)

    count = sum(1 for _ in scan_tree(fd, on_progress=seen.append)) - 1
    os.close(fd)

    assert seen == sorted(seen)
    assert seen[-1] == count == 3000 + 1 + 30 + 1


def test_reading_leaves_no_trace(tree: Path) -> None:
    write(tree / "file")
    os.utime(tree / "file", ns=(5, 7))
    before = (tree / "file").stat()

    manifest(tree)

    assert (tree / "file").stat() == before


def test_symlinks_are_not_followed(tree: Path) -> None:
    (tree.parent / "outside").mkdir()
    write(tree.parent / "outside/secret")
    (tree / "link").symlink_to("../outside")
    (tree / "loop").symlink_to(".")

    assert set(scan(tree)) == {b".", b"link", b"loop"}


def test_a_path_of_the_longest_kind(tree: Path) -> None:
    fd = os.open(tree, os.O_RDONLY)
    path = b""
    while len(path) + 201 < 4000:
        os.mkdir(b"d" * 200, dir_fd=fd)
        inner = os.open(b"d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
        path += b"/" + b"d" * 200
    os.close(fd)

    assert path[1:] in scan(tree)


def bsdtar(*arguments: str | Path, cwd: Path, data: bytes = b"") -> tuple[bytes, bytes]:
    done = subprocess.run(
        ("bsdtar", *arguments), capture_output=True, cwd=cwd, input=data, check=False
    )
    return done.stdout, done.stderr


def test_bsdtar_reads_every_entry(tree: Path) -> None:
    """The manifest is mtree(5) for other programs too."""
    make_every_type(tree)
    make_names(tree)
    make_xattrs(tree / "dir")
    os.link(tree / "file", tree / "zz-second-name")
    mtree = tree.parent / "manifest"
    mtree.write_bytes(manifest(tree))

    listed, complaints = bsdtar("-tvf", mtree, cwd=tree)

    lines_ = listed.splitlines()
    assert len(lines_) == len(scan(tree))
    kinds = {line[:1]: line for line in lines_}
    assert set(kinds) == {b"d", b"-", b"l", b"p", b"c", b"b"}
    assert b"1,3" in kinds[b"c"].replace(b" ", b"")
    assert b"259,1048575" in kinds[b"b"].replace(b" ", b"")
    # What libarchive 3.6 does not know: it says so, goes on, and shows a socket as a file.
    unknown = (b"Unrecognized key xattr.", b'Unrecognized file type "socket"')
    assert [line for line in complaints.splitlines() if not any(u in line for u in unknown)] == [
        b"bsdtar: Error exit delayed from previous errors."
    ]


def test_bsdtar_complains_of_nothing_in_an_ordinary_tree(tree: Path) -> None:
    make_names(tree)
    (tree / "link").symlink_to("a b\n")
    os.mkfifo(tree / "fifo")
    mtree = tree.parent / "manifest"
    mtree.write_bytes(manifest(tree))

    listed, complaints = bsdtar("-tf", mtree, cwd=tree)

    assert complaints == b""
    assert len(listed.splitlines()) == len(scan(tree))


def test_bsdtar_packs_by_the_manifest_what_the_tree_has(tree: Path, tmp_on_ext4: Path) -> None:
    """Names, content, modes, owners and times survive the way through another mtree reader."""
    make_names(tree)
    write(tree / "file", b"data", mode=0o4751)
    os.chown(tree / "file", 5, 6)
    (tree / "file").chmod(0o4751)
    (tree / "link").symlink_to("a b\n")
    mtree = tree.parent / "manifest"
    mtree.write_bytes(manifest(tree))
    unpacked = tmp_on_ext4 / "unpacked"
    unpacked.mkdir()

    archive, _ = bsdtar("-c", "--format", "pax", "-f", "-", f"@{mtree}", cwd=tree)
    bsdtar("-x", "-p", "-f", "-", cwd=unpacked, data=archive)
    os.utime(unpacked, ns=(0, tree.stat().st_mtime_ns))  # bsdtar leaves that of . alone

    assert manifest(unpacked) == manifest(tree)


def test_a_mount_in_the_tree_is_named(tree: Path, make_fs: MakeFs) -> None:
    """RL-9, MF-14."""
    other = make_fs("ext4", size_mib=16)
    (tree / "var/my mnt").mkdir(parents=True)
    subprocess.run(("mount", "--bind", other.path, tree / "var/my mnt"), check=True)
    try:
        with pytest.raises(InvalidInput, match=r"^var/my\\040mnt: another filesystem"):
            manifest(tree)
    finally:
        subprocess.run(("umount", tree / "var/my mnt"), check=True)


@pytest.mark.parametrize("kind", ["dir", "file"])
def test_a_bind_mount_of_the_same_filesystem_is_named(tree: Path, kind: str) -> None:
    """It has the device number of the tree itself."""
    source, target = tree.parent / "source", tree / "target"
    for path in (source, target):
        if kind == "dir":
            path.mkdir()
        else:
            write(path)
    subprocess.run(("mount", "--bind", source, target), check=True)
    try:
        with pytest.raises(InvalidInput, match=r"^target: another filesystem"):
            manifest(tree)
    finally:
        subprocess.run(("umount", target), check=True)


def test_a_mount_at_the_root_of_the_tree_is_none_in_it(make_fs: MakeFs) -> None:
    filesystem = make_fs("ext4", size_mib=16)
    (filesystem.path / "lost+found").rmdir()

    assert set(scan(filesystem.path)) == {b"."}


def test_a_subvolume_in_the_tree_is_named(make_fs: MakeFs) -> None:
    filesystem = make_fs("btrfs", size_mib=256)
    subprocess.run(("btrfs", "-q", "subvolume", "create", filesystem.path / "sub"), check=True)

    with pytest.raises(InvalidInput, match=r"^sub: another filesystem"):
        manifest(filesystem.path)


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_other_filesystems_give_the_same_lines(tree: Path, make_fs: MakeFs, kind: str) -> None:
    """MF-11: also where XFS shows the access control lists twice."""
    make_xattrs(tree)
    write(tree / "a")
    os.link(tree / "a", tree / "b")
    copy = make_fs(kind, size_mib=512).path / "tree"  # type: ignore[arg-type]  # parametrised

    subprocess.run(("cp", "-a", tree, copy), check=True)

    assert manifest(copy) == manifest(tree)


def scan_while(tree: Path, monkeypatch: pytest.MonkeyPatch, change: Path, then: str) -> bytes:
    """Scan ``tree`` in this process; do ``then`` after the first read of ``change``."""
    read = os.read
    inode = change.stat().st_ino

    def read_and_change(fd: int, size: int) -> bytes:
        data = read(fd, size)
        if data and os.fstat(fd).st_ino == inode:
            subprocess.run(("sh", "-c", then), check=True, cwd=tree)
        return data

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read_and_change)
        return manifest(tree, workers=1)


@pytest.mark.parametrize(
    "change",
    [
        "echo more >> file",
        "truncate -s 3 file",
        "touch -d 2020-01-01 file",
        "printf changed > file",
        "chmod 600 file",
        "rm next",
        "rm next; mkdir next",
        "rm next; ln -s file next",
        "rm next; mkfifo next",
        "chmod 600 next",
        "chown 5 next",
        "touch -d 2020-01-01 next",
        "mv next third",
        "touch sub/new",
        "rm -r sub",
        "mv sub sub2; ln -s sub2 sub",
        "ln group1 group3; rm group1 group2",
    ],
)
def test_a_tree_that_changes_is_refused(
    tree: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """RL-9, MF-14: what is listed was there at one time, or it is refused."""
    write(tree / "before")
    write(tree / "file")
    write(tree / "next")
    write(tree / "sub/x")
    write(tree / "group1")
    os.link(tree / "group1", tree / "group2")

    monkeypatch.setattr(scanner, "_BATCH", 1)
    with pytest.raises(Busy, match="changed while it was read") as caught:
        scan_while(tree, monkeypatch, tree / "file", change)

    assert caught.value.hint == "stop what writes to the tree and try again"


@pytest.mark.parametrize(
    "change",
    [
        "echo more >> before",
        "rm before",
        "touch new",
        "touch -d 2020-01-01 .",
        "ln next file ..",  # as a clone of the tree does
    ],
)
def test_what_is_listed_is_the_tree_as_it_was_at_the_beginning(
    tree: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """RL-9: changes behind the reader's back do not matter."""
    write(tree / "before")
    write(tree / "file")
    write(tree / "next")
    expected = manifest(tree)

    monkeypatch.setattr(scanner, "_BATCH", 1)
    assert scan_while(tree, monkeypatch, tree / "file", change) == expected


def test_a_tree_under_attack_never_leads_outside(tree: Path) -> None:
    """A directory that becomes a symlink is noticed or not reached, but never followed."""
    write(tree / "d/inside")
    outside = tree.parent / "d"
    write(outside / "secret")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (tree / "d").rename(tree / "e")
            (tree / "d").symlink_to("../d")
            (tree / "d").unlink()
            (tree / "e").rename(tree / "d")

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        for _ in range(300):
            try:
                data = manifest(tree, workers=1)
            except Busy:
                continue
            assert b"secret" not in data
    finally:
        stop.set()
        attacker.join()


def test_what_cannot_be_read_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tree / "bad\nsector")

    def read(*_: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "read", read)
    with pytest.raises(SystemFailure, match=r"^bad\\012sector: Input/output error$"):
        manifest(tree, workers=1)


def test_errors_of_workers_come_through(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(tree)
    monkeypatch.setattr(scanner, "open_quietly", lambda *_, **__: os.open("/not/there", 0))

    # Of all errors the first in the order of the manifest.
    with pytest.raises(Busy, match=r"^d0/f0: changed"):
        manifest(tree, workers=2)


def test_the_group_keyword_needs_no_order_of_creation(tree: Path) -> None:
    """The manifest of a tree and of its copy are the same bytes."""
    many(tree, 300)
    copy = tree.parent / "copy"
    subprocess.run(("cp", "-a", tree, copy), check=True)

    assert manifest(copy) == manifest(tree)
    assert path_field(b"d9/zz") in manifest(tree)
