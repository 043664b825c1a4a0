"""The system that is booted: Debian with rootman in it, in three versions, on a disk with GRUB.

Versions 1 and 2 work; the init of version 3 ends, which is a panic of the kernel. Version 1 is
installed, the others lie on the disk as files of ``rootman export``. Out of scope: the
machine that it runs on (``qemu``).
"""

from __future__ import annotations

import shutil
import struct
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rootman.boot.initramfs import install_initramfs
from rootman.fsops import RealFs
from tests.commands import ROOTMAN
from tests.debian_trees import booting_tree
from tests.filesystems import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.boot.qemu import Machine

_SOURCES: Final = Path(__file__).parents[2]
_OWN: Final = ("rootman", "cow", "cli")
# What Debian 12 has not got; pure Python.
_ALSO: Final = ("tuf", "securesystemslib")

_SECTOR: Final = 512
_START: Final = 2048  # sectors before the partition, as every partitioner leaves them
_SIZE_MIB: Final = 1024
_GRUB: Final = Path("/usr/lib/grub/i386-pc")
_MODULES: Final = (
    "biosdisk", "configfile", "echo", "ext2", "linux", "loadenv", "normal", "part_msdos", "regexp",
    "search", "search_fs_uuid", "serial", "terminal", "test",
)  # fmt: skip
# As Debian's ends: with the file that ``rootman boot install-grub`` writes.
_GRUB_CFG: Final = """serial
terminal_input serial
terminal_output serial
set timeout=0
source $prefix/custom.cfg
"""
# What root= names; GRUB names it by its UUID.
ROOT: Final = "/dev/vda1"
CUSTOM: Final = "boot/grub/custom.cfg"

_COMMAND: Final = """#!/usr/bin/python3
import sys
from cli.main import main
sys.exit(main())
"""
# What reads commands at the serial console, without what would say something there besides.
_INIT: Final = """#!/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
TERM=dumb
export PATH HOME TERM
mount -t tmpfs tmpfs /tmp
dmesg -n 1
stty -F /dev/console -echo
echo @ready@
while IFS= read -r line; do
    eval "$line" </dev/null
    echo "@code $?@"
done </dev/console
"""
_INIT_PATH: Final = "usr/lib/rootman-test-init"
_BAD_INIT: Final = "#!/bin/sh\nexit 1\n"
# What the kernel may leave out makes a boot shorter; panic is the delay after one, in seconds.
KERNEL_ARGS: Final = (
    f"console=ttyS0 quiet panic=1 mitigations=off apparmor=0 audit=0 init=/{_INIT_PATH}"
)
VERSIONS: Final = (1, 2, 3)
BAD: Final = 3


def make_system(home: Path) -> Path:
    """Return a disk with the system, which is made in the empty directory ``home``."""
    first = home / "1"
    run("cp", "-a", str(booting_tree()), str(first))
    _add_rootman(first)
    for version in VERSIONS:
        tree = home / str(version)
        if version > 1:
            run("cp", "-al", str(first), str(tree))
        _put(tree / "etc/issue", f"version {version}\n")
        if version == BAD:
            _put(tree / _INIT_PATH, _BAD_INIT, mode=0o755)
        _rootman("boot", "label", tree, "--version", version, "--args", KERNEL_ARGS)
        _rootman("publish", tree, home / "repo", "--version", version, "--no-packs")
    disk = home / "disk.img"
    _make_disk(disk)
    with opened(disk) as root:
        _install(root, home / "repo")
    return disk


def _install(root: Path, repository: Path) -> None:
    """Install version 1 and GRUB on the filesystem ``root``, and have the others at hand."""
    store = ("--rootfs", root / "rootfs")
    _rootman(*store, "init")
    _rootman(*store, "upgrade", repository / "releases/1.json")
    (root / "boot/grub").mkdir(parents=True)
    _put(root / "boot/grub/grub.cfg", _GRUB_CFG)
    _rootman(*store, "boot", "install-grub", "--grub-dir", root / "boot/grub")
    with (root / CUSTOM).open("a") as file:
        file.write('set rootman_root="$rootman_root rootman.mode=ro"\n')
    for version in VERSIONS[1:]:
        bundle = root / f"{version}.rootman"
        _rootman("export", repository, "--version", version, "--from", 1, "-o", bundle)


