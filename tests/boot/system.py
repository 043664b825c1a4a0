"""The system that is booted: Debian with rootman in it, in several versions, on a disk with GRUB.

Versions 1 and 2 work, and each of the others fails in a way of its own. Version 1 is
installed, and trusts who signed them. Beside the store lie a repository with versions 1 and 2,
and a file of ``rootman export`` for each version but the first. Out of scope: the machine that
it runs on (``qemu``).
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import contextmanager
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rootman.boot.initramfs import install_initramfs
from rootman.fsops import RealFs
from tests.boot.disks import ROOT, make_disk, opened
from tests.commands import ROOTMAN
from tests.debian_trees import booting_tree, cache_directory, made_once
from tests.filesystems import remove, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.boot.qemu import Machine

_SOURCES: Final = Path(__file__).parents[2]
_OWN: Final = ("rootman", "cow", "cli")
_CACHED: Final = "system-"
_DISK: Final = "disk.img"
_KEPT: Final = 86400  # seconds
# What Debian 12 has not got; pure Python.
_ALSO: Final = ("tuf", "securesystemslib")

# As Debian's ends: with the file that ``rootman boot install-grub`` writes.
_GRUB_CFG: Final = """serial
terminal_input serial
terminal_output serial
set timeout=0
source $prefix/custom.cfg
"""
_PLAIN_CFG: Final = """serial
terminal_output serial
linux /boot/{linux} root={root} ro {args}
initrd /boot/{initrd}
boot
"""
_CUSTOM: Final = "boot/grub/custom.cfg"

_COMMAND: Final = """#!/usr/bin/python3
import sys
from cli.main import main
sys.exit(main())
"""
# What reads commands at the serial console, without what would say something there besides. It
# is the first process, until it is told to become systemd, which starts it again.
_INIT: Final = """#!/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
TERM=dumb
export PATH HOME TERM
mountpoint -q /tmp || mount -t tmpfs tmpfs /tmp
dmesg -n 1
stty -F /dev/console -echo
echo @ready@
while IFS= read -r line; do
    eval "$line" </dev/null
    echo "@code $?@"
done </dev/console
"""
_INIT_PATH: Final = "usr/lib/rootman-test-init"
# Writes to a database without end, and says in /run how much of it is acknowledged; or checks it.
_DATABASE: Final = """#!/usr/bin/python3
import os, sqlite3, sys, time
base = sqlite3.connect("/home/base", isolation_level=None)
base.execute("PRAGMA journal_mode=WAL")
base.execute("PRAGMA synchronous=FULL")
base.execute("CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, text TEXT)")
count, last = base.execute("SELECT count(*), coalesce(max(number), 0) FROM rows").fetchone()
if sys.argv[1:]:
    (said,) = base.execute("PRAGMA integrity_check").fetchone()
    sys.exit(f"{said}, {count} of {last}") if (said, count) != ("ok", last) else print(last)
while not sys.argv[1:]:
    last += 1
    base.execute("INSERT INTO rows VALUES (?, ?)", (last, "x" * 1000))
    with open("/run/acknowledged.new", "w") as file:
        print(last, file=file)
    os.replace("/run/acknowledged.new", "/run/acknowledged")
    time.sleep(0.05)
