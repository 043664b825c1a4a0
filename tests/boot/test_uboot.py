"""U-Boot chooses as the boot state says: its script in many states, by U-Boot on an ARM board.

``qemu-system-aarch64`` runs the U-Boot that Debian builds for it; all stores are on one disk.
"""

from __future__ import annotations

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


def expected(case: Case) -> Choice:
    """Return what boots where trees that nothing names cannot be found (BT-31)."""
    layout, boot = case
    if boot.once in layout.trees:
        return choose(boot, layout.links, layout.trees)
    named = {layout.links.current, layout.links.previous, boot.rescue} & layout.trees
    return choose(boot, layout.links, named)


def test_u_boot_chooses_the_same(memory: Path) -> None:
    """BT-30 BT-31, BT-2 BT-5 BT-6 BT-7: and the boot state is what it is to become."""
    for case, uboot in zip(STORES, Image(memory, STORES).choose(), strict=True):
        choice = expected(case)
        assert uboot.which == (f"rootman.tree={choice.tree}" if choice.tree else ""), case
        assert uboot.reason == (choice.reason or "").removesuffix(" resort"), case
        assert uboot.after == choice.after, case


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
    """BT-30 BT-25: nothing is written, and nothing boots once."""
    some = [(layout, boot) for layout, boot in STORES if layout.trees and layout.links.current][::9]
    for (layout, boot), uboot in zip(some, Image(memory, some, lost=True).choose(), strict=True):
        choice = expected((layout, replace(boot, once="")))
        assert uboot.which == f"rootman.tree={choice.tree} rootman.count"
        assert uboot.after == boot


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
    """BT-30 BT-8: from the disk as it is after the command, with the attempt counted there."""
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
    said, state = run_uboot(filesystem.image, tmp_path, "store/.rootman/boot/grubenv")

    assert "rootman: rootman.tree=olpc.2 current\n" in said
    assert state == BootState("olpc.2", 2)
    # There is no kernel in it, and that is said.
    assert "rootman: no tree in /store can be loaded" in said


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
