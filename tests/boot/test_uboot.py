"""U-Boot chooses as the boot state says: its script in many states, by U-Boot on an ARM board.

``qemu-system-aarch64`` runs the U-Boot that Debian builds for it; all stores are on one disk.
"""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest

from rootman.boot.block import BootState
from rootman.boot.choice import Choice, Links, choose, settle
from rootman.boot.uboot import script_image, script_in
from tests.boot.states import ODD, Layout, cases
from tests.boot.uboot import DATA, Image, run_uboot
from tests.builders import build, directory, file
from tests.commands import Machine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.boot.states import Case
    from tests.conftest import MakeFs

pytestmark = [pytest.mark.loopfs, pytest.mark.loaders]

# An emulated board takes a moment for each, so a part of them that is always the same.
STORES = [*Random(0).sample(cases("olpc.2", "olpc.7"), 240), *ODD]
REVISIONS = [
    (Layout(frozenset({"olpc.2", "olpc.7", "olpc.7.1"}), links), boot)
    for links in (Links("olpc.7.1", "olpc.7"), Links("olpc.2", "olpc.7"), Links("olpc.7", "olpc.2"))
    for boot in (
        BootState(), BootState("olpc.7.1", 2), BootState("olpc.7.1", 0), BootState("olpc.7", 1),
        BootState(bad=("olpc.7", "olpc.7.1")), BootState(bad=("olpc.2",)),
        BootState(once="olpc.7.1"), BootState(rescue="olpc.7", bad=("olpc.2", "olpc.7.1")),
    )
]  # fmt: skip
# The counter of U-Boot, the limit that its owner has set, and the one in the boot state; where one
# of them is none, the others are nothing.
COUNTERS = [
    ("", "", 0), ("3", "3", 3), ("4", "3", 3), ("10", "3", 3), ("4", "3", 0), ("4", "", 3),
    ("4", "0", 3), ("", "3", 3), ("4", "x", 3), ("x", "3", 3), ("1", "1", 1), ("20", "3", 100),
    ("4", "3", 3),
]  # fmt: skip


def counted(stores: Sequence[Case]) -> list[tuple[Case, tuple[str, str]]]:
    """Return the stores, each with a limit in its boot state, and what U-Boot counts and allows."""
    return [
        ((layout, replace(boot, limit=limit if boot.pending else 0)), (count, allowed))
        for (layout, boot), (count, allowed, limit) in zip(
            stores, itertools.cycle(COUNTERS), strict=False
        )
    ]


def told(counter: tuple[str, str]) -> str:
    """Return what the kernel is told of a counter."""
    count, allowed = counter
    is_counting = count.isdigit() and allowed.isdigit() and allowed != "0"
    return f"rootman.bootcount={count} rootman.bootlimit={allowed}" if is_counting else ""


def expected(case: Case, counter: tuple[str, str] = ("", "")) -> Choice:
    """Return what boots where trees that nothing names cannot be found (BT-31)."""
    layout, boot = case
    count = int(counter[0]) if told(counter) else 0
    if boot.once in layout.trees:
        return choose(boot, layout.links, layout.trees, count)
    named = {layout.links.current, layout.links.previous, boot.rescue} & layout.trees
    return choose(boot, layout.links, named, count)


def test_u_boot_chooses_the_same(memory: Path) -> None:
    """BT-30 BT-31 BT-32, BT-2 BT-5 BT-6 BT-7: and the boot state is what it is to become."""
    check_choice(memory, STORES)


def check_choice(place: Path, some: Sequence[Case], change: tuple[str, str] = ("", "")) -> None:
    """Assert that U-Boot chooses right, and counts anew where nothing is on trial (BT-33)."""
    stores, counters = zip(*counted(some), strict=True)
    found = Image(place, stores, counters=counters, change=change).choose()
    for case, counter, uboot in zip(stores, counters, found, strict=True):
        choice = expected(case, counter)
        assert uboot.which == (f"rootman.tree={choice.tree}" if choice.tree else ""), case
        assert uboot.reason == (choice.reason or "").removesuffix(" resort"), case
        assert uboot.after == choice.after, case
        assert uboot.told == told(counter)
        assert uboot.is_reset == bool(uboot.told and not uboot.after.pending), case


