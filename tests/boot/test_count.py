"""What the initramfs does for a loader that counts nothing (``rootman.count``)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rootman.boot.block import BootState, serialise_block
from rootman.boot.initramfs import install_initramfs
from rootman.fsops import RealFs
from tests.boot.shells import SHELLS
from tests.boot.states import read_block
from tests.boot.test_initramfs import Device

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.loopfs
OPTIONS = "rootman.tree=olpc.2 rootman.count rootman.mode=ro"


@pytest.fixture(params=SHELLS)
def device(tmp_on_ext4: Path, request: pytest.FixtureRequest) -> Device:
    return Device(tmp_on_ext4, request.param)


# The boot state before, the tree that boots and why, the boot state afterwards.
CASES = (
    (BootState("olpc.2", 2), "olpc.2", "of the loader", BootState("olpc.2", 1)),
    (BootState("olpc.2", 1), "olpc.2", "of the loader", BootState("olpc.2", 0)),
    # The last attempt is over: what the loader has loaded is not what boots.
    (BootState("olpc.2", 0), "olpc.1", "previous", BootState(bad=("olpc.2",))),
    (BootState(bad=("olpc.2",)), "olpc.1", "previous", BootState(bad=("olpc.2",))),
    # Another tree boots, so its trial is over (BT-7).
    (BootState("olpc.1", 0), "olpc.2", "of the loader", BootState(bad=("olpc.1",))),
    (BootState(), "olpc.2", "of the loader", BootState()),
    # There is nothing else.
    (
        BootState(bad=("olpc.1", "olpc.2")),
        "olpc.2", "last resort", BootState(bad=("olpc.1", "olpc.2")),
    ),
)  # fmt: skip


def test_the_initramfs_counts_for_the_loader(device: Device) -> None:
    """BT-25 BT-4: so that no tree is tried for ever."""
    block = device.lab.control / "boot/grubenv"
    for before, tree, why, after in CASES:
        block.write_bytes(serialise_block(before))
        said = device.boot(OPTIONS)
        assert device.booted == [tree, why, "ro"]
        assert read_block(block) == after
        is_other = why != "of the loader"
        assert ("rootman: olpc.2 is bad; another is taken" in said.lines) == is_other


def test_the_firmware_has_counted_for_it(device: Device) -> None:
    """BT-32: what never came as far as the initramfs is bad, on the disk, and stays it."""
    block = device.lab.control / "boot/grubenv"
    pending = BootState("olpc.2", 3, limit=4)
    for before, count, tree, after in (
        (pending, "4", "olpc.2", replace(pending, tries=2)),
        (pending, "5", "olpc.1", BootState(bad=("olpc.2",))),
        (replace(pending, limit=0), "5", "olpc.2", BootState("olpc.2", 2)),
        (pending, "0x5", "olpc.2", replace(pending, tries=2)),
        (pending, "", "olpc.2", replace(pending, tries=2)),
    ):
        block.write_bytes(serialise_block(before))
        device.boot(f"{OPTIONS} rootman.bootcount={count} rootman.bootlimit=3")
        assert device.booted[0] == tree
        assert read_block(block) == after
    # U-Boot has chosen another tree, as this one is used up, and could not keep that.
    block.write_bytes(serialise_block(pending))
    device.boot("rootman.tree=olpc.1 rootman.count rootman.bootcount=5 rootman.mode=ro")
    assert device.booted == ["olpc.1", "of the loader", "ro"]
    assert read_block(block) == BootState(bad=("olpc.2",))


def test_without_the_option_a_named_tree_is_not_counted(device: Device) -> None:
    """BT-40: its loader has counted it."""
    block = device.lab.control / "boot/grubenv"
    block.write_bytes(serialise_block(BootState("olpc.2", 0)))

    device.boot("rootman.tree=olpc.2 rootman.mode=ro")

    assert device.booted[0] == "olpc.2"
    assert read_block(block) == BootState("olpc.2", 0)


def test_a_module_for_dracut(tmp_path: Path) -> None:
    """BT-50: where there is no initramfs-tools, or it is asked for."""
    home = tmp_path / "usr/lib/dracut/modules.d"
    home.mkdir(parents=True)

    written = install_initramfs(RealFs(), str(tmp_path))

    assert sorted(path.removeprefix(f"{home}/90rootman/") for path in written) == [
        "bring-up.sh", "module-setup.sh", "rootman.sh",
    ]  # fmt: skip
    assert install_initramfs(RealFs(), str(tmp_path)) == ()
    assert (home / "90rootman/module-setup.sh").stat().st_mode & 0o777 == 0o755
    (tmp_path / "etc/initramfs-tools/hooks").mkdir(parents=True)
    assert all("initramfs-tools" in one for one in install_initramfs(RealFs(), str(tmp_path)))
    assert install_initramfs(RealFs(), str(tmp_path), "dracut") == ()


def test_without_a_boot_state_nothing_is_counted(device: Device) -> None:
    """BT-25."""
    device.boot(OPTIONS)

    assert device.booted[0] == "olpc.2"
