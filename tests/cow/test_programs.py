"""Real programs in a mounted Debian: they do their work, and no other tree changes by it.

One mount serves all tests here: the machine that it makes is used by one program after the
other, as a machine is. Each sees that its program did what
it should; when the guard is unmounted the other version is looked at.
"""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.commands import Machine
from tests.cow.guarding import Guard, end, mount, snapshot
from tests.debian_trees import PACKAGES, program_tree
from tests.filesystems import loop_filesystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.debian

_PATIENCE: Final = 120  # seconds until a program hangs
_ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C",
    "DEBIAN_FRONTEND": "noninteractive",
}


# From the cache that the tree was made with, so that no mirror has to be up to date with it.
_INSTALL: Final = "apt-get install --yes --no-install-recommends --no-download"


class Inside:
    """The mounted tree as the root of programs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def attempt(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script of sh in the tree, to the first command that fails."""
        return subprocess.run(
            ("chroot", self.root, "/bin/sh", "-euc", script),
            check=False,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            stdin=subprocess.DEVNULL,
            env=_ENVIRONMENT,
        )

    def run(self, script: str) -> str:
        """Run a script that must succeed; return what it printed."""
        done = self.attempt(script)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


@contextlib.contextmanager
def _bound(root: Path) -> Iterator[None]:
    """Have in the tree what the kernel gives a system, and nothing of this machine's."""
    mounts = (
        ("proc", "-t", "proc"), ("sys", "-t", "sysfs", "-o", "ro"), ("dev", "-t", "devtmpfs"),
        ("tmp", "-t", "tmpfs"),
    )  # fmt: skip
    done = []
    try:
        for name, *options in mounts:
            subprocess.run(("mount", *options, name, root / name), check=True)
            done.append(root / name)
        yield
    finally:
        for point in reversed(done):
            subprocess.run(("umount", "--lazy", point), check=True)


@pytest.fixture(scope="module")
def machine(scratch: Path) -> Iterator[Machine]:
    """Return a device with a Debian, and the same as version 2, which shares every file."""
    with loop_filesystem(scratch, size_mib=4096) as filesystem:
        machine = Machine(filesystem.path)
        machine.run("init", program_tree(), "--version", 1)
        machine.run("init", machine.tree(1), "--version", 2)
        yield machine


@pytest.fixture(scope="module")
def guard(machine: Machine) -> Iterator[Guard]:
    """Guard version 1, in use; at the end version 2 must be what it was."""
    before = snapshot(machine.tree(2))
    guard = mount(
        "--rootfs", machine.store, "mount", tree=machine.tree(1), mnt=machine.home / "mnt"
    )
    try:
        with _bound(guard.mnt):
            yield guard
        guard.unmount()
    finally:
        end(guard)
    after = snapshot(machine.tree(2))
    assert after.keys() == before.keys()
    assert [path for path, was in before.items() if after[path] != was] == []
    assert machine.document("verify", 2)["verdict"] == "pristine"


@pytest.fixture(scope="module")
def inside(guard: Guard) -> Inside:
    return Inside(guard.mnt)


def test_every_package_is_as_it_was_installed(inside: Inside) -> None:
    assert inside.run("dpkg --verify") == ""


def test_apt_installs_and_removes(inside: Inside) -> None:
    inside.run(f"{_INSTALL} {' '.join(PACKAGES)}")
    assert inside.run("hello") == "Hello, world!\n"
    assert inside.run("dpkg --verify; dpkg --audit; getent group crontab").startswith("crontab:")
    assert inside.run("stat -c %a,%G /usr/bin/crontab") == "2755,crontab\n"

    inside.run("apt-get remove --yes hello; apt-get purge --yes cron")

    assert inside.attempt("hello").returncode == 127
    assert inside.run("dpkg --verify; dpkg --audit") == ""
    assert not (inside.root / "usr/sbin/cron").exists()


def test_a_package_is_installed_over_itself(inside: Inside) -> None:
    """All of its sealed files are replaced, by dpkg's way of links and renames."""
    inside.run(f"{_INSTALL} hello")
    inside.run("dpkg --install /var/cache/apt/archives/hello_*.deb")

    assert inside.run("dpkg --verify") == ""


def test_users_are_added_and_get_passwords(inside: Inside) -> None:
    inside.run("useradd --create-home --shell /bin/sh maria; echo maria:secret | chpasswd")
    made = inside.run("su - maria -c 'id -un; pwd; touch made; stat -c %U made'")
    assert made.split() == ["maria", "/home/maria", "maria"]
    assert inside.run("passwd --status maria").split()[:2] == ["maria", "P"]
    inside.run("passwd --lock maria; usermod --append --groups adm maria; pwck --read-only --quiet")
    assert "adm" in inside.run("id -nG maria").split()


def test_dpkg_overrides_a_mode(inside: Inside) -> None:
    """By chown and chmod of the file that is there."""
    inside.run("dpkg-statoverride --update --add root adm 2750 /usr/bin/rsync")

    assert inside.run("stat -c '%a %G' /usr/bin/rsync") == "2750 adm\n"