"""
DATABASE: Final = "usr/lib/rootman-test-database"
# Once the checks have said what they say of this boot.
_UNIT: Final = f"""[Unit]
After=rootman-health.service
[Service]
ExecStart=/{_INIT_PATH}
StandardOutput=file:/dev/console
StandardError=inherit
[Install]
WantedBy=multi-user.target
"""
# Checks are shown, and given up soon.
_HEALTH: Final = """[Service]
StandardOutput=journal+console
ExecStart=
ExecStart=/usr/bin/rootman health --act --timeout {}
"""
_PATIENT: Final = 60
_IMPATIENT: Final = 5
_UNITS: Final = "etc/systemd/system"
# Somebody else would read at the console; the others are what a boot can do without.
_MASKED: Final = (
    "serial-getty@ttyS0.service", "dev-hugepages.mount", "dev-mqueue.mount", "e2scrub_reap.service",
    "getty-static.service", "getty@.service", "kmod-static-nodes.service", "modprobe@.service",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-random-seed.service",
    "systemd-udev-trigger.service", "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
)  # fmt: skip
_SERVICES: Final = ("rootman-health", "rootman-shutdown")
_CHECK: Final = "etc/rootman/health.d/required.d/50-fails"
# Fails in the first attempt, and hangs in the others.
_FAILS: Final = """#!/bin/sh
grep -q '^rootman_tries=2$' "$ROOTMAN_ROOTFS/.rootman/boot/grubenv" && exit 1
sleep 1000
"""
# What the kernel may leave out makes a boot shorter; panic is the delay after one, in seconds.
# Where the host is busy, a check finds that the timer does not tick, and the kernel panics.
KERNEL_ARGS: Final = (
    "console=ttyS0 quiet panic=1 mitigations=off apparmor=0 audit=0 no_timer_check"
    " cryptomgr.notests"
    f" init=/{_INIT_PATH}"
)
WORKING: Final = (1, 2)
PANICS, ROOTLESS, ENDING, UNHEALTHY = 3, 4, 5, 6
"""Its kernel panics; its initramfs finds no root; its init ends; a check fails and hangs."""
BAD: Final = (PANICS, ROOTLESS, ENDING, UNHEALTHY)
CONFIGURED: Final = 7
"""One that works, of which all of /etc is configuration."""
_KEY: Final = "key"
REPOSITORY: Final = "repo"
EVERYTHING: Final = "all"
"""A repository with the versions that do not work, too, and ``CONFIGURED``."""
CONFIG: Final = "/etc/local"
"""What of it is carried over; the rest of /etc shows that versions change alone."""


def system_disk() -> Path:
    """Return a disk with the system, made now unless it was, of the same sources; only copy it."""
    digest = sha256(str(booting_tree()).encode())
    for path in sorted(_sources()):
        digest.update(path.read_bytes())
    home = cache_directory() / f"{_CACHED}{digest.hexdigest()[:12]}"
    with made_once(home) as making:
        if making is not None:
            for other in cache_directory().glob(f"{_CACHED}*"):
                if time.time() - other.stat().st_mtime > _KEPT and other.is_dir():
                    remove(other)
            with tempfile.TemporaryDirectory(dir=making) as work:
                _make_system(making / _DISK, Path(work))
    return home / _DISK


def _sources() -> Iterator[Path]:
    """Yield all that the system is made of, besides Debian."""
    yield from (Path(__file__), Path(__file__).with_name("disks.py"))
    for name in _OWN:
        for path in (_SOURCES / name).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                yield path


def _make_system(disk: Path, home: Path) -> None:
    """Make the disk in the empty directory ``home``."""
    first = home / "1"
    run("cp", "-a", str(booting_tree()), str(first))
    _add_rootman(first)
    _rootman("repo", "keys", "new", home / _KEY)
    for version in WORKING:
        _publish(home, version)
    make_disk(disk)
    with opened(disk) as root:
        _install(root, home / REPOSITORY)
        for version in (*BAD, CONFIGURED):
            _publish(home, version)
        run("cp", "-al", str(root / REPOSITORY), str(root / EVERYTHING))
        run("rsync", "-a", f"{home / REPOSITORY}/", str(root / EVERYTHING))
        for version in (*WORKING[1:], *BAD):
            bundle = ("--from", 1, "-o", root / f"{version}.rootman")
            _rootman("export", home / REPOSITORY, "--version", version, *bundle)


def _publish(home: Path, version: int) -> None:
    """Make the tree of a version, out of the first one, and publish it."""
    tree = home / str(version)
    if version > 1:
        run("cp", "-al", str(home / "1"), str(tree))
    put(tree / "etc/issue", f"version {version}\n")
    label: tuple[str, ...] = ("--args", KERNEL_ARGS)
    if version == PANICS:
        label += ("--initrd", "")
    elif version == ROOTLESS:
        label = ("--args", f"{KERNEL_ARGS} root=/dev/none rootdelay=1")
    elif version == ENDING:
        put(tree / _INIT_PATH, "#!/bin/sh\nexit 1\n", mode=0o755)
    elif version == UNHEALTHY:
        put(tree / _INIT_PATH, "#!/bin/sh\nexec /sbin/init\n", mode=0o755)
        put(tree / _CHECK, _FAILS, mode=0o755)
        put(tree / _UNITS / "rootman-health.service.d/test.conf", _HEALTH.format(_IMPATIENT))
    _rootman("boot", "label", tree, "--version", version, *label)
    # What the first version has of it is there from the beginning, the rest comes with an upgrade.
    state = ("--state", "/home", *(("--state", "/var") if version > 1 else ()))
    config = ("--config", CONFIG) if version in WORKING[1:] else ()
    config = ("--config", "/etc") if version == CONFIGURED else config
    signed = ("--no-packs", "--sign", home / _KEY)
    _rootman("publish", tree, home / REPOSITORY, "--version", version, *config, *state, *signed)


def _install(root: Path, repository: Path) -> None:
    """Install version 1 and GRUB on the filesystem ``root``, and have the repository at hand."""
    run("cp", "-a", str(repository), str(root / REPOSITORY))
    on_host(root, "init", "--trust", repository / "metadata/1.root.json")
    on_host(root, "upgrade", repository / "releases/1.json")
    (root / "boot/grub").mkdir(parents=True)
    put(root / "boot/grub/grub.cfg", _GRUB_CFG)
    on_host(root, "boot", "install-grub", "--grub-dir", root / "boot/grub")
    with (root / _CUSTOM).open("a") as file:
        file.write('set rootman_root="$rootman_root rootman.mode=ro"\n')


def make_plain(system: Path, disk: Path) -> None:
    """Make a disk with version 1 of the system on an ext4 alone, which boots without rootman."""
    make_disk(disk)
    with opened(system) as store, opened(disk) as root:
        run("cp", "-a", f"{store}/rootfs/olpc.1/.", str(root))
        linux, initrd = (path.name for path in _kernel_in(root))
        text = _PLAIN_CFG.format(linux=linux, root=ROOT, args=KERNEL_ARGS, initrd=initrd)
        put(root / "boot/grub/grub.cfg", text)


def set_mode(root: Path, mode: str) -> None:
    """Have the machine with the filesystem ``root`` boot in another mode than ro."""
    text = (root / _CUSTOM).read_text()
    (root / _CUSTOM).write_text(text.replace("mode=ro", f"mode={mode}"))


def _rootman(*arguments: str | int | Path) -> str:
    # A process that stands by while a command freezes may outlive it by a moment, and keeps the
    # filesystem busy; in a namespace of its own it ends with the command.
    return run("unshare", "--pid", "--fork", str(ROOTMAN), *map(str, arguments))


def on_host(root: Path, *arguments: str | Path) -> str:
    """Run a command on the store of the filesystem ``root``, here; return what it said."""
    return _rootman("--rootfs", root / "rootfs", *arguments)


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
    found = _kernel_in(tree)
    for path in found:
        shutil.copy(path, home)
    linux, initrd = (home / path.name for path in found)
    return linux, initrd


def _kernel_in(tree: Path) -> list[Path]:
    return [next((tree / "boot").glob(f"{name}-*")) for name in ("vmlinuz", "initrd.img")]


def put(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Make a file, in the place of one that other trees may have, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
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
    put(tree / "usr/bin/rootman", _COMMAND, mode=0o755)
    put(tree / _INIT_PATH, _INIT, mode=0o755)
    put(tree / DATABASE, _DATABASE, mode=0o755)
    for room in (CONFIG[1:], "rootfs"):
        (tree / room).mkdir()
    units = tree / _UNITS
    put(units / "rootman-test.service", _UNIT)
    for name in _SERVICES:
        unit = files("rootman.boot") / f"data/units/{name}.service"
        put(units / f"{name}.service", unit.read_text())
    put(units / "rootman-health.service.d/test.conf", _HEALTH.format(_PATIENT))
    for name in _MASKED:
        (units / name).symlink_to("/dev/null")
    install_initramfs(RealFs(), str(tree))
    release = next((tree / "usr/lib/modules").iterdir()).name
    with proc_in(tree):
        for command in (
            ("depmod", release),
            ("systemctl", "enable", "--quiet", *_SERVICES, "rootman-test"),
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
