"""Trees from a literal description, and what became of them.

In scope: making a tree, describing what is on the disk with eyes of their own (not
those of ``scanner``, which is under test). Out of scope: stores and repositories
(``stores``), filesystems to put them on (``filesystems``).
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict, Unpack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TIME = 1_700_000_000_123_456_789

Kind = Literal["file", "dir", "link", "hardlink", "fifo", "socket", "char", "block"]


@dataclass(frozen=True, slots=True)
class Node:
    """One entry of a tree. ``target`` is a symlink's, or the first name of a hardlink."""

    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    time: int = TIME
    content: bytes = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    hole: int = 0
    """Bytes of hole before the content."""


class _More(TypedDict, total=False):
    uid: int
    gid: int
    time: int
    xattrs: Mapping[str, bytes]
    hole: int


Tree = dict[str, Node]
"""Nodes by relative path (bytes that are no UTF-8 as surrogates); ``.`` is the root.

Directories that only hold others need not be there.
"""


def file(content: bytes | str = b"", mode: int = 0o644, **more: Unpack[_More]) -> Node:
    data = content.encode() if isinstance(content, str) else content
    return replace(Node("file", mode, content=data), **more)


def directory(mode: int = 0o755, **more: Unpack[_More]) -> Node:
    return replace(Node("dir", mode), **more)


def symlink(target: str, **more: Unpack[_More]) -> Node:
    return replace(Node("link", 0o777, target=target), **more)


def hardlink(first: str) -> Node:
    return Node("hardlink", target=first)


def fifo(mode: int = 0o644, **more: Unpack[_More]) -> Node:
    return replace(Node("fifo", mode), **more)


def unix_socket(mode: int = 0o755, **more: Unpack[_More]) -> Node:
    return replace(Node("socket", mode), **more)


def char(major: int, minor: int, mode: int = 0o666, **more: Unpack[_More]) -> Node:
    return replace(Node("char", mode, device=(major, minor)), **more)


def block(major: int, minor: int, mode: int = 0o660, **more: Unpack[_More]) -> Node:
    return replace(Node("block", mode, device=(major, minor)), **more)


def build(root: Path, tree: Tree) -> Path:
    """Make ``tree`` at ``root``, which must not exist; return ``root``."""
    nodes = dict(tree)
    nodes.setdefault(".", directory())
    for name in tree:
        parent = os.path.dirname(name)
        while parent:
            nodes.setdefault(parent, directory())
            parent = os.path.dirname(parent)

    def place(name: str) -> tuple[bool, bool, list[str]]:
        return nodes[name].kind == "hardlink", name != ".", name.split("/")

    for name in sorted(nodes, key=place):
        path = root if name == "." else root / name
        if name == "." or nodes[name].kind != "hardlink":
            _make(path, nodes[name])
        else:
            os.link(root / nodes[name].target, path, follow_symlinks=False)
    # Last, and the deepest first, as what is put into a directory moves its time and
    # would inherit its default ACL.
    for name in sorted(nodes, reverse=True):
        if nodes[name].kind == "dir":
            path = root if name == "." else root / name
            _set_xattrs(path, nodes[name])
            os.chmod(path, nodes[name].mode)
            os.utime(path, ns=(nodes[name].time,) * 2)
    os.utime(root, ns=(nodes["."].time,) * 2)
    return root


def _make(path: Path, node: Node) -> None:
    _MAKERS[node.kind](path, node)
    os.chown(path, node.uid, node.gid, follow_symlinks=False)
    if node.kind != "dir":
        _set_xattrs(path, node)
    if node.kind != "link":
        path.chmod(node.mode if node.kind != "dir" else node.mode | 0o700)
    os.utime(path, ns=(node.time, node.time), follow_symlinks=False)


def _set_xattrs(path: Path, node: Node) -> None:
    for name, value in node.xattrs.items():
        os.setxattr(path, name, value, follow_symlinks=False)


def _make_file(path: Path, node: Node) -> None:
    with path.open("xb") as out:
        if node.hole:
            out.seek(node.hole)
        out.write(node.content)
        out.truncate(node.hole + len(node.content))