def test_of_several_trees_of_a_version_the_initramfs_chooses(memory: Path) -> None:
    """BT-9 BT-31: what U-Boot leaves open is not counted by it."""
    for (layout, boot), uboot in zip(REVISIONS, Image(memory, REVISIONS).choose(), strict=True):
        if uboot.reason in ("once", "rescue"):
            assert uboot.which == f"rootman.tree={boot.once or boot.rescue}"
            continue
        assert uboot.which in ("rootman.version=olpc.7", "rootman.tree=olpc.2")
        named = {layout.links.current, layout.links.previous, "olpc.7", "olpc.7.1"}
        fit = named - set(settle(boot).bad)
        assert (uboot.reason == "last") == (not fit)
        fit = fit or named
        version = uboot.which.partition("=")[2]
        assert any(one == version or one.startswith(f"{version}.") for one in fit)
        assert uboot.after == settle(boot)


def test_where_the_boot_state_is_not_where_it_was_the_initramfs_counts(memory: Path) -> None:
    """BT-30 BT-32 BT-33 BT-25: nothing is written, and nothing boots once.

    What U-Boot has counted counts, and goes on until the boot state says that nothing is on trial.
    """
    check_lost(memory, [case for case in STORES if case[0].links.current][::3])


def check_lost(place: Path, some: Sequence[Case], change: tuple[str, str] = ("", "")) -> None:
    """Assert that U-Boot chooses right where it can write nothing."""
    stores, counters = zip(*counted(some), strict=True)
    found = Image(place, stores, counters=counters, lost=True, change=change).choose()
    for (layout, boot), counter, uboot in zip(stores, counters, found, strict=True):
        choice = expected((layout, replace(boot, once="")), counter)
        assert uboot.which == f"rootman.tree={choice.tree} rootman.count"
        assert uboot.after == boot
        assert uboot.told == told(counter)
        assert uboot.is_reset == bool(uboot.told and not boot.pending)


def test_what_does_not_arrive_on_the_disk_is_for_the_initramfs(memory: Path) -> None:
    """BT-30 BT-32: what was chosen before that showed is forgotten, also for once."""
    some = [case for case in STORES if case[0].links.current][::9]
    stores, counters = zip(*counted(some), strict=True)
    found = Image(memory, stores, counters=counters).choose(readonly=True)
    for (layout, boot), counter, uboot in zip(stores, counters, found, strict=True):
        is_kept = expected((layout, boot), counter).after == boot
        choice = expected((layout, replace(boot, once="")), counter)
        assert uboot.which == f"rootman.tree={choice.tree}{'' if is_kept else ' rootman.count'}"
        assert uboot.after == boot
        assert uboot.is_reset == bool(uboot.told and not boot.pending)


# What is wrong: the text, what it becomes, and who sees it.
_USED_UP = "if run rootman_f_is_used_up; then run rootman_f_fail; fi"
MUTANTS = {
    "does not ask its counter": (_USED_UP, "true", check_lost),
    "counts without its owner": ('if test "${bootlimit}" -gt 0', "if true", check_lost),
    "begins anew before that is kept": ('if test -z "${rootman_was}"', "if true", check_lost),
    "never begins anew": ("then bootcount reset;", "then true;", check_choice),
    "takes what another tree counted": ('-n "${rootman_limit}"', '-n ""', check_choice),
}
ON_TRIAL = [
    (Layout(frozenset({"olpc.2", "olpc.7"}), Links(current, previous)), boot)
    for current, previous in (("olpc.7", "olpc.2"), ("olpc.2", "olpc.7"))
    for boot in [BootState("olpc.7", 2)] * len(COUNTERS)
]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_about_the_counter_is_found(memory: Path, name: str) -> None:
    old, new, check = MUTANTS[name]
    assert old in (DATA / "uboot.cmd").read_text()

    with pytest.raises(AssertionError):
        check(memory, ON_TRIAL, (old, new))


