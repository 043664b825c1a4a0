"""Real root trees, made once and kept outside the checkout.

Two versions of one: the first is Debian 12 from its main archive alone, the second with
updates and security, both minbase by mmdebstrap. Where that cannot be, two trees stand in
that are made of this machine's /usr: the second is the first with some files changed. And
one tree with programs to be run in it, which has the packages that are to be installed there;
one that boots; and two pairs to measure downloads with, an update of Debian 12 and the step to
Debian 13.
Out of scope: what is done with them. They are only ever read, so that every run
finds the same.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tests.filesystems import remove, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_SUITE = "bookworm"
# Where the packages of a tree come from: the suite itself first.
_MAIN = (_SUITE,)
_UPDATED = (_SUITE, f"{_SUITE}-updates", f"{_SUITE}-security")
_NEXT = ("trixie", "trixie-updates", "trixie-security")
_ARCHIVE = "http://deb.debian.org/debian"
_SECURITY = "http://deb.debian.org/debian-security"
_TIMEOUT = 150  # seconds for a small tree; a mirror that is slower is no mirror
_LONG = 900  # seconds for one with a kernel, which nothing stands in for
_TOO_LONG = 124  # what timeout(1) exits with
_NAMES = ("main", "updated")

# What programs are run of, besides what every Debian has.
_PROGRAMS = (
    "gcc", "git", "libc6-dev", "locales", "python3-venv", "rsync", "sqlite3", "systemd",
    "vim-tiny",
)  # fmt: skip
# What is installed and removed there: a program alone, and a daemon with all that one brings.
PACKAGES = ("hello", "cron")
# Into the tree's own cache, in the way of the machine that makes it; it needs no network then.
_DOWNLOAD = (
    'export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" && apt-get clean && '
    f"apt-get install --yes --download-only {' '.join(PACKAGES)} && "
    'rm "$1"/var/cache/apt/*.bin'
)

# What boots, with what rootman needs of Debian.
_BOOTING = (
    "busybox", "dracut-core", "initramfs-tools", "kexec-tools", "linux-image-cloud-amd64",
    "openssh-server", "python3-click",
    "python3-cryptography", "python3-psutil", "python3-pyfuse3", "python3-requests",
    "python3-urllib3", "python3-xattr", "python3-zstandard", "systemd-sysv",
)  # fmt: skip
# What a machine of QEMU has no use for, so that a boot and an upgrade take seconds.
_UNUSED = (
    "boot/initrd.img*", "usr/lib/*/gconv", "usr/lib/*/perl/*", "usr/lib/modules/*/kernel/net",
    "usr/lib/udev/hwdb.d", "usr/share/*-completion", "usr/share/doc", "usr/share/info",
    "usr/share/locale", "usr/share/man", "usr/share/perl", "usr/share/zoneinfo",
    "var/lib/dpkg/info",
)  # fmt: skip
_PRUNE = (
    f'cd "$1" && rm -rf {" ".join(_UNUSED)} && cd usr/lib/modules/*/kernel && '
    "find drivers fs -name '*.ko' ! -path 'drivers/block/*' ! -path 'drivers/virtio/*' "
    "! -path 'fs/fat/*' ! -path 'fs/fuse/*' ! -path 'fs/nls/*' ! -path 'fs/overlayfs/*' -delete"
)
# A package that is not installed yet, for a machine without a network; and as of an image that many
# devices are written from.
DEB = "usr/lib/hello.deb"
_UNDO = (
    'export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" && apt-get install --yes --download-only hello && '
    f'cd "$1" && cp var/cache/apt/archives/hello_*.deb {DEB} && rm -f etc/ssh/ssh_host_* '
    "etc/systemd/system/sshd.service etc/systemd/system/multi-user.target.wants/ssh.service && "
    "echo uninitialized >etc/machine-id"
)
_BOOTING_OPTIONS = (
    f"--include={','.join(_BOOTING)}",
    f"--customize-hook={_UNDO}",
    f"--customize-hook={_PRUNE}",
)

# What there is more of than in minbase where an update, or the next Debian, is downloaded.
_SOME = ("openssl", "perl", "python3")
_MANY = ("gcc", "git", "openssh-server", "perl", "python3", "vim")

# How much of /usr makes a tree that takes a moment, and not more.
_LARGEST = 1 << 20
_MOST_BYTES = 200 << 20
_MOST_FILES = 12_000


@dataclass(frozen=True, slots=True)
class Trees:
    """Two versions of a tree. ``origin`` says in a few words what they are."""

    first: Path
    second: Path
    origin: str


def cache_directory() -> Path:
    """Return where things are kept that take long to make: of the machine, or of the user."""
    if os.geteuid() == 0:
        return Path("/var/cache/rootman-tests")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rootman-tests"


def debian_trees() -> Trees:
    """Return two Debian trees, made now if they are not there yet.

    Raises:
        subprocess.CalledProcessError: mmdebstrap failed or took too long.
        OSError: there is no mmdebstrap, or no room.

    """
    home = cache_directory() / f"{_SUITE}-{platform.machine()}"
    first, second = (home / name for name in _NAMES)
    with made_once(home) as making:
        if making is not None:
            with ThreadPoolExecutor() as pool:
                trees = (making / name for name in _NAMES)
                list(pool.map(_debootstrap, trees, (_MAIN, _UPDATED)))
    return Trees(first, second, "Debian 12, minbase")


def program_tree() -> Path:
    """Return a Debian tree with programs, made now if it is not there yet.

    Raises:
        subprocess.CalledProcessError: mmdebstrap failed or took too long.
        OSError: there is no mmdebstrap, or no room.

    """
    contents = sha256(repr((_PROGRAMS, _DOWNLOAD)).encode()).hexdigest()[:8]
    home = cache_directory() / f"{_SUITE}-{platform.machine()}-programs-{contents}"
    with made_once(home) as making:
        if making is not None:
            _debootstrap(
                making / _NAMES[0],
                _MAIN,
                f"--include={','.join(_PROGRAMS)}",
                f"--customize-hook={_DOWNLOAD}",
                "--skip=cleanup/apt",
            )
    return home / _NAMES[0]


def booting_tree() -> Path:
    """Return a Debian tree with a kernel, systemd and what rootman needs, made now if need be.

    Raises:
        subprocess.CalledProcessError: mmdebstrap failed or took too long.
        OSError: there is no mmdebstrap, or no room.

    """
    contents = sha256(repr(_BOOTING_OPTIONS).encode()).hexdigest()[:8]
    home = cache_directory() / f"{_SUITE}-{platform.machine()}-booting-{contents}"
    with made_once(home) as making:
        if making is not None:
            _debootstrap(making / _NAMES[0], _MAIN, *_BOOTING_OPTIONS, timeout=_LONG)
    return home / _NAMES[0]


def update_trees() -> Trees:
    """Return Debian 12 with perl and python3, and its update, made now if need be.

    Device nodes are in neither: not every peer can carry them.

    Raises:
        subprocess.CalledProcessError: mmdebstrap failed or took too long.
        OSError: there is no mmdebstrap, or no room.

    """
    return _pair("Debian 12, updated", _SOME, _MAIN, _UPDATED)


def next_trees() -> Trees:
    """Return Debian 12 and Debian 13 with gcc, git, perl and more, made now if need be.

    Half a gigabyte each. As ``update_trees``.
    """
    return _pair("Debian 12 to 13", _MANY, _UPDATED, _NEXT)


def _pair(origin: str, packages: Sequence[str], *suites: Sequence[str]) -> Trees:
    """Return two trees with ``packages`` from ``suites``."""
    contents = sha256(repr((packages, suites)).encode()).hexdigest()[:8]
    home = cache_directory() / f"{suites[1][0]}-{platform.machine()}-pair-{contents}"
    with made_once(home) as making:
        if making is not None:
            for name, own in zip(_NAMES, suites, strict=True):
                _debootstrap(making / name, own, f"--include={','.join(packages)}")
                for node in (making / name / "dev").iterdir():
                    remove(node) if node.is_dir() else node.unlink()
    return Trees(home / _NAMES[0], home / _NAMES[1], origin)


def usr_trees() -> Trees:
    """Return two trees of this machine's /usr, made now if they are not there yet."""
    home = cache_directory() / "usr"
    first, second = (home / name for name in _NAMES)
    with made_once(home) as making:
        if making is not None:
            _copy_some(Path("/usr"), making / _NAMES[0] / "usr")
            run("cp", "-a", str(making / _NAMES[0]), str(making / _NAMES[1]))
            _change_some(making / _NAMES[1])
    return Trees(first, second, "a part of this machine's /usr")