def _make_device(path: Path, node: Node) -> None:
    kind = stat.S_IFCHR if node.kind == "char" else stat.S_IFBLK
    os.mknod(path, kind | 0o600, os.makedev(*node.device))


_MAKERS = {
    "file": _make_file,
    "dir": lambda path, _: os.mkdir(path, 0o700),
    "link": lambda path, node: os.symlink(node.target, path),
    "fifo": lambda path, _: os.mkfifo(path, 0o600),
    # Not by bind(2), which takes short paths only.
    "socket": lambda path, _: os.mknod(path, stat.S_IFSOCK | 0o600),
    "char": _make_device,
    "block": _make_device,
}


class Facts(NamedTuple):
    """Everything of one entry that may be asked for; ``group`` is all names of its inode here."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    device: int
    content: str
    """SHA-256 of a file, target of a symlink."""
    xattrs: tuple[tuple[str, bytes], ...]
    group: tuple[bytes, ...]
    inode: int
    atime: int
    blocks: int


Snapshot = dict[bytes, Facts]


def snapshot(root: Path | str) -> Snapshot:
    """Return every entry of the tree at ``root``, byte for byte and lstat for lstat.

    Of lstat, ctime and nlink are left out, which linking changes, and the access time
    of all but files, which listing and reading links change.
    """
    names: dict[tuple[int, int], list[bytes]] = {}
    found: dict[bytes, os.stat_result] = {}
    base = os.fsencode(root)
    for path in _paths(base):
        status = os.lstat(os.path.join(base, path))
        found[path] = status
        if not stat.S_ISDIR(status.st_mode):
            names.setdefault((status.st_dev, status.st_ino), []).append(path)
    return {
        path: _facts(os.path.join(base, path), status, names.get((status.st_dev, status.st_ino)))
        for path, status in found.items()
    }


def _paths(base: bytes) -> list[bytes]:
    paths = [b"."]
    pending = [b""]
    while pending:
        parent = pending.pop()
        with os.scandir(os.path.join(base, parent)) as entries:
            for entry in entries:
                path = os.path.join(parent, entry.name)
                paths.append(path)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
    return sorted(paths)


def _facts(path: bytes, status: os.stat_result, group: list[bytes] | None) -> Facts:
    is_file = stat.S_ISREG(status.st_mode)
    content = ""
    if is_file:
        content = _hash(path)
    elif stat.S_ISLNK(status.st_mode):
        content = os.fsdecode(os.readlink(path))
    return Facts(
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size,
        mtime=status.st_mtime_ns,
        device=status.st_rdev,
        content=content,
        xattrs=_xattrs(path),
        group=tuple(sorted(group)) if group and len(group) > 1 else (),
        inode=status.st_ino,
        atime=status.st_atime_ns if is_file else 0,
        blocks=status.st_blocks if is_file else 0,
    )


def _hash(path: bytes) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME | os.O_NOFOLLOW)
    with open(fd, "rb", buffering=0) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _xattrs(path: bytes) -> tuple[tuple[str, bytes], ...]:
    names: list[str] = []
    with suppress(OSError):
        names = os.listxattr(path, follow_symlinks=False)
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names))


def published(found: Snapshot) -> Snapshot:
    """Return what of a snapshot a copy has, too: all but what the disk decides."""
    return {
        path: facts._replace(
            size=0 if stat.S_ISDIR(facts.mode) else facts.size, inode=0, atime=0, blocks=0
        )
        for path, facts in found.items()
    }


def differences(one: Snapshot, other: Snapshot) -> list[str]:
    """Return what differs between two snapshots, a line for each path; the shape of a message."""
    return [
        f"{path!r}: {one.get(path)} != {other.get(path)}"
        for path in sorted(one.keys() | other.keys())
        if one.get(path) != other.get(path)
    ]


def rsync_differences(one: Path, other: Path) -> str:
    """Return what rsync would do to make ``other`` the same as ``one``."""
    command = ("rsync", "-aHAXni", "--delete", "--checksum", "--numeric-ids")
    done = subprocess.run(
        (*command, f"{one}/", f"{other}/"), check=True, capture_output=True, text=True
    )
    return done.stdout
