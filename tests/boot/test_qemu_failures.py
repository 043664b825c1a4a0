"""Real boots where something is wrong: the machine ends on a tree that works, and says why.

A version that fails goes away by itself, after its attempts; a store that somebody damaged
boots at once.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from rootman.boot.trial import ATTEMPTS
from tests.boot.disks import ROOT, copy_disk, opened
from tests.boot.qemu import Machine
from tests.boot.system import (
    BAD,
    ENDING,
    KERNEL_ARGS,
    PANICS,
    ROOTLESS,
    UNHEALTHY,
    booted,
    kernel_of,
    on_host,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.debian, pytest.mark.loopfs]
# What the console says of each attempt.
SIGNS: Final = {
    PANICS: "VFS: Unable to mount root fs",
    ROOTLESS: "Gave up waiting for root file system device",
    ENDING: "Attempted to kill init",
    UNHEALTHY: "failed: required /etc/rootman/health.d/required.d/50-fails",
}


@pytest.mark.parametrize("version", BAD)
def test_a_version_that_fails_goes_away_by_itself(system: Path, disk: Path, version: int) -> None:
    """BT-4 BT-6 BT-7 BT-13 BT-15: after its attempts the machine is where it was, and says why."""
    copy_disk(system, disk)
    with opened(disk) as root:
        on_host(root, "upgrade", root / f"{version}.rootman")
    with Machine(disk) as machine:
        assert booted(machine) == ("olpc.1", "of the loader", "ro")
        assert machine.boots == ATTEMPTS + 1
        assert machine.said.count(f"rootman: olpc.{version} (current)\n") == ATTEMPTS
        assert machine.said.count(SIGNS[version]) == ATTEMPTS
        if version == UNHEALTHY:
            assert machine.said.count("50-fails: no answer in 5 s") == ATTEMPTS - 1
        status = machine.run("rootman boot status")
        assert "olpc.1 runs\nolpc.1 boots next" in status
        assert f"olpc.{version}  bad" in status
        assert machine.try_run(f"rootman upgrade /run/rootman/disk/{version}.rootman")[0] != 0


@dataclass(frozen=True, slots=True)
class Damage:
    """What somebody does to a store with versions 1 and 2, of which 2 is current."""

    do: Callable[[Path], None]
    boots: tuple[str, str]
    """Which tree, and why."""
    said: str
    """What ``rootman status`` says of it."""


def _cut_current(store: Path) -> None:
    (store / "current").unlink()


def _cut_previous(store: Path) -> None:
    (store / "previous").unlink()


def _cut_links(store: Path) -> None:
    _cut_current(store)
    _cut_previous(store)


def _lose_links(store: Path) -> None:
    _cut_links(store)
    for link in ("current", "previous"):
        (store / link).symlink_to("olpc.9")


def _damage_block(store: Path) -> None:
    _cut_links(store)
    (store / ".rootman/boot/grubenv").write_bytes(b"\xff" * 1024)


def _remove_tree(store: Path) -> None:
    # Its record is left.
    shutil.rmtree(store / "olpc.2")


DAMAGES: Final = (
    Damage(_cut_current, ("olpc.1", "previous"), "no tree is current"),
    Damage(_cut_previous, ("olpc.2", "current"), ""),
    Damage(_damage_block, ("olpc.2", "newest"), "the boot state"),
    Damage(_lose_links, ("olpc.2", "newest"), "current -> olpc.9 leads to no tree"),
    Damage(_remove_tree, ("olpc.1", "previous"), "current -> olpc.2 leads to no tree"),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.do.__name__.lstrip("_"))
def test_a_damaged_store_boots(system: Path, disk: Path, damage: Damage) -> None:
    """BT-2 BT-4 BT-5: the first boot works; what is wrong is said, and the way out of it is one."""
    copy_disk(system, disk)
    with opened(disk) as root:
        on_host(root, "upgrade", root / "2.rootman")
        on_host(root, "boot", "mark-good", "2")
        damage.do(root / "rootfs")
    tree, why = damage.boots
    with Machine(disk) as machine:
        assert booted(machine) == (tree, "of the loader", "ro")
        assert machine.boots == 1
        assert f"rootman: {tree} ({why})\n" in machine.said
        status = machine.run("rootman status")
    assert damage.said in status
    with opened(disk) as root:
        for way_out in re.findall(r"\(hint: rootman (.*)\)", status):
            on_host(root, *way_out.split())
        left = json.loads(on_host(root, "status", "--json"))["problems"]
    assert [one for one in left if not one.endswith("(hint: the next upgrade makes it anew)")] == []


def test_where_nothing_boots_there_is_help(system: Path, disk: Path) -> None:
    """BT-40 BT-45: a kernel of the firmware, with a current tree and a store that are gone."""
    copy_disk(system, disk)
    with opened(disk) as root:
        on_host(root, "upgrade", root / "2.rootman")
        linux, initrd = kernel_of(root / "rootfs/olpc.1", disk.parent)
        shutil.rmtree(root / "rootfs/olpc.2")
        (root / "rootfs").rename(root / "elsewhere")
    append = f"{KERNEL_ARGS} root={ROOT} rootman.mode=ro".replace("panic=1 ", "")
    options = ("-kernel", str(linux), "-initrd", str(initrd), "-append", append)
    with Machine(disk, *options) as machine:
        machine.wait("^rootman: nothing boots: there is no store at /run/rootman/disk/rootfs")
        machine.wait(r"\(initramfs\)")
        machine.type("mv /run/rootman/disk/elsewhere /run/rootman/disk/rootfs; exit")
        assert booted(machine) == ("olpc.1", "previous", "ro")
