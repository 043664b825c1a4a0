"""Guards that leak or lose something: the matrix proves nothing unless it finds each of them.

A mutant is patched into this process, which then forks the guard. ``operation`` is the one
that finds it, in some situation.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cow import naming
from cow.answers import Requests
from cow.breaking import Breaker
from cow.content import ContentRequests
from cow.disk import Disk
from cow.metadata import MetadataRequests
from cow.naming import NameRequests
from cow.nodes import Node, Nodes
from cow.tree import GuardedTree

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from pyfuse3 import EntryAttributes

    from cow.nodes import Place
    from rootman.fsops import Name

    Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Mutant:
    """``symptom`` is a word of what the matrix says of it."""

    name: str
    operation: str
    symptom: str
    apply: Callable[[Patch], None]

    def __str__(self) -> str:
        return self.name


class _Lazy:
    """A breaker that breaks nothing."""

    async def make_private(self, node: Node, *, keep: int | None = None) -> None:
        del node, keep


def _unbroken(
    where: type[Requests], handler: str, when: Callable[..., bool] = lambda *_: True
) -> Callable[[Patch], None]:
    """Have a handler break nothing ``when`` its arguments say so."""
    original = getattr(where, handler)

    async def mutated(self: Requests, *arguments: Any) -> Any:  # noqa: ANN401 - of any handler
        if not when(*arguments):
            return await original(self, *arguments)
        breaker, self.breaker = self.breaker, _Lazy()  # type: ignore[assignment]
        try:
            return await original(self, *arguments)
        finally:
            self.breaker = breaker

    return lambda patch: patch.setattr(where, handler, mutated)


def _setting(*fields: str) -> Callable[..., bool]:
    """Return whether a setattr sets one of the fields."""
    return lambda _number, _attr, wanted, *_: any(getattr(wanted, f"update_{f}") for f in fields)


def _trusting_writers(patch: Patch) -> None:
    _unbroken(ContentRequests, "open", _to_write)(patch)
    _unbroken(ContentRequests, "write")(patch)


def _does_nothing(where: type[Any], method: str) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(where, method, lambda *_, **__: None)


def _by_link_count(self: GuardedTree, node: Node, status: os.stat_result) -> bool:
    return not stat.S_ISDIR(status.st_mode) and status.st_nlink > self.nodes.links(node)


def _not_shared(is_kind: Callable[[int], bool]) -> Callable[[Patch], None]:
    """Take no inode of a kind for shared."""
    original = GuardedTree.is_shared

    def is_shared(self: GuardedTree, node: Node, status: os.stat_result) -> bool:
        return not is_kind(status.st_mode) and original(self, node, status)

    return lambda patch: patch.setattr(GuardedTree, "is_shared", is_shared)


def _orphans_are_private(patch: Patch) -> None:
    original = GuardedTree.is_shared

    def is_shared(self: GuardedTree, node: Node, status: os.stat_result) -> bool:
        return node.orphan < 0 and original(self, node, status)

    patch.setattr(GuardedTree, "is_shared", is_shared)


def _one_name_at_a_time(patch: Patch) -> None:
    original = Nodes.places

    def places(self: Nodes, node: Node) -> list[Place]:
        return original(self, node)[:1]

    patch.setattr(Nodes, "places", places)


def _copy_all(self: Breaker, source: int, target: int, size: int, *, whole: bool) -> None:
    """Copy as cp --sparse=never does."""
    del self, whole
    os.pwrite(target, os.pread(source, size, 0), 0)


def _owner_after_mode(patch: Patch) -> None:
    chmod = Disk.chmod

    def mutated(self: Disk, name: Name, mode: int, *, dir_fd: int) -> None:
        chmod(self, name, mode, dir_fd=dir_fd)
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        self.chown(name, status.st_uid, status.st_gid, dir_fd=dir_fd)

    patch.setattr(Disk, "chmod", mutated)


def _times_of_files(patch: Patch) -> None:
    set_times = Disk.set_times

    def mutated(self: Disk, name: Name, times: tuple[int, int], *, dir_fd: int) -> None:
        if name == b".":
            set_times(self, name, times, dir_fd=dir_fd)

    patch.setattr(Disk, "set_times", mutated)


def _times_of_directories(patch: Patch) -> None:
    set_times = Disk.set_times

    def mutated(self: Disk, name: Name, times: tuple[int, int], *, dir_fd: int) -> None:
        if name != b".":
            set_times(self, name, times, dir_fd=dir_fd)

    patch.setattr(Disk, "set_times", mutated)


def _saying(field: str, value: str) -> Callable[[Patch], None]:
    """Have an attribute be that of the inode below."""
    original = Requests.attributes

    def attributes(self: Requests, node: Node, status: os.stat_result) -> EntryAttributes:
        found = original(self, node, status)
        setattr(found, field, getattr(status, value))
        return found

    return lambda patch: patch.setattr(Requests, "attributes", attributes)


def _break_before_looking(patch: Patch) -> None:
    original = MetadataRequests.removexattr

    async def mutated(self: MetadataRequests, number: int, *rest: Any) -> None:  # noqa: ANN401
        await self.breaker.make_private(self.tree.node(number))
        await original(self, number, *rest)

    patch.setattr(MetadataRequests, "removexattr", mutated)


def _cut_off(_number: int, flags: int, _: object) -> bool:
    return flags & os.O_TRUNC != 0 and flags & os.O_ACCMODE == os.O_RDONLY


def _to_write(_number: int, flags: int, _: object) -> bool:
    return flags & os.O_ACCMODE != os.O_RDONLY


LEAK: Final = "LEAK"
SEALED: Final = "SEALED"

MUTANTS: Final = (
    Mutant("O_RDONLY|O_TRUNC is for reading", "open O_RDONLY|O_TRUNC", LEAK,
           _unbroken(ContentRequests, "open", _cut_off)),
    Mutant("open to write breaks nothing", "open O_CREAT", LEAK,
           _trusting_writers),
    Mutant("write trusts its descriptor", "write by an older descriptor", LEAK,
           _unbroken(ContentRequests, "write")),
    Mutant("a store to a map trusts its descriptor", "mmap MAP_SHARED by an older descriptor",
           LEAK, _unbroken(ContentRequests, "write")),
    Mutant("truncate breaks nothing", "truncate to less", LEAK,
           _unbroken(MetadataRequests, "setattr", _setting("size"))),
    Mutant("chmod breaks nothing", "chmod", LEAK,
           _unbroken(MetadataRequests, "setattr", _setting("mode"))),
    Mutant("chown breaks nothing", "lchown", LEAK,
           _unbroken(MetadataRequests, "setattr", _setting("uid", "gid"))),
    Mutant("utimens breaks nothing", "futimens", LEAK,
           _unbroken(MetadataRequests, "setattr", _setting("atime", "mtime"))),
    Mutant("setxattr breaks nothing", "fsetxattr", LEAK,
           _unbroken(MetadataRequests, "setxattr")),
    Mutant("an access control list is no change", "set an access control list", LEAK,
           _unbroken(MetadataRequests, "setxattr", lambda _number, name, *_: b"acl" in name)),
    Mutant("removexattr breaks nothing", "removexattr", LEAK,
           _unbroken(MetadataRequests, "removexattr")),
    Mutant("removexattr breaks before it looks", "removexattr of what is absent", "for nothing",
           _break_before_looking),
    Mutant("link breaks nothing", "link", "further name", _unbroken(NameRequests, "link")),
    Mutant("sealed is what has many names", "chmod", SEALED,
           lambda patch: patch.setattr(GuardedTree, "is_shared", _by_link_count)),
    Mutant("a symlink is nobody's", "lchown", LEAK, _not_shared(stat.S_ISLNK)),
    Mutant("a fifo is nobody's", "chmod", LEAK, _not_shared(stat.S_ISFIFO)),
    Mutant("a device is nobody's", "utimensat", LEAK, _not_shared(stat.S_ISCHR)),
    Mutant("what was unlinked is nobody's", "unlinked, fchmod", LEAK, _orphans_are_private),
    Mutant("a group is broken one name at a time", "write by the other name", "pair/",
           _one_name_at_a_time),
    Mutant("readers keep the old inode", "read after a write by another", "instead of",
           lambda patch: patch.setattr(os, "dup2", lambda *_, **__: None)),
    Mutant("a copy without extended attributes", "chmod", "entry subject",
           _does_nothing(Disk, "set_xattr")),
    Mutant("a copy without times", "chmod", "entry subject", _times_of_files),
    Mutant("a directory without its times", "chmod", "entry .:", _times_of_directories),
    Mutant("a copy without its owner", "setxattr", "entry subject", _does_nothing(Disk, "chown")),
    Mutant("a copy without its mode", "setxattr", "entry subject", _does_nothing(Disk, "chmod")),
    Mutant("a copy without holes", "setxattr", "entry subject",
           lambda patch: patch.setattr(Breaker, "_copy_data", _copy_all)),
    Mutant("the owner after the mode", "setxattr", "entry subject", _owner_after_mode),
    Mutant("the number of the inode below", "chmod", "cannot be looked at",
           _saying("st_ino", "st_ino")),
    Mutant("the names of the inode below", "open O_RDONLY", "links subject",
           _saying("st_nlink", "st_nlink")),
    Mutant("whiteouts are let through", "renameat2 RENAME_WHITEOUT", "entry",
           lambda patch: patch.setattr(naming, "_RENAMES", 7)),
    Mutant("attributes outlive a change", "write", "entry subject",
           _does_nothing(Node, "changed")),
    Mutant("setuid is kept", "open O_TRUNC by the owner", "entry subject",
           _does_nothing(MetadataRequests, "_strip")),
)  # fmt: skip
