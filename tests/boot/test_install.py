"""From a built tree to a kernel that GRUB loads: labels, and what install-grub writes.

GRUB itself (grub-emu) boots from the very disk that the store was made on. Its ``linux`` and
``initrd`` are not there in grub-emu, and are functions here that say what they are given; once
both are loaded it is over.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from rootman.boot.block import BootState, parse_block
from rootman.boot.superblock import SIZE, parse_superblock
from tests.boot.bringing_up import booted, bring_up
from tests.boot.grub import run_grub
from tests.builders import build, directory, file, symlink
from tests.commands import Machine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.builders import Tree
    from tests.conftest import MakeFs
    from tests.filesystems import Kind, LoopFilesystem

pytestmark = [pytest.mark.loopfs, pytest.mark.loaders]

KERNELS: Final = {
    "rootfs": directory(),
    "boot": directory(),
    "boot/vmlinuz-6.1.0-9-amd64": file(b"old"),
    "boot/vmlinuz-6.1.0-28-amd64": file(b"new"),
    "boot/initrd.img-6.1.0-28-amd64": file(b"initrd"),
}
# In place of the commands that grub-emu lacks: what cannot be read is not loaded.
CONFIG: Final = """
function linux { if [ -s "$1" ]; then echo "@linux $*@"; return 0; fi; return 1; }
function initrd { echo "@initrd $*@"; exit; }
source ${prefix}/custom.cfg
set timeout=0
"""


def publish(machine: Machine, version: int, *options: str) -> None:
    if not machine.source(version).exists():
        build(machine.source(version), {**KERNELS, "etc-issue": file(str(version).encode())})
    machine.run("boot", "label", machine.source(version), "--version", version, *options)
    machine.run("publish", machine.source(version), machine.repo, "--version", version)


def device(filesystem: LoopFilesystem) -> Machine:
    """Give a device with versions 1 and 2, on a disk that GRUB boots from."""
    machine = Machine(filesystem.path)
    machine.run("init")
    for version in (1, 2):
        publish(machine, version, "--args", "quiet console=ttyS0")
        machine.run("upgrade", machine.release(version))
    (filesystem.path / "grub").mkdir()
    (filesystem.path / "grub" / "grub.cfg").write_text(CONFIG)
    return machine


def boots(
    filesystem: LoopFilesystem, tmp_path: Path, store: str = "/store"
) -> tuple[list[str], BootState]:
    """Let GRUB boot from a copy of the disk as it is; return what it loads and the boot state."""
    copy = tmp_path / "disk"
    subprocess.run(("cp", "--sparse=always", filesystem.image, copy), check=True)
    said = run_grub(copy, tmp_path, "/grub")
    block = subprocess.run(
        ("grub-fstest", copy, "cat", f"(loop0){store}/.rootman/boot/grubenv"),
        check=True,
        capture_output=True,
    ).stdout
    state = parse_block(block)
    assert state is not None
    return re.findall(r"@([^@]*)@", said.replace("\n", "")), state


def uuid_of(filesystem: LoopFilesystem) -> str:
    return subprocess.run(
        ("blkid", "-p", "-o", "value", "-s", "UUID", filesystem.device),
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


@pytest.mark.parametrize(
    ("place", "said"),
    [("rootfs", ""), ("srv/os", " rootman.store=/srv/os"), ("", " rootman.store=/")],
)
def test_the_initramfs_finds_the_store_that_grub_found(
    make_fs: MakeFs, tmp_path: Path, place: str, said: str
) -> None:
    """BT-60 BT-41: wherever on its filesystem it is."""
    filesystem = make_fs("ext4", size_mib=64)
    machine = Machine(tmp_path / "machine")
    machine.home.mkdir()
    store = ("--rootfs", filesystem.path / place)
    publish(machine, 1, "--args", "quiet")
    (filesystem.path / place).mkdir(parents=True, exist_ok=True)
    machine.run(*store, "init")
    machine.run(*store, "upgrade", machine.release(1))
    (filesystem.path / "grub").mkdir()
    (filesystem.path / "grub" / "grub.cfg").write_text(CONFIG)
    machine.run(*store, "boot", "install-grub", "--grub-dir", filesystem.path / "grub")

    (linux, _), _ = boots(filesystem, tmp_path, f"/{place}")
    command_line = linux.split(" ", 2)[2]
    bring_up(filesystem.path, "dash", f"{command_line} rootman.mode=ro")

    given = f"root=UUID={uuid_of(filesystem)}{said} ro rootman.tree=olpc.1 quiet"
    assert command_line == given
    assert booted(filesystem.path) == ["olpc.1", "of the loader", "ro"]


def test_a_machine_has_a_mode_and_a_tree_may_have_another(make_fs: MakeFs, tmp_path: Path) -> None:
    """BT-60 BT-41: the mode of the machine stays until another is said."""
    filesystem = make_fs("ext4", size_mib=64)
    machine = device(filesystem)
    publish(machine, 3, "--args", "quiet rootman.mode=overlay")
    machine.run("upgrade", machine.release(3))
    install = ("boot", "install-grub", "--grub-dir", filesystem.path / "grub")

    machine.run(*install, "--mode", "ro")
    assert "already" in machine.run(*install).out
    (own, _), _ = boots(filesystem, tmp_path)
    machine.run("rollback")
    (of_the_machine, _), _ = boots(filesystem, tmp_path)

    for linux, tree, mode in ((own, "olpc.3", "overlay"), (of_the_machine, "olpc.2", "ro")):
        bring_up(filesystem.path, "busybox", linux.split(" ", 2)[2])
        assert booted(filesystem.path) == [tree, "of the loader", mode]
    assert "is not one of" in machine.refused(*install, "--mode", "sideways", code=2)
    assert len(machine.run(*install, "--mode", "guard").lines) == 1


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_grub_boots_a_store(make_fs: MakeFs, tmp_path: Path, kind: Kind) -> None:
    """BT-6 BT-8 BT-14: from the disk, as a power cut after each command would leave it."""
    filesystem = make_fs(kind, size_mib=320 if kind == "xfs" else 64)
    machine = device(filesystem)
    uuid = uuid_of(filesystem)
    kernel = "(hd0)/store/{}/boot/vmlinuz-6.1.0-28-amd64"
    rest = f"root=UUID={uuid} rootman.store=/store ro rootman.tree={{}} quiet console=ttyS0"

    machine.run("boot", "install-grub", "--grub-dir", filesystem.path / "grub")
    loaded, state = boots(filesystem, tmp_path)

    assert loaded == [
        f"linux {kernel.format('current')} {rest.format('olpc.2')}",
        "initrd (hd0)/store/current/boot/initrd.img-6.1.0-28-amd64",
    ]
    assert state == BootState()

    publish(machine, 3)
    machine.run("upgrade", machine.release(3))
    loaded, state = boots(filesystem, tmp_path)
    assert "rootman.tree=olpc.3" in loaded[0]
    assert state == BootState("olpc.3", 2)

    machine.run("boot", "mark-bad", 3)
    loaded, state = boots(filesystem, tmp_path)
    assert "rootman.tree=olpc.2" in loaded[0]
    assert state == BootState(bad=("olpc.3",))


def test_a_tree_that_is_chosen_in_the_menu_is_not_counted(make_fs: MakeFs, tmp_path: Path) -> None:
    """BT-6: and each complete tree is there."""
    filesystem = make_fs("ext4", size_mib=64)
    machine = device(filesystem)
    machine.run("boot", "install-grub", "--grub-dir", filesystem.path / "grub")
    publish(machine, 3)
    machine.run("upgrade", machine.release(3))

    for version in (2, 3):
        entry = f"{CONFIG}set default='rootman: olpc.{version}'\n"
        (filesystem.path / "grub" / "grub.cfg").write_text(entry)
        freeze(filesystem)
        loaded, state = boots(filesystem, tmp_path)
        assert f"(hd0)/store/olpc.{version}/boot/vmlinuz" in loaded[0]
        assert f"rootman.tree=olpc.{version}" in loaded[0].split()
        assert state == BootState("olpc.3", 3)


def freeze(filesystem: LoopFilesystem) -> None:
    """Bring all that was written to its place on the disk."""
    for option in ("-f", "-u"):
        subprocess.run(("fsfreeze", option, filesystem.path), check=True)


def test_grub_goes_on_to_a_kernel_that_it_can_read(make_fs: MakeFs, tmp_path: Path) -> None:
    """BT-5: in the same boot."""
    filesystem = make_fs("ext4", size_mib=64)
    machine = device(filesystem)
    machine.run("boot", "install-grub", "--grub-dir", filesystem.path / "grub")
    os.truncate(machine.tree(2) / "boot" / "vmlinuz-6.1.0-28-amd64", 0)
    # Of a kernel that both trees share, none would be left.
    (machine.tree(1) / "boot" / "vmlinuz-6.1.0-28-amd64").unlink()
    (machine.tree(1) / "boot" / "vmlinuz-6.1.0-28-amd64").write_bytes(b"own")
    freeze(filesystem)
    loaded, _ = boots(filesystem, tmp_path)

    assert "rootman.tree=olpc.1" in loaded[0]


def test_before_the_machine_goes_down_all_is_where_grub_finds_it(
    make_fs: MakeFs, tmp_path: Path
) -> None:
    """BT-62: what an upgrade began that was cut off, and what would be in the journal alone."""
    filesystem = make_fs("ext4", size_mib=64)
    machine = device(filesystem)
    (machine.store / ".rootman/staging/building.3").mkdir()

    done = machine.attempt("boot", "finish")
    (filesystem.path / "grub" / "new").write_text("content")
    machine.run("boot", "finish")

    copy = tmp_path / "disk"
    subprocess.run(("cp", "--sparse=always", filesystem.image, copy), check=True)
    read = subprocess.run(
        ("grub-fstest", copy, "cat", "(loop0)/grub/new"), check=True, capture_output=True
    )
    assert (done.code, done.out) == (0, "olpc.2 boots next\n")
    assert "an earlier command was interrupted" in done.err
    assert os.listdir(machine.store / ".rootman/staging") == ["spare.2"]
    assert read.stdout == b"content"


def test_installing_again_changes_nothing(make_fs: MakeFs) -> None:
    """BT-14: and what else is in custom.cfg stays."""
    filesystem = make_fs("ext4", size_mib=64)
    machine = device(filesystem)
    custom = filesystem.path / "grub" / "custom.cfg"
    custom.write_text("set color_normal=white/black")

    first = machine.run("boot", "install-grub", "--grub-dir", filesystem.path / "grub").out
    second = machine.run("boot", "install-grub", "--grub-dir", filesystem.path / "grub").out

    assert len(first.splitlines()) == 2
    assert "already" in second
    assert custom.read_text() == (
        "set color_normal=white/black\nsource ${config_directory}/rootman.cfg\n"
    )
    assert sorted(os.listdir(filesystem.path / "grub")) == ["custom.cfg", "grub.cfg", "rootman.cfg"]
    subprocess.run(("grub-script-check", filesystem.path / "grub" / "rootman.cfg"), check=True)


def test_trees_without_a_label_are_told(make_fs: MakeFs) -> None:
    """BT-8."""
    filesystem = make_fs("ext4", size_mib=64)
    machine = Machine(filesystem.path)
    machine.install({"a": file(b"1")})
    (filesystem.path / "grub").mkdir()

    done = machine.attempt("boot", "install-grub", "--grub-dir", filesystem.path / "grub")

    assert done.code == 0
    assert "olpc.1 has no boot/rootman.cfg" in done.err


def test_btrfs_is_refused(make_fs: MakeFs) -> None:
    """BT-14: nothing is written."""
    filesystem = make_fs("btrfs", size_mib=128)
    machine = Machine(filesystem.path)
    machine.install({"a": file(b"1")})
    (filesystem.path / "grub").mkdir()

    line = machine.refused("boot", "install-grub", "--grub-dir", filesystem.path / "grub", code=4)

    assert "GRUB cannot count attempts on btrfs" in line
    assert os.listdir(filesystem.path / "grub") == []
    assert not (machine.store / ".rootman" / "boot" / "grubenv").exists()


@pytest.mark.parametrize(
    ("features", "unreadable"),
    [
        ("", ()),
        ("inline_data", ("inline_data",)),
        ("ea_inode", ("ea_inode",)),
        ("casefold", ("casefold",)),
        ("inline_data,ea_inode", ("ea_inode", "inline_data")),
        ("metadata_csum_seed,large_dir,encrypt,verity", ()),
        ("^extents,^64bit,meta_bg,^resize_inode", ()),
    ],
)
def test_what_grub_reads_is_known(
    tmp_path: Path, features: str, unreadable: tuple[str, ...]
) -> None:
    """BT-14: GRUB itself says so."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").write_text("content")
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, 32 << 20)
    options = ("-O", features) if features else ()
    subprocess.run(
        ("mkfs.ext4", "-q", *options, "-d", tmp_path / "root", image),
        check=True,
        capture_output=True,
    )

    found = parse_superblock(image.read_bytes()[:SIZE])
    read = subprocess.run(
        ("grub-fstest", image, "cat", "(loop0)/file"), check=False, capture_output=True
    )

    assert found.unreadable == unreadable
    assert (read.stdout == b"content") == (not unreadable)