def test_sed_edits_in_place(inside: Inside) -> None:
    inside.run("sed -i 's/^root:x:0:0:root:/root:x:0:0:edited:/' /etc/passwd")

    assert inside.run("getent passwd root").startswith("root:x:0:0:edited:")
    assert inside.run("stat -c '%a %U' /etc/passwd") == "644 root\n"


def test_rsync_copies_all_there_is(inside: Inside) -> None:
    inside.run("rsync -aHAX /usr/share/doc/ /srv/doc/; rsync -aHAX /etc/ /srv/etc/")

    same = "rsync -aHAXnci --delete /usr/share/doc/ /srv/doc/; rsync -aHAXnci /etc/ /srv/etc/"
    assert inside.run(same) == ""
    inside.run("""
        echo changed >> /srv/doc/git/copyright; chmod 600 /srv/doc/rsync/copyright
        rsync -aHAX --inplace --no-whole-file --ignore-times /srv/doc/ /usr/share/doc/
    """)
    assert inside.run(same) == ""


def test_git_clones_and_collects(inside: Inside) -> None:
    inside.run("""
        git config --global user.email a@b; git config --global user.name a
        git init -q /srv/origin; cd /srv/origin; cp -r /usr/share/doc/g* .
        git add .; git commit -qm one
        for n in 1 2 3; do echo $n >> file; git add file; git commit -qm $n; done
        git clone -q /srv/origin /srv/clone; git clone -q --no-hardlinks /srv/origin /srv/other
        cd /srv/clone; git gc -q --aggressive --prune=now; git fsck --strict
        cd /srv/origin; git gc -q; git fsck --strict
    """)
    assert inside.run("git -C /srv/clone status --porcelain") == ""
    assert inside.run("git -C /srv/clone rev-list --count HEAD") == "4\n"


def test_tar_packs_and_unpacks(inside: Inside) -> None:
    inside.run("""
        tar --xattrs --acls -C /usr -cf /srv/share.tar share/doc share/perl lib/git-core
        mkdir /srv/out; tar --xattrs --acls -C /srv/out -xpf /srv/share.tar
        tar -C /usr --overwrite -xpf /srv/share.tar share/perl
    """)
    assert inside.run("tar -C /srv/out -df /srv/share.tar; tar -C /usr -df /srv/share.tar") == ""


def test_vim_writes(inside: Inside) -> None:
    for option in ("backupcopy=yes", "backupcopy=no"):
        script = f"vim.tiny -Nes -u NONE -c 'set {option} backup' -c '1s/^/# edited\\r/' -c wq"
        inside.run(f"{script} /etc/login.defs")
    assert inside.run("head -2 /etc/login.defs") == "# edited\n# edited\n"


def test_a_c_program_is_compiled_and_runs(inside: Inside) -> None:
    inside.run("""
        mkdir -p /srv/c; cd /srv/c
        printf '#include <stdio.h>\\nint main(void) { puts("compiled"); return 0; }\\n' > a.c
        gcc -O2 -o a a.c; gcc -c a.c; ar rcs lib.a a.o; strip a
    """)
    assert inside.run("/srv/c/a") == "compiled\n"


def test_two_processes_write_to_one_database(inside: Inside) -> None:
    """sqlite3 with its log ahead of it, which they share by mmap."""
    writer = """
        for n in $(seq 60); do
            sqlite3 -cmd '.timeout 60000' /srv/db "insert into t values($n, hex(randomblob(500)))"
        done
    """
    inside.run(f"""
        sqlite3 /srv/db 'pragma journal_mode=wal; create table t(n, text)' >/srv/db.log
        ({writer}) & one=$!; ({writer}) & other=$!
        wait $one; wait $other
    """)
    assert inside.run("sqlite3 /srv/db 'select count(*) from t; pragma integrity_check'") == (
        "120\nok\n"
    )
    inside.run("sqlite3 /srv/db 'pragma wal_checkpoint(truncate); vacuum'")


def test_python_makes_an_environment(inside: Inside) -> None:
    inside.run("python3 -m venv /srv/venv; /srv/venv/bin/pip --version")

    assert inside.run("/srv/venv/bin/python -c 'import sys; print(sys.prefix)'") == "/srv/venv\n"


def test_systemd_makes_its_files(inside: Inside) -> None:
    # 65: it could not do all, and says what; nothing here is to be so.
    done = inside.attempt("systemd-tmpfiles --create --exclude-prefix=/dev")

    assert done.returncode == 0, done.stderr
    assert inside.run("stat -c '%a %U' /var/lib/systemd/coredump /run/lock").split()[0] == "755"


def test_a_locale_is_generated(inside: Inside) -> None:
    inside.run("echo 'en_GB.UTF-8 UTF-8' >> /etc/locale.gen; locale-gen")

    assert "en_GB.utf8" in inside.run("locale -a")


def test_it_all_happened_in_this_tree(inside: Inside, machine: Machine) -> None:
    """Version 1 has what was done, and version 2 nothing of it."""
    inside.run("mkdir /srv/here")

    assert (machine.tree(1) / "srv/here").exists()
    assert list((machine.tree(2) / "srv").iterdir()) == []