def any_trees(tell: Callable[[str], None]) -> Trees:
    """Return two Debian trees, or else two of /usr; ``tell`` is told why."""
    try:
        return debian_trees()
    except (OSError, subprocess.SubprocessError) as error:
        reason = "".join(getattr(error, "__notes__", ())) or str(error)
        tell(f"no Debian trees can be made here: {reason.splitlines()[-1]}")
    return usr_trees()


@contextmanager
def made_once(home: Path) -> Iterator[Path | None]:
    """Give a directory to fill, which becomes ``home``; None where that is there already.

    One process at a time fills it.
    """
    home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if home.exists():
            yield None
            return
        making = Path(tempfile.mkdtemp(prefix=f"{home.name}.", dir=home.parent))
        try:
            yield making
            making.chmod(0o755)
            making.rename(home)
        finally:
            remove(making)


def _debootstrap(tree: Path, suites: Sequence[str], *more: str, timeout: int = _TIMEOUT) -> None:
    suite = suites[0]
    lines = [f"deb {_mirror(one)} {one} main" for one in suites]
    options = ["--mode=root", "--variant=minbase", "--quiet", *_proxies(), *more]
    # Ended by a signal that it can catch: it has things mounted in the tree.
    patience = ["timeout", "--kill-after=20", str(timeout)]
    try:
        run(*patience, "mmdebstrap", *options, suite, str(tree), *lines)
    except subprocess.CalledProcessError as error:
        if error.returncode == _TOO_LONG:
            error.__notes__ = [f"mmdebstrap took more than {timeout} s"]
        raise


