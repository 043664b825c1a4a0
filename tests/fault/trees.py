"""Small trees with an entry of every type, and versions of them that differ in every way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.builders import (
    TIME,
    block,
    char,
    directory,
    fifo,
    file,
    hardlink,
    symlink,
    unix_socket,
)

if TYPE_CHECKING:
    from tests.builders import Tree

# cap_net_raw+ep, as setcap writes it.
CAPABILITY: Final = bytes.fromhex("0100000200200000000000000000000000000000")

V1: Final[Tree] = {
    ".": directory(),
    "bin/sh": file("shell 1", 0o755),
    "bin/bash": hardlink("bin/sh"),
    "bin/su": file("su", 0o4755),
    "bin/ping": file("ping", 0o755, xattrs={"security.capability": CAPABILITY}),
    "boot/vmlinuz": file("kernel 1\n" * 1500, 0o600),
    "dev/null": char(1, 3),
    "dev/sda": block(8, 0, gid=6),
    "etc/empty": file(),
    "etc/hosts": file("127.0.0.1 localhost\n"),
    "etc/motd": file("one\n", xattrs={"user.greeting": b"hello"}),
    "etc/shadow": file("root::", 0o640, gid=42),
    "lib": symlink("usr/lib"),
    "run/fifo": fifo(0o600),
    "run/socket": unix_socket(),
    "usr/lib/libc": file(b"c" * 5000),
    "usr/lib/libm": file("m"),
    "usr/share/doc/a": file("same content"),
    "usr/share/doc/b": file("same content"),
    "var/log": directory(0o2755, gid=4),
    "var/we ird\n\udcff": file("odd"),
    "var/zeros": file("end", hole=8192),
}

V2: Final[Tree] = {
    **V1,
    "bin/sh": file("shell 2", 0o755),
    "bin/dash": hardlink("bin/sh"),
    "boot/vmlinuz": file("kernel 2\n" * 1500, 0o600),
    "etc/motd": file("two\n"),
    "etc/hosts": file("127.0.0.1 localhost\n", 0o600),
    "etc/new/deep/file": file("new"),
    "lib": symlink("usr/lib64"),
    "run/fifo": file("a fifo no more"),
    "usr/lib/libc": symlink("libm"),
    "var/log": symlink("spool"),
    "var/spool": directory(0o700, uid=10),
}
del V2["usr/share/doc/b"]

V3: Final[Tree] = {
    **V2,
    ".": directory(time=TIME + 1),
    "bin/su": file("su", 0o755),
    "boot/vmlinuz": file("kernel 3\n" * 1500, 0o600),
    "etc/empty": file("empty no more"),
    "etc/motd": file("three\n"),
    "etc/new": file("a directory no more"),
    "usr/lib/libc": directory(0o711),
    "usr/lib/libc/part": file(b"c" * 5000),
    "var/log": directory(),
    "var/log/messages": file(""),
}
del V3["bin/dash"], V3["etc/new/deep/file"], V3["dev/sda"]

V4: Final[Tree] = {
    **V3,
    "bin/sh": file("shell 4", 0o755),
    "bin/bash": symlink("sh"),
    "boot/vmlinuz": file("kernel 4\n" * 1500, 0o600),
    "etc/motd": file("four\n"),
    "usr/new": file("new in four"),
}
del V4["var/log/messages"]

V5: Final[Tree] = {**V4, "boot/vmlinuz": file("kernel 5\n" * 1500, 0o600), "lib": directory()}

VERSIONS: Final = {1: V1, 2: V2, 3: V3, 4: V4, 5: V5}

# Version 2 with configuration that was changed here, and what version 3 is with it.
LOCAL: Final[Tree] = {
    "etc/hosts": file("127.0.0.1 localhost\n", 0o640),
    "etc/mine/file": file("mine"),
    "etc/mine/pair": hardlink("etc/mine/file"),
    "etc/motd": file("mine\n"),
    "etc/new/deep/file": file("mine, too"),
}
V2_LOCAL: Final[Tree] = {**V2, **LOCAL}
V3_MERGED: Final[Tree] = {
    **V3,
    "etc/motd.rootman-new": V3["etc/motd"],
    "etc/new.rootman-new": V3["etc/new"],
    "etc/new": directory(),
    **LOCAL,
}
del V2_LOCAL["etc/shadow"], V3_MERGED["etc/shadow"]

# The same when more was changed in version 2 after the upgrade: something again, something back.
LATER: Final[Tree] = {
    **{path: node for path, node in LOCAL.items() if path != "etc/mine/pair"},
    "etc/later": file("later\n"),
    "etc/motd": file("mine, later\n"),
    "etc/shadow": V2["etc/shadow"],
}
V2_LATER: Final[Tree] = {**V2, **LATER}
V3_LATER: Final[Tree] = {**V3_MERGED, **LATER}
del V3_LATER["etc/mine/pair"]

# And version 1, when it is gone back to and gets along what was changed in version 2.
V1_CARRIED: Final[Tree] = {
    **V1,
    **LOCAL,
    "etc/motd": file("mine\n", xattrs={"user.greeting": b"hello"}),
    "etc/motd.rootman-new": V1["etc/motd"],
}
del V1_CARRIED["etc/shadow"]

# What of them is in bundles, and which paths those are.
LISTS: Final = {"more": "/usr/lib\n/bin/su", "doc": "/usr/share\ninclude more"}
_PATHS: Final = {"more": ("usr/lib", "bin/su"), "doc": ("usr/share",)}


def tree_with(version: int, *bundles: str) -> Tree:
    """Return what a device has of a version with these bundles, and with no others."""
    absent = {path for name in _PATHS.keys() - set(bundles) for path in _PATHS[name]}
    tree = {**VERSIONS[version], "usr": directory()}
    return {
        path: node
        for path, node in tree.items()
        if not any(path == one or path.startswith(f"{one}/") for one in absent)
    }
