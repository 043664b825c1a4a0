"""``rootman apply-live`` on systems that run from a tree, in each way that they can be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.builders import file, symlink
from tests.commands import Machine
from tests.cow.guarding import snapshot
from tests.cow.running import rooms, running
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.builders import Tree

pytestmark = [pytest.mark.loopfs, pytest.mark.fuse]

OLD: Final[Tree] = {
    "etc/motd": file("old"),
    "etc/mine": file("old"),
    "opt/tool": file("tool 1", 0o755),
}
NEW: Final[Tree] = {
    "etc/motd": file("new", 0o600),
    "etc/mine": file("new"),
    "etc/systemd/system/it.service": file("[Service]"),
    "opt/tool": file("tool 2", 0o755),
    "opt/more/tool": file("more", 0o4755, uid=3, xattrs={"user.it": b"x"}),
    "opt/more/link": symlink("tool"),
}
SEEN: Final = "cat /etc/motd /etc/mine /opt/tool /opt/more/link; stat -c %a:%u /opt/more/tool"
AFTER: Final = "newminetool 1more4755:3"


@pytest.fixture
def machine(tmp_on_ext4: Path) -> Machine:
    """Return a device with versions 1 and 2, and local configuration in 2; 3 is published."""
    lab = Lab(tmp_on_ext4)
    lab.init()
    for version, tree in ((1, OLD), (2, OLD), (3, NEW)):
        lab.publish(version, {**rooms(), **tree}, config=("/etc",))
        if version < 3:
            lab.upgrade(version)
    lab.pin(1)
    (lab.tree(2) / "etc/mine").unlink()
    (lab.tree(2) / "etc/mine").write_text("mine")
    return Machine(tmp_on_ext4)


@pytest.mark.parametrize("mode", ["guard", "overlay", "ro"])
def test_what_needs_no_reboot_is_there_and_no_other_tree_changes(
    machine: Machine, mode: str
) -> None:
    """AL-1 AL-2 AL-5 S5: through the guard, an overlay, and what was unlocked."""
    before = snapshot(machine.tree(1))
    with running(machine, "olpc.2", mode) as system:
        system.machine.run("upgrade", machine.release(3))
        new = snapshot(machine.tree(3))
        if mode == "ro":
            said = system.machine.refused("apply-live", code=4)
            assert said.endswith("olpc.2 runs read-only (hint: rootman unlock, and once more)")
            system.machine.run("unlock")

        rehearsed = system.machine.document("apply-live", "--dry-run")
        assert system.sh("cat /etc/motd") == "old"
        done = system.machine.document("apply-live")

        assert rehearsed == {**done, "dry_run": True}
        assert [one["path"] for one in done["applied"]] == [
            "etc/motd", "etc/systemd", "etc/systemd/system", "etc/systemd/system/it.service",
            "opt/more", "opt/more/link", "opt/more/tool",
        ]  # fmt: skip
        assert done["kept"] == [{"path": "etc/mine", "why": "changed here"}]
        assert done["waiting"] == [{"path": "opt/tool", "why": "changed by the release"}]
        assert done["units"] == ["it.service"]
        assert system.sh(SEEN).replace("\n", "") == AFTER
        assert system.fails("ls -d /.rootman-live")
        again = system.machine.document("apply-live")
        assert (again["applied"], len(again["there"])) == ([], 7)
        assert (snapshot(machine.tree(1)), snapshot(machine.tree(3))) == (before, new)


def test_people_are_told_what_is_there_and_what_is_to_come(machine: Machine) -> None:
    """AL-5: and what becomes of it at a rollback."""
    with running(machine, "olpc.2", "guard") as system:
        assert system.machine.run("apply-live").lines == ["olpc.2 is what runs: nothing to apply"]
        system.machine.run("upgrade", machine.release(3))

        said = system.machine.run("apply-live").lines

        assert said == [
            "7 paths of olpc.3 applied to olpc.2, which runs",
            "  M etc/motd",
            "  A etc/systemd",
            "  A etc/systemd/system",
            "  A etc/systemd/system/it.service",
            "  A opt/more",
            "  A opt/more/link",
            "  A opt/more/tool",
            "kept as it is here: 1 path",
            "  changed here: 1 (etc/mine)",
            "still needs a reboot: 1 path",
            "  changed by the release: 1 (opt/tool)",
            "units changed: it.service (systemctl daemon-reload)",
            "this is a local change of olpc.2: a rollback to it does not undo it",
        ]
        system.machine.run("rollback", "--to", 1)
        assert "olpc.1 is older than olpc.2, which runs" in system.machine.refused(
            "apply-live", code=4
        )
    assert (machine.tree(2) / "opt/more/tool").exists()