def test_what_is_no_filesystem_of_ours() -> None:
    found = parse_superblock(bytes(SIZE))

    assert (found.kind, found.is_writable) == ("", False)


def test_a_label_names_the_newest_kernel(tmp_path: Path) -> None:
    """BT-8: and is written once."""
    machine = Machine(tmp_path)
    tree = build(tmp_path / "tree", KERNELS)

    machine.run("boot", "label", tree, "--version", 7)
    label = tree / "boot" / "rootman.cfg"
    was = label.stat().st_mtime_ns
    machine.run("boot", "label", tree, "--version", 7)

    assert label.read_text() == (
        "set rootman_tree=olpc.7\n"
        'set rootman_linux="/boot/vmlinuz-6.1.0-28-amd64"\n'
        'set rootman_initrd="/boot/initrd.img-6.1.0-28-amd64"\n'
    )
    assert label.stat().st_mtime_ns == was
    assert label.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("rootfs", [{}, {"rootfs": symlink("/srv")}, {"rootfs": file(b"")}])
def test_a_tree_in_which_the_store_cannot_be_seen_is_warned_of(
    tmp_path: Path, rootfs: Tree
) -> None:
    """BT-42: it gets its label."""
    kernels = {path: what for path, what in KERNELS.items() if path != "rootfs"}
    tree = build(tmp_path / "tree", {**kernels, **rootfs})

    done = Machine(tmp_path).attempt("boot", "label", tree, "--version", 7)

    assert done.code == 0
    assert f"rootman: boot label: note: {tree} has no directory /rootfs" in done.err
    assert (tree / "boot" / "rootman.cfg").exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--linux", "/boot/none"), 8, "has no /boot/none"),
        (("--initrd", "/boot/none"), 8, "has no /boot/none"),
        (("--args", 'x"; reboot; "'), 3, "cannot be written for GRUB"),
        (("--args", "$root"), 3, "cannot be written for GRUB"),
        (("--name", "current"), 3, "cannot name an OS"),
    ],
)
def test_a_label_that_would_not_do_is_refused(
    tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    """BT-8."""
    tree = build(tmp_path / "tree", KERNELS)

    line = Machine(tmp_path).refused("boot", "label", tree, "--version", 7, *options, code=code)

    assert said in line
    assert not (tree / "boot" / "rootman.cfg").exists()


def test_a_tree_that_says_it_is_another_is_not_published(tmp_on_ext4: Path) -> None:
    """BT-8."""
    machine = Machine(tmp_on_ext4)
    publish(machine, 1)

    line = machine.refused("publish", machine.source(1), machine.repo, "--version", 2, code=3)

    assert "says that this is olpc.1, not olpc.2" in line


def test_a_sealed_tree_gets_no_label(tmp_on_ext4: Path) -> None:
    """BT-8: it would be damage."""
    machine = Machine(tmp_on_ext4)
    machine.install(KERNELS)

    assert "stays as it is" in machine.refused(
        "boot", "label", machine.tree(1), "--version", 1, code=4
    )


def test_a_tree_without_a_kernel(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    tree = build(tmp_path / "tree", {"boot": directory()})

    assert "has no vmlinuz-*" in machine.refused("boot", "label", tree, "--version", 1, code=8)
    assert "no such directory" in machine.refused(
        "boot", "label", tmp_path / "none", "--version", 1, code=8
    )
