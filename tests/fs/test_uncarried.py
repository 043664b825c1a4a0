"""What an upgrade does not carry over is told before it does anything."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from rootman import survey, uncarried
from rootman.layer.managers import Packages
from rootman.merge import local
from rootman.uncarried import Uncarried
from rootman.upgrade import Options
from tests.builders import TIME, Tree, directory, file, symlink
from tests.fault.faulty import Hasty
from tests.stores import Lab, Listener

if TYPE_CHECKING:
    from pathlib import Path

    from rootman.upgrade import UpgradeResult
    from tests.commands import Machine

INFO: Final = "var/lib/dpkg/info"
V1: Final[Tree] = {
    "bin": symlink("usr/bin"),
    "etc/issue": file("1"),
    f"{INFO}/gone.list": file("/usr/bin/gone\n"),
    f"{INFO}/gone.md5sums": file("x"),
    f"{INFO}/tool.list": file("/usr/bin/tool\n"),
    "usr/bin/gone": file("gone", 0o755),
    "usr/bin/tool": file("1", 0o755),
    "usr/share/a/b": file("b"),
    "var/log": directory(),
}
V2: Final[Tree] = {**V1, "usr/bin/tool": file("2", 0o755)}
V3: Final[Tree] = {**V1, "usr/bin/tool": file("3", 0o755)}
DRY: Final = Options(dry_run=True)


@pytest.fixture
def lab(tmp_on_ext4: Path) -> Lab:
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    for version, tree in enumerate((V1, V2, V3), 1):
        lab.publish(version, tree, config=("/etc",))
    lab.init()
    lab.upgrade(1)
    return lab


def put(path: Path, text: str) -> None:
    """Replace a file, as the guard and dpkg do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name("put")
    new.write_text(text)
    os.rename(new, path)


def install(tree: Path) -> None:
    """Do what installing ``new``, which needs ``lib``, and removing ``gone`` leaves."""
    put(tree / "usr/bin/new", "new")
    put(tree / "usr/lib/lib", "lib")
    put(tree / f"{INFO}/new.list", "/usr/bin/new\n")
    put(tree / f"{INFO}/lib:amd64.list", "/usr/lib/lib\n")
    put(tree / "var/lib/apt/extended_states", "Package: lib\nAuto-Installed: 1\n")
    for path in ("usr/bin/gone", f"{INFO}/gone.md5sums"):
        (tree / path).unlink()
    put(tree / f"{INFO}/gone.list", "/etc/gone\n")


class _InOrder(Listener):
    """A reporter that remembers what it was warned of among the steps."""

    def warn(self, text: str) -> None:
        self.steps.append(text)


def told(result: UpgradeResult) -> dict[str, str]:
    assert result.uncarried is not None
    return {one.path.decode(): one.kind for one in result.uncarried.paths}


