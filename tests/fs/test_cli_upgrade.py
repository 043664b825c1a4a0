"""``rootman upgrade`` and ``rollback``, end to end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rootman.lock import locked
from rootman.store import open_store
from tests.builders import (
    Tree,
    build,
    char,
    differences,
    directory,
    fifo,
    file,
    hardlink,
    rsync_differences,
    snapshot,
    symlink,
)
from tests.commands import ROOTMAN, Machine
from tests.filesystems import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeFs

pytestmark = [pytest.mark.root, pytest.mark.loopfs]

OLD: Tree = {
    "bin/su": file("su", mode=0o4755),
    "bin/both": file("one inode"),
    "bin/other": hardlink("bin/both"),
    "etc/passwd": file("root:x:0:0", uid=1, gid=2),
    "etc/gone": file("goes"),
    "etc/turns": directory(),
    "etc/turns/below": file("goes, too"),
    "dev/null": char(1, 3),
    "lib": symlink("usr/lib"),
    "run/fifo": fifo(),
    "tmp": directory(0o1777),
    "usr/lib/libc.so": file("c" * 100_000, xattrs={"user.note": b"\0\1"}),
    "usr/lib/empty": file(),
    "usr/share/sp ace\nline \udce9": file("odd"),
    "var/sparse": file("end", hole=1 << 20),
}
NEW: Tree = {
    **{path: node for path, node in OLD.items() if not path.startswith(("etc/gone", "etc/turns"))},
    "etc/turns": symlink("/outside"),
    "etc/passwd": file("root:x:0:0", mode=0o600, uid=1, gid=2),
    "usr/lib/libc.so": file("d" * 100_001, xattrs={"user.note": b"\0\2"}),
    "usr/lib/new/deep": file("new"),
    "bin/third": hardlink("bin/both"),
}


def test_install_and_upgrade_give_what_was_published(machine: Machine) -> None:
    machine.install(OLD)
    before = snapshot(machine.tree(1))
    machine.publish(2, NEW)

    machine.run("upgrade", machine.repo)

    assert machine.links == {"current": "olpc.2", "previous": "olpc.1"}
    assert differences(before, snapshot(machine.tree(1))) == []
    assert rsync_differences(machine.source(1), machine.tree(1)) == ""
    assert rsync_differences(machine.source(2), machine.tree(2)) == ""


def test_nothing_keeps_the_filesystem_busy_once_a_command_has_ended(machine: Machine) -> None:
    """It can be unmounted at once: who stands by to thaw it has ended, too."""
    machine.publish(1, OLD)
    machine.publish(2, NEW)
    for arguments in (
        ("init",),
        ("upgrade", machine.release(1)),
        ("upgrade", machine.repo),
        ("rollback",),
        ("publish", machine.source(2), machine.home / "other", "--version", "1"),
    ):
        command = (sys.executable, "-c", _REAPER, ROOTMAN, "--rootfs", machine.store, *arguments)
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)


# Whoever is left by a process that has ended is a child of this one.
_REAPER = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
code = subprocess.call(sys.argv[1:])
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    sys.exit(code)
sys.exit("somebody is left")
"""


def test_the_umask_decides_no_mode(machine: Machine) -> None:
    old = os.umask(0o077)
    try:
        machine.install(OLD, NEW)
    finally:
        os.umask(old)

    assert rsync_differences(machine.source(2), machine.tree(2)) == ""
    assert machine.store.stat().st_mode & 0o777 == 0o755
    assert (machine.repo / "releases").stat().st_mode & 0o777 == 0o755


def test_it_says_what_it_did(machine: Machine) -> None:
    machine.run("init")
    machine.publish(1, OLD)
    machine.publish(2, NEW)
    machine.publish(3, NEW)

    first = machine.run("upgrade", machine.release(1)).lines
    second = machine.run("upgrade", machine.release(2)).lines
    third = machine.run("upgrade", machine.repo).lines
    fourth = machine.run("upgrade", machine.repo).lines

    assert first[0].startswith("nothing -> olpc.1: 24 added, 0 removed, 0 changed; 1.1 MiB fetched")
    assert re.search(r"; current in \d+\.\d\d s$", first[0])
    assert len(first) == 1
    assert second[0].startswith("olpc.1 -> olpc.2: 3 added, 2 removed, 5 changed; 97.7 KiB fetched")
    assert second[1:] == ["to go back: rootman rollback"]
    assert third[0].startswith("olpc.2 -> olpc.3: 0 added, 0 removed, 0 changed; 0 B fetched")
    assert third[1:] == [
        "olpc.1 became the spare, the seed of the next upgrade",
        "to go back: rootman rollback",
    ]
    assert fourth == ["olpc.3 is current already: nothing to do"]