def test_the_image_of_a_script_is_what_mkimage_makes(tmp_path: Path) -> None:
    """BT-30: but for the time."""
    text = (DATA / "uboot.cmd").read_text()
    (tmp_path / "script").write_text(text)

    subprocess.run(
        (
            "mkimage", "-A", "arm", "-T", "script", "-C", "none", "-n", "rootman",
            "-d", tmp_path / "script", tmp_path / "image",
        ),
        check=True, capture_output=True, env={"SOURCE_DATE_EPOCH": "0", "PATH": "/usr/bin"},
    )  # fmt: skip

    assert (tmp_path / "image").read_bytes() == script_image(text)
    assert script_in(script_image(text)) == text
    assert script_in(b"DEFAULT mine") is None


def test_u_boot_boots_a_store(make_fs: MakeFs, tmp_path: Path) -> None:
    """BT-30 BT-8 BT-32 BT-33: from the disk as the command leaves it, with the attempt counted."""
    filesystem = make_fs("ext4", size_mib=64)
    machine = Machine(filesystem.path)
    machine.run("init")
    for version in (1, 2):
        source = machine.source(version)
        kernel = {"boot": directory(), "boot/vmlinuz-1": file(f"{version}")}
        build(source, {**kernel, "rootfs": directory()})
        machine.run("boot", "label", source, "--version", version, "--args", "quiet a=b")
        machine.run("publish", source, machine.repo, "--version", version)
    machine.run("upgrade", machine.release(1))
    (filesystem.path / "boot").mkdir()

    assert "written" in machine.run("boot", "install-uboot", filesystem.path / "boot").out
    machine.run("upgrade", machine.release(2))
    assert "as it is to be" in machine.run("boot", "install-uboot", filesystem.path / "boot").out
    on_a_board_that_counts(filesystem.path / "boot/boot.scr")
    said, state = run_uboot(filesystem.image, tmp_path, "store/.rootman/boot/grubenv")

    assert "rootman: rootman.tree=olpc.2 current\n" in said
    assert state == BootState("olpc.2", 2)
    assert "rootman.tree=olpc.2 rootman.bootcount=2 rootman.bootlimit=3 quiet a=b\n" in said
    assert "set altbootcmd to: run bootcmd\n" in said
    # There is no kernel in it, and that is said.
    assert "rootman: no tree in /store can be loaded" in said


def on_a_board_that_counts(path: Path) -> None:
    """Have a script find the variables of a counter, and show what it would tell the kernel."""
    text = script_in(path.read_bytes())
    assert text is not None
    first, end, rest = text.partition("echo rootman: no tree")
    changed = f"setenv bootcount 2\nsetenv bootlimit 3\n{first}printenv bootargs\n{end}{rest}"
    path.write_bytes(script_image(changed))
    for option in ("-f", "-u"):
        subprocess.run(("fsfreeze", option, path.parent), check=True)


def test_what_u_boot_cannot_do_is_refused(make_fs: MakeFs, tmp_path: Path) -> None:
    """BT-30."""
    filesystem = make_fs("xfs", size_mib=320)
    machine = Machine(filesystem.path)
    machine.run("init")
    (filesystem.path / "boot").mkdir()
    command = ("boot", "install-uboot", filesystem.path / "boot")

    assert "it is on xfs" in machine.refused(*command, code=4)
    (filesystem.path / "boot/boot.scr").write_text("mine")
    assert "is not rootman's" in machine.refused(*command, code=4)
    assert "no such directory" in machine.refused(*command[:2], tmp_path / "none", code=8)
