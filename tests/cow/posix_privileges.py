"""Conformance cases: setuid, setgid and capabilities, and what takes them away."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

from tests.cow.seeing import GROUP, OTHER, USER, as_user, case

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cow.seeing import See

_MODES = (0o6777, 0o4777, 0o2777, 0o2767, 0o6767, 0o6666)
# cap_net_raw, permitted and effective, as revision 2 has it.
_CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def _mode(path: str) -> str:
    return oct(os.lstat(path).st_mode)


def _write(path: str) -> None:
    with open(path, "r+b", buffering=0) as file:
        file.write(b"x")


def _append(path: str) -> None:
    with open(path, "ab", buffering=0) as file:
        file.write(b"x")


def _write_nothing(path: str) -> None:
    with open(path, "r+b", buffering=0) as file:
        os.write(file.fileno(), b"")


def _truncate(path: str) -> None:
    os.truncate(path, 3)


def _ftruncate(path: str) -> None:
    with open(path, "r+b", buffering=0) as file:
        file.truncate(2)


def _cut(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


def _map(path: str) -> None:
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0:1] = b"m"


def _copy(path: str) -> None:
    with open("file", "rb") as source, open(path, "r+b") as target:
        os.copy_file_range(source.fileno(), target.fileno(), 4, 0, 0)


def _chown(path: str) -> None:
    os.chown(path, 0, 0)


def _chmod(path: str) -> None:
    os.chmod(path, 0o755)


_WAYS: tuple[Callable[[str], None], ...] = (
    _write, _append, _write_nothing, _truncate, _ftruncate, _cut, _map, _copy,
)  # fmt: skip


@case
def setuid_goes_with_a_change_of_content(see: See) -> None:
    for way in _WAYS:
        for who in (0, USER, OTHER):
            for mode in _MODES:
                with open("mine", "wb") as file:
                    file.write(b"some content")
                os.chmod("mine", mode)
                label = f"{way.__name__} by {who} {mode:o}"
                see.by(who, label, way, "mine")
                see.value(f"{label} leaves", _mode("mine"))


@case
def setgid_stays_with_a_member(see: See) -> None:
    """Whether the writer is in the group does not matter; what execution by it says does."""
    os.chown("mine", USER, GROUP)
    for mode in (0o2755, 0o2745, 0o2777, 0o2767):
        for groups in ((), (GROUP,)):
            os.chmod("mine", mode | 0o022)
            label = f"{mode:o} {groups}"
            see.by(USER, label, _write, "mine", groups=groups)
            see.value(f"{label} leaves", _mode("mine"))
            os.chmod("mine", mode | 0o022)
            see.by(USER, f"{label} cut", _truncate, "mine", groups=groups)
            see.value(f"{label} cut leaves", _mode("mine"))


@case
def root_writes_where_a_user_opened(see: See) -> None:
    """Who writes counts, not who opened."""
    os.chmod("mine", 0o6777)
    fd = os.open("mine", os.O_RDWR)
    os.write(fd, b"a")
    see.value("root", _mode("mine"))
    see.by(USER, "by a user", os.write, fd, b"b")
    see.value("user", _mode("mine"))
    os.close(fd)


@case
def a_user_opened_where_root_writes(see: See) -> None:
    os.chmod("mine", 0o6777)
    os.seteuid(USER)
    fd = os.open("mine", os.O_RDWR)
    os.seteuid(0)
    os.write(fd, b"a")
    see.value("root", _mode("mine"))
    os.ftruncate(fd, 1)
    see.value("root cuts", _mode("mine"))
    os.close(fd)


@case
def chmod_between_two_writes(see: See) -> None:
    fd = os.open("mine", os.O_RDWR)
    os.seteuid(USER)
    other = os.open("mine", os.O_RDWR)
    os.write(other, b"a")
    os.chmod("mine", 0o4755)
    os.write(other, b"b")
    see.value("first", _mode("mine"))
    os.chmod("mine", 0o4755)
    os.write(other, b"c")
    see.value("second", _mode("mine"))
    os.seteuid(0)
    os.close(fd)
    os.close(other)


def _capability(path: str) -> bytes:
    return os.getxattr(path, "security.capability")


@case
def capabilities_go_with_a_change(see: See) -> None:
    for way in (*_WAYS, _chown, _chmod):
        with open("tool", "wb") as file:
            file.write(b"some content")
        os.setxattr("tool", "security.capability", _CAPABILITY)
        see(f"{way.__name__}", way, "tool")
        see(f"{way.__name__} leaves", _capability, "tool")


@case
def setuid_stays_where_a_capability_goes(see: See) -> None:
    """What root writes takes the one and leaves the other."""
    for way in (*_WAYS, _chown, _chmod):
        for mode in (0o6755, 0o2745):
            with open("tool", "wb") as file:
                file.write(b"some content")
            os.chmod("tool", mode)
            os.setxattr("tool", "security.capability", _CAPABILITY)
            see(f"{way.__name__} {mode:o}", way, "tool")
            see.value(f"{way.__name__} {mode:o} leaves", _mode("tool"))


@case
def capabilities_need_root(see: See) -> None:
    see.by(USER, "set", os.setxattr, "mine", "security.capability", _CAPABILITY)
    see("root", os.setxattr, "mine", "security.capability", _CAPABILITY)
    see.by(OTHER, "read", _capability, "mine")
    see.by(USER, "remove", os.removexattr, "mine", "security.capability")
    see("still", _capability, "mine")


@case
def setuid_programs(see: See) -> None:
    """A setuid program in the mount runs as its owner."""
    shutil.copy("/usr/bin/id", "id")
    command = ("./id", "-u")

    def run() -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    for mode in (0o755, 0o4755):
        os.chown("id", USER, GROUP)
        os.chmod("id", mode)
        see.value(f"{mode:o}", as_user(OTHER, run))
    os.chmod("id", 0o700)
    see.by(OTHER, "not allowed", run)


@case
def programs_with_capabilities(see: See) -> None:
    shutil.copy("/usr/bin/cat", "cat")
    os.chmod("cat", 0o755)
    os.setxattr("cat", "security.capability", _CAPABILITY)

    def run() -> list[str]:
        command = ("./cat", "/proc/self/status")
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return [line for line in out.splitlines() if line.startswith(("CapPrm", "CapEff"))]

    see.value("capabilities", as_user(OTHER, run))
