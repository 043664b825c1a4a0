"""An upgrade from the mounted current tree while programs change it through the guard.

The moments are chance; each race by itself is made to happen in ``tests/fs/test_links_in_use``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.commands import Machine
from tests.cow.guarding import end, mount, snapshot
from tests.cow.writers import at_work, tree_of

if TYPE_CHECKING:
    from tests.conftest import MakeFs


def test_an_upgrade_from_the_mounted_tree_underat_work(make_fs: MakeFs) -> None:
    """ST-20, S5: the new trees are what their manifests say, and stay so.

    The first upgrade clones the mounted tree, the second is made from the spare.
    """
    # Who verifies a tree reads its symlinks, and would move the access times of the others'.
    home = make_fs(options="noatime").path
    machine = Machine(home)
    machine.run("init")
    for version in (1, 2, 3):
        machine.publish(version, tree_of(version))
    machine.run("upgrade", machine.release(1))
    mnt = home / "mnt"
    guard = mount("--rootfs", machine.store, "mount", tree=machine.tree(1), mnt=mnt)
    made = {}
    try:
        with at_work(mnt, home / "stop"):
            for version in (2, 3):
                done = machine.attempt("upgrade", machine.release(version))
                assert done.code == 0, done.err
                made[version] = snapshot(machine.tree(version))
                assert machine.document("verify", version)["verdict"] == "pristine"
        guard.unmount()
    finally:
        end(guard)
    for version, was in made.items():
        assert snapshot(machine.tree(version)) == was
        assert machine.document("verify", version)["verdict"] == "pristine"
    # 11, where a private file was given the number of the sealed inode that it replaced.
    assert machine.attempt("verify", 1).code in (10, 11)