def _mirror(suite: str) -> str:
    """Return from where this machine gets the suite, or the one of ours that is like it."""
    found: dict[str, str] = {}
    try:
        for line in run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)").splitlines():
            site, _, release = line.partition(" ")
            found.setdefault(release, site)
    except (OSError, subprocess.SubprocessError):
        found = {}
    security = suite.endswith("-security")
    ours = f"{_SUITE}-security" if security else _SUITE
    return found.get(suite) or found.get(ours) or (_SECURITY if security else _ARCHIVE)


def _proxies() -> list[str]:
    """Return what makes the apt within mmdebstrap go the way that this machine's goes."""
    lines = run("apt-config", "dump", "Acquire").splitlines()
    return [f"--aptopt={line}" for line in lines if re.search(r'::Proxy(::\S+)? ".', line)]


def _copy_some(source: Path, target: Path) -> None:
    """Copy what fits of ``source``, whole directories in the order of their names."""
    size = files = 0
    for folder, folders, names in os.walk(source):
        folders.sort()
        copy = target / Path(folder).relative_to(source)
        copy.mkdir(parents=True, exist_ok=True)
        for name in sorted(names):
            path = Path(folder, name)
            status = path.lstat()
            if path.is_symlink() or (path.is_file() and status.st_size <= _LARGEST):
                shutil.copy2(path, copy / name, follow_symlinks=False)
                os.chown(copy / name, status.st_uid, status.st_gid, follow_symlinks=False)
                size += status.st_size
                files += 1
            if size > _MOST_BYTES or files > _MOST_FILES:
                return


def _change_some(tree: Path) -> None:
    """Change, remove and add some files, as an update does."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    for path in files[::60]:
        with path.open("ab") as file:
            file.write(b"updated\n")
    for path in files[7::400]:
        path.unlink()
    for path in files[9::400]:
        path.with_name(f"{path.name}.new").write_text("new\n")
    for path in files[11::400]:
        path.chmod(path.stat().st_mode ^ 0o011)