def _rootman(*arguments: str | int | Path) -> str:
    # A process that stands by while a command freezes may outlive it by a moment, and keeps the
    # filesystem busy; in a namespace of its own it ends with the command.
    return run("unshare", "--pid", "--fork", str(ROOTMAN), *map(str, arguments))


def on_host(root: Path, *arguments: str | Path) -> str:
    """Run a command on the store of the filesystem ``root``, here; return what it said."""
    return _rootman("--rootfs", root / "rootfs", *arguments)


def copy_disk(disk: Path, target: Path) -> None:
    """Copy a disk and its holes."""
    run("cp", "--sparse=always", str(disk), str(target))


def booted(machine: Machine) -> tuple[str, ...]:
    """Wait for a boot; return tree, why and mode, which it said and noted alike."""
    said = machine.boot()
    tree, why, mode = machine.run("cat /run/rootman/booted").splitlines()
    assert f"rootman: {tree} ({why}), {mode}\n" in said
    version = tree.partition(".")[2]
    assert machine.run("cat /etc/issue") == f"version {version}\n"
    return tree, why, mode


def kernel_of(tree: Path, home: Path) -> tuple[Path, Path]:
    """Copy the kernel and the initrd of a tree to ``home``, as a firmware might have them."""
    found = [next((tree / "boot").glob(f"{name}-*")) for name in ("vmlinuz", "initrd.img")]
    for path in found:
        shutil.copy(path, home)
    linux, initrd = (home / path.name for path in found)
    return linux, initrd


def _put(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Make a file, in the place of one that other trees may have, too."""
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _add_rootman(tree: Path) -> None:
    """Add the device side of rootman to a Debian tree, and make its initramfs."""
    packages = tree / "usr/lib/python3/dist-packages"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in _OWN:
        shutil.copytree(_SOURCES / name, packages / name, ignore=ignored)
    for name in _ALSO:
        found = find_spec(name)
        assert found is not None
        assert found.origin is not None
        shutil.copytree(Path(found.origin).parent, packages / name, ignore=ignored)
    _put(tree / "usr/bin/rootman", _COMMAND, mode=0o755)
    _put(tree / _INIT_PATH, _INIT, mode=0o755)
    (tree / "rootfs").mkdir()
    install_initramfs(RealFs(), str(tree))
    release = next((tree / "usr/lib/modules").iterdir()).name
    with proc_in(tree):
        for command in (
            ("depmod", release),
            ("python3", "-m", "compileall", "-q", "/usr/lib/python3/dist-packages"),
            ("mkinitramfs", "-o", f"/boot/initrd.img-{release}", release),
        ):
            run("chroot", str(tree), *command)


@contextmanager
def proc_in(tree: Path) -> Iterator[None]:
    """Have /proc in a tree for what is run there."""
    run("mount", "-t", "proc", "proc", str(tree / "proc"))
    try:
        yield
    finally:
        run("umount", str(tree / "proc"))


def _make_disk(disk: Path) -> None:
    """Make a disk of one partition with an empty ext4, from which SeaBIOS loads GRUB."""
    core = disk.with_suffix(".core")
    run("grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", str(core), *_MODULES)
    with disk.open("wb") as file:
        file.truncate(_SIZE_MIB << 20)
    offset = _START * _SECTOR
    run("mkfs.ext4", "-q", "-E", f"offset={offset}", str(disk), f"{(_SIZE_MIB << 10) - 1024}k")
    with disk.open("r+b") as file:
        file.write((_GRUB / "boot.img").read_bytes()[:440])
        file.seek(446)
        sectors = (_SIZE_MIB << 11) - _START
        file.write(struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\xff" * 3, _START, sectors))
        file.seek(510)
        file.write(b"\x55\xaa")
        # The first sector of the core knows that the others follow it.
        file.write(core.read_bytes())
    core.unlink()


@contextmanager
def opened(disk: Path) -> Iterator[Path]:
    """Mount the partition of a disk until the end of the block."""
    place = disk.with_suffix(".mnt")
    place.mkdir()
    run("mount", "-o", f"loop,offset={_START * _SECTOR}", str(disk), str(place))
    try:
        yield place
    finally:
        run("umount", str(place))
        place.rmdir()