def test_the_document_of_an_upgrade(machine: Machine) -> None:
    machine.install(OLD)
    machine.publish(2, NEW)

    document = machine.document("upgrade", machine.repo)

    assert document.pop("bytes_written") > 0
    assert document.pop("seconds") >= 0
    assert document.pop("plan")[-3:] == [
        "exchange current and previous: version 2 is current",
        "close the stage of version 2",
        "remove downloads that nothing needs",
    ]
    assert document == {
        "name": "olpc", "version": 2, "revision": 0, "tree_name": "olpc.2",
        "was": 1, "was_name": "olpc.1", "dry_run": False, "retired": None, "retired_name": None,
        "bundles": [], "bundles_added": [], "bundles_removed": [],
        "added": 3, "removed": 2, "changed": 5, "restored": 0,
        "fetch_objects": 2, "fetch_bytes": 100_004, "fetched": 100_004,
        "download_bytes": 0, "download_pack_bytes": 0, "left_behind": [], "config": [],
        "not_carried": {"paths": [], "packages": {"added": [], "removed": [], "changed": []}},
        "layered": [], "new_state": [], "state_begins_anew": False,
        "restarts_into": None,
    }  # fmt: skip


def everything(root: Path) -> dict[str, os.stat_result | tuple[int, ...]]:
    """Return lstat of all below ``root``, ctime included, but for access times."""
    found: dict[str, os.stat_result | tuple[int, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in (".", *folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            found[path] = (*status[:7], status.st_mtime_ns, status.st_ctime_ns)
    return found


def test_a_dry_run_changes_nothing(machine: Machine) -> None:
    machine.install(OLD, NEW)
    machine.publish(3, OLD)
    before = everything(machine.home)

    done = machine.run("upgrade", machine.repo, "--dry-run")
    document = machine.document("upgrade", machine.repo, "--dry-run")

    assert everything(machine.home) == before
    assert done.lines[0] == "olpc.2 -> olpc.3 would take these steps:"
    assert "  seal version 3" in done.lines
    assert "  make olpc.1, which no link names then, the spare" in done.lines
    assert done.lines[-2] == "97.7 KiB to fetch and to write"
    assert done.lines[-1] == "nothing was changed"
    assert document["dry_run"] is True
    assert document["bytes_written"] is None
    assert document["retired"] == 1


def test_a_dry_run_needs_no_disk_that_can_be_written(make_fs: MakeFs) -> None:
    filesystem = make_fs("ext4", size_mib=64)
    machine = Machine(filesystem.path)
    machine.install(OLD)
    machine.publish(2, NEW)
    run("mount", "-o", "remount,ro", str(filesystem.path))

    machine.run("upgrade", machine.repo, "--dry-run")
    line = machine.refused("upgrade", machine.repo, code=7)

    assert line.startswith(f"rootman: upgrade: {machine.store}/.rootman/lock: Read-only file")
    assert line.endswith(" (hint: make the store's disk writable)")


def test_a_dry_run_tells_of_what_was_interrupted_and_leaves_it(machine: Machine) -> None:
    machine.install(OLD)
    machine.publish(2, NEW)
    litter = machine.store / ".rootman/staging/link"
    litter.symlink_to("olpc.1")

    done = machine.attempt("upgrade", machine.repo, "--dry-run")

    assert done.code == 0
    assert done.err == (
        "rootman: upgrade: note: an earlier command was interrupted;"
        " it would be recovered from first\n"
    )
    assert litter.is_symlink()


def test_an_older_release_is_refused_unless_it_is_asked_for(machine: Machine) -> None:
    machine.run("init")
    machine.publish(1, OLD)
    machine.publish(2, NEW)
    machine.run("upgrade", machine.release(2))

    line = machine.refused("upgrade", machine.release(1), code=4)
    machine.run("upgrade", machine.release(1), "--allow-downgrade")

    assert line == (
        "rootman: upgrade: olpc.1 is not newer than olpc.2, which is current"
        " (hint: --allow-downgrade, or rootman rollback)"
    )
    assert machine.links == {"current": "olpc.1", "previous": "olpc.2"}


def test_a_release_that_is_here_already_is_switched_to(machine: Machine) -> None:
    machine.install(OLD, NEW)
    machine.run("rollback")

    lines = machine.run("upgrade", machine.repo).lines

    assert lines[0].startswith("olpc.1 -> olpc.2: it was here already; current in ")
    assert machine.links == {"current": "olpc.2", "previous": "olpc.1"}


def test_what_is_no_release_is_refused(machine: Machine) -> None:
    machine.install(OLD)
    build(machine.home / "other", {"file": file("x")})

    missing = machine.refused("upgrade", "nowhere", code=8)
    folder = machine.refused("upgrade", "other", code=3)
    plain = machine.refused("upgrade", "other/file", code=3)
    number = machine.refused("upgrade", machine.release(7), code=8)

    assert missing == "rootman: upgrade: nowhere: no such file or directory"
    assert folder.startswith("rootman: upgrade: other: neither a repository nor a release in one")
    assert plain.startswith("rootman: upgrade: other/file: neither a repository nor")
    assert number == f"rootman: upgrade: {machine.release(7)}: no such file or directory"
    assert machine.links == {"current": "olpc.1"}


def test_other_hardware_is_refused(machine: Machine) -> None:
    machine.run("init", "--compatible", "xo-1")
    build(machine.source(1), OLD)
    machine.run("publish", machine.source(1), machine.repo, "--version", 1, "--compatible", "xo-4")

    line = machine.refused("upgrade", machine.repo, code=4)

    assert "olpc.1 is for xo-4; this device is " in line
    assert line.endswith(" (hint: if that is wrong: rootman init --compatible NAME)")


@contextmanager
def held(store: Path) -> Iterator[None]:
    """Hold the store's lock in this process."""
    with open_store(str(store)) as opened, locked(opened):
        yield


@pytest.mark.parametrize("arguments", ["upgrade REPO", "upgrade REPO --dry-run", "rollback"])
def test_a_second_rootman_is_refused_and_the_first_is_named(
    machine: Machine, arguments: str
) -> None:
    machine.install(OLD)
    machine.publish(2, NEW)

    with held(machine.store):
        line = machine.refused(*arguments.replace("REPO", str(machine.repo)).split(), code=5)

    name = arguments.split(maxsplit=1)[0]
    assert line.startswith(f"rootman: {name}: {machine.store} is in use by ")
    assert line.endswith(f" (process {os.getpid()}) (hint: wait for it to end)")


def test_a_damaged_object_is_refused_and_the_store_is_as_it_was(machine: Machine) -> None:
    """EX-4."""
    machine.install(OLD)
    machine.publish(2, NEW)
    before = snapshot(machine.tree(1))
    for path in (machine.repo / "objects").glob("*/*.zst"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")

    line = machine.refused("upgrade", machine.repo, code=3)

    assert line.startswith("rootman: upgrade: ")
    assert "object " in line
    assert machine.links == {"current": "olpc.1"}
    assert differences(before, snapshot(machine.tree(1))) == []
    assert os.listdir(machine.store / ".rootman/staging") == []


def test_a_full_disk_is_refused_before_anything_is_written(make_fs: MakeFs) -> None:
    machine = Machine(make_fs("ext4", size_mib=32).path)
    machine.install({"a": file("small")})
    build(machine.source(2), {"a": file("small"), "big": replace(file("x"), hole=1 << 30)})
    machine.run("publish", machine.source(2), machine.repo, "--version", 2, "--no-packs")

    line = machine.refused("upgrade", machine.repo, code=6)

    assert line.startswith("rootman: upgrade: this needs 1024.")
    assert line.endswith(" MiB are free (hint: rootman prune)")


def test_two_rollbacks_return_to_the_start(machine: Machine) -> None:
    machine.install(OLD, NEW)
    before = snapshot(machine.store)
    start = machine.links

    first = machine.run("rollback").lines
    between = machine.links
    second = machine.document("rollback")

    assert first[0].startswith("olpc.2 -> olpc.1: current in ")
    assert first[1:] == ["to return to olpc.2: rootman rollback"]
    assert between == {"current": "olpc.1", "previous": "olpc.2"}
    assert machine.links == start
    assert second.pop("seconds") >= 0
    assert second == {
        "name": "olpc", "was": 1, "was_name": "olpc.1", "current": 2, "current_name": "olpc.2",
        "previous": 1, "previous_name": "olpc.1", "restarts_into": None, "left_behind": [],
        "config": [],
    }  # fmt: skip
    ignored = (b".rootman", b"current", b"previous", b".")
    after = snapshot(machine.store)
    for found in (before, after):
        for path in [one for one in found if one.split(b"/")[0] in ignored]:
            del found[path]
    assert differences(before, after) == []


def test_rollback_to_any_version(machine: Machine) -> None:
    machine.install(OLD, NEW)
    machine.run("pin", 1)
    machine.publish(3, OLD)
    machine.run("upgrade", machine.repo)

    machine.run("rollback", "--to", 1)

    assert machine.links == {"current": "olpc.1", "previous": "olpc.3"}
    assert machine.tree(2).is_dir()


def test_a_rollback_that_cannot_be_is_refused(machine: Machine) -> None:
    machine.install(OLD)

    nothing = machine.refused("rollback", code=8)
    missing = machine.refused("rollback", "--to", 9, code=8)
    current = machine.refused("rollback", "--to", 1, code=4)

    assert nothing.startswith("rootman: rollback: there is no previous version to roll back to")
    assert missing == "rootman: rollback: olpc.9: no such tree (hint: there are olpc.1)"
    assert current == "rootman: rollback: olpc.1 is current already: nothing to roll back"


def test_a_failed_upgrade_cleans_up_behind_it(machine: Machine) -> None:
    """TR-3."""
    machine.install(OLD)
    machine.publish(2, NEW)
    shutil.rmtree(machine.repo / "objects")

    machine.refused("upgrade", machine.repo, code=3)

    assert os.listdir(machine.store / ".rootman/staging") == []
    assert json.loads(machine.run("status", "--json").out)["current"] == 1


def test_a_tree_in_use_falls_out_later_and_the_upgrade_succeeds(machine: Machine) -> None:
    """EX-5."""
    machine.install({"usr/x": file("1")}, {"usr/x": file("2")})
    machine.publish(3, {"usr/x": file("3")})

    with subprocess.Popen(["sleep", "1000"], cwd=machine.tree(1) / "usr") as process:
        done = machine.attempt("upgrade", machine.repo)
        process.kill()

    assert done.code == 0
    assert done.err == (
        f"rootman: upgrade: note: olpc.1 is in use by sleep (process {process.pid})"
        f" ({machine.tree(1)}/usr): it stays where it is\n"
    )
    assert machine.links == {"current": "olpc.3", "previous": "olpc.2"}
    assert machine.tree(1).is_dir()


def test_a_killed_upgrade_is_finished_or_undone_by_the_next_command(machine: Machine) -> None:
    """S4, at whatever moment the kill comes."""
    machine.install({f"file.{number}": file(str(number)) for number in range(3000)})
    machine.publish(2, {f"file.{number}": file(str(number + 1)) for number in range(3000)})
    for delay in (0.1, 0.2, 0.3, 0.4, 0.5):
        with subprocess.Popen(
            ["timeout", "--signal=KILL", str(delay), *_upgrade(machine)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ):
            pass

        found = json.loads(machine.attempt("status", "--json").out)

        assert found["current"] in (1, 2)
        assert found["staged"] == []
        assert machine.document("verify")["verdict"] == "pristine"


def _upgrade(machine: Machine) -> list[str]:
    from tests.commands import ROOTMAN

    return [str(ROOTMAN), "--rootfs", str(machine.store), "upgrade", str(machine.repo)]