def test_what_nobody_changed_is_not_looked_at(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """LY-1: but for the root, whose own time went when it got its name."""
    looked = []
    look_at = survey.look_at

    def looking(fd: int) -> tuple[bytes, int]:
        looked.append(os.readlink(f"/proc/self/fd/{fd}"))
        return look_at(fd)

    monkeypatch.setattr(local, "look_at", looking)
    monkeypatch.setattr(uncarried, "look_closer", lambda *_: pytest.fail("it was looked at"))

    result = lab.upgrade(2)

    assert result.uncarried == Uncarried()
    tree = str(lab.tree(1))
    assert {one for one in looked if not one.startswith(f"{tree}/etc")} == {tree}
    assert not lab.heard.warnings


@pytest.mark.parametrize("version", [2, 3])
def test_local_changes_are_told_before_the_first_step(lab: Lab, version: int) -> None:
    """LY-1: whether the seed is that tree, or the spare."""
    for number in range(2, version):
        lab.upgrade(number)
    tree = lab.tree(version - 1)
    install(tree)
    (tree / "usr/share/a").chmod(0o700)
    put(tree / "etc/issue", "mine")
    os.utime(tree / "var/log")
    shutil.rmtree(tree / "usr/share/a")
    lab.heard = _InOrder()

    result = lab.upgrade(version)

    assert told(result) == {
        "usr/bin/gone": "removed",
        "usr/bin/new": "added",
        "usr/lib": "added",
        "usr/share/a": "removed",
        "usr/share/a/b": "removed",
        f"{INFO}/gone.list": "changed",
        f"{INFO}/gone.md5sums": "removed",
        f"{INFO}/lib:amd64.list": "added",
        f"{INFO}/new.list": "added",
        "var/lib/apt": "added",
    }
    assert result.uncarried is not None
    assert result.uncarried.packages == Packages(("lib", "new"), ("gone",))
    assert lab.heard.steps[0] == (
        "not carried over: 10 paths changed outside of configuration: usr/bin/gone, "
        "usr/bin/new, usr/lib, ...; packages installed here: new (rootman layer add new "
        "keeps them); packages removed here: gone"
    )
    assert told(lab.upgrade(1, options=Options(allow_downgrade=True, dry_run=True))) == {}


def test_a_dry_run_tells_and_does_not_warn(lab: Lab) -> None:
    """LY-1."""
    install(lab.tree(1))

    result = lab.upgrade(2, options=DRY)

    assert told(result)["usr/bin/new"] == "added"
    assert not lab.heard.warnings


def test_a_switch_to_what_is_here_carries_nothing(lab: Lab) -> None:
    """LY-1."""
    lab.upgrade(2)
    lab.rollback()
    put(lab.tree(1) / "usr/bin/new", "new")

    assert told(lab.upgrade(2)) == {"usr/bin/new": "added"}
    assert len(lab.heard.warnings) == 1


def test_what_cannot_be_found_out_stops_no_upgrade(lab: Lab) -> None:
    """LY-1."""
    place = lab.tree(1) / "usr/share/a"
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        lab.upgrade(2, options=DRY)
    finally:
        subprocess.run(["umount", place], check=True)

    (warning,) = lab.heard.warnings
    assert warning.startswith(
        "what is not carried over is not known: usr/share/a: another filesystem begins here"
    )


def test_a_first_installation_has_nothing_to_carry(tmp_on_ext4: Path) -> None:
    """LY-1."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    lab.publish(1, V1)
    lab.init()

    assert lab.upgrade(1).uncarried == Uncarried()


def test_an_overlay_is_told(tmp_on_ext4: Path) -> None:
    """BT-43: what was changed there is in no tree; one that was never used is nothing to tell."""
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    for version, tree in ((1, V1), (2, V2)):
        lab.publish(version, tree)
    lab.init()
    lab.upgrade(1)
    upper = lab.control / "overlay/1/upper"
    upper.mkdir(parents=True)
    lab.upgrade(2, options=DRY)
    assert lab.heard.warnings == []
    (upper / "etc").mkdir()

    lab.upgrade(2, options=DRY)

    (warning,) = lab.heard.warnings
    assert warning.startswith("what was changed in olpc.1 below an overlay is not carried over")


def test_people_and_scripts_are_told(machine: Machine) -> None:
    """LY-1, EX-5: on standard error before it is done, and by --dry-run and --json."""
    machine.install(V1)
    machine.publish(2, V2)
    install(machine.tree(1))
    os.utime(machine.tree(1), ns=(TIME, TIME))
    first = "not carried over: 8 paths changed outside of configuration: usr/bin/gone, usr/bin/new"

    rehearsed = machine.run("upgrade", machine.release(2), "--dry-run")
    document = machine.document("upgrade", machine.release(2), "--dry-run")
    done = machine.attempt("upgrade", machine.release(2))

    assert [one for one in rehearsed.lines if one.startswith(first)]
    assert document["not_carried"]["packages"] == {
        "added": ["lib", "new"], "removed": ["gone"], "changed": [],
    }  # fmt: skip
    assert {"path": "usr/bin/new", "kind": "added", "what": []} in document["not_carried"]["paths"]
    assert done.code == 0
    assert done.err.startswith(f"rootman: upgrade: note: {first}")
    assert len(done.err.splitlines()) == 1
