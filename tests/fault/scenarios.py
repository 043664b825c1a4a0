"""The commands that are tried, what they begin from, and what they may leave.

The names of states are those of spec/40-transitions.md, the shapes (which versions the
links and the complete trees are) come in the order in which the command passes through
them: the first is before it, the last after it.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman.boot.planning import plan_bad, plan_first, plan_good
from rootman.fallback import secure_fallback
from rootman.repo.folder import FolderSource
from rootman.repo.packs import make_packs
from rootman.reset import reset
from rootman.store import require_tree, scan
from rootman.throwaway import clone_as_it_is
from rootman.upgrade import Options
from tests.builders import TIME, build, file
from tests.fault.faulty import Forked, KillBefore, interposed
from tests.fault.states import Names, Shape, shape
from tests.fault.trees import (
    LISTS,
    V1_CARRIED,
    V2_LATER,
    V2_LOCAL,
    V3_LATER,
    V3_MERGED,
    VERSIONS,
    tree_with,
)
from tests.layers import TOOL, keep, stand_in, with_manager
from tests.numbers import number, renumber

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootman.fsops import Fs
    from rootman.names import TreeNumber
    from rootman.state import StoreState
    from rootman.steps import Plan
    from tests.builders import Tree
    from tests.fault.faulty import Call, Mode
    from tests.numbers import Number
    from tests.stores import Lab

DOWNGRADE: Final = Options(allow_downgrade=True)
MODES: Final[tuple[Mode, ...]] = ("kill", "ENOSPC", "EIO", "full", "dead")


def names(*texts: str) -> frozenset[Names]:
    """Return the states that ``texts`` name, those of one state joined by +."""
    return frozenset(frozenset(text.split("+")) for text in texts)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One command. ``stops`` are shapes in which it may stay, besides the first and the last.

    ``left`` are the states in which a kill leaves the store; every one of them has to be
    seen.
    """

    name: str
    prepare: Callable[[Lab], None]
    command: Callable[[Lab, Fs], object]
    shapes: tuple[Shape, ...]
    left: frozenset[Names]
    stops: tuple[Shape, ...] = ()
    idempotent: bool = True
    interrupted: bool = False
    """Whether the command has another to recover from, and may fail in that."""
    repairs: int = 0
    """The version of a tree that is not what it should be, before."""
    merges: int = 0
    """The version of a complete tree that configuration is merged into."""
    is_variant: bool = False
    """Whether all its steps are those of other scenarios, from another beginning."""
    has_bundles: bool = False
    """Whether releases have the bundles of ``trees``."""
    modes: tuple[Mode, ...] = MODES
    """What is tried: not all of it where most steps are those of another command."""

    @property
    def changing(self) -> int:
        """The version of the tree that is changed under its name, 0 for none."""
        return self.repairs or self.merges

    @property
    def ends(self) -> tuple[Shape, ...]:
        """The shapes that are good ones in the end: the last, and the stops with its links."""
        last = self.shapes[-1]
        return (last, *(one for one in self.stops if one.links == last.links))

    def __str__(self) -> str:
        return self.name


def _published(lab: Lab, *versions: int) -> None:
    for version in versions:
        lab.publish(version, VERSIONS[version])


def _empty(lab: Lab) -> None:
    _published(lab, 1)
    lab.init()


def _one(lab: Lab) -> None:
    _published(lab, 1, 2)
    lab.init()
    lab.upgrade(1)


def _one_and_a_tree(lab: Lab) -> None:
    _one(lab)
    build(lab.source("2.1"), VERSIONS[2])


def _two(lab: Lab) -> None:
    _one(lab)
    _published(lab, 3, 4)
    lab.upgrade(2)


def with_local_configuration(lab: Lab, third: Tree | None = None) -> None:
    """Have trees 1 and 2, and in 2 configuration that was changed; version 3 may be another."""
    for version, published in {1: VERSIONS[1], 2: VERSIONS[2], 3: third or VERSIONS[3]}.items():
        lab.publish(version, published, config=("/etc",))
    lab.init()
    lab.upgrade(1)
    lab.upgrade(2)
    build(lab.home / "merged.2", V2_LOCAL)
    build(lab.home / "merged.3", V3_MERGED)
    local, tree = build(lab.home / "local", V2_LOCAL), lab.tree(2)
    (tree / "etc/shadow").unlink()
    shutil.rmtree(tree / "etc/new")
    for name in ("hosts", "mine", "motd", "new"):
        os.rename(local / "etc" / name, tree / "etc" / name)
    os.utime(tree / "etc", ns=(TIME, TIME))
    shutil.rmtree(local)


def with_local_changes(lab: Lab, manager: bytes = b"none that runs") -> None:
    """Have trees 1 and 2, in 2 configuration that was changed, and a package for version 3.

    That has a package ``manager``, which is not run where another does its work.
    """
    with_local_configuration(lab, with_manager(VERSIONS[3], manager))
    keep(lab, "tool")
    shutil.rmtree(lab.home / "merged.3")
    build(lab.home / "merged.3", with_manager({**V3_MERGED, **TOOL}, manager))


def _to_be_hotfixed(lab: Lab) -> None:
    """Have trees 1 and 2 with local configuration, and what a fallback for 2 is to be."""
    with_local_configuration(lab)
    build(lab.source("2.1"), VERSIONS[2])
    build(lab.home / "merged.2.1", V2_LOCAL)


def _throw_away(lab: Lab, fs: Fs) -> None:
    """Clone what runs, as ``unlock`` does, and be cut off before a guard has it."""
    with lab.session(fs) as opened:
        clone_as_it_is(opened, require_tree(scan(opened.store), None))
    with lab.session(fs):
        pass


def _hotfix(lab: Lab, fs: Fs) -> None:
    with lab.session(fs) as opened:
        secure_fallback(opened, number(2))


def _to_be_reset(lab: Lab) -> None:
    """Have trees 1 and 2, and in 2 configuration that was changed, and what it is to be."""
    with_local_configuration(lab)
    build(lab.source("2.1"), VERSIONS[2])


def _reset(lab: Lab, fs: Fs) -> object:
    """``rootman reset --state``."""
    with lab.session(fs) as opened:
        return reset(opened, None, state=True, options=Options())


def _with_later_changes(lab: Lab) -> None:
    """Have version 3, and in 2, which runs, configuration that was changed since."""
    with_local_configuration(lab)
    lab.upgrade(3)
    tree = lab.tree(2) / "etc"
    (tree / "mine/pair").unlink()
    (tree / "later").write_text("later\n")
    (tree / "later").chmod(0o644)
    (tree / "motd").write_text("mine, later\n")
    shutil.copy2(lab.source(2) / "etc/shadow", tree)
    os.chown(tree / "shadow", 0, V2_LATER["etc/shadow"].gid)
    for path in (tree / "later", tree / "motd", tree / "mine", tree):
        os.utime(path, ns=(TIME, TIME))
    for version, merged in ((2, V2_LATER), (3, V3_LATER)):
        shutil.rmtree(lab.home / f"merged.{version}")
        build(lab.home / f"merged.{version}", merged)


def _with_changes_to_carry(lab: Lab) -> None:
    """Have trees 1 and 2, and in 2 configuration that was changed."""
    with_local_configuration(lab)
    build(lab.home / "merged.1", V1_CARRIED)


def _counting(lab: Lab) -> None:
    """Have attempts counted from now on."""
    _two(lab)
    lab.boot_init()


def _first_boot(state: StoreState, number: TreeNumber) -> Plan:
    return plan_first(state, number, "rootman.firstboot=noreboot")


def _on_trial(lab: Lab) -> None:
    """Have tree 3 on trial, and 2 to fall back to."""
    _counting(lab)
    lab.upgrade(3)


def publish_parts(lab: Lab, version: int, *trees: tuple[Number, tuple[str, ...]]) -> None:
    """Publish a version with its bundles; have as sources what ``trees`` have of them."""
    lab.publish(version, VERSIONS[version], lists=LISTS)
    shutil.rmtree(lab.source(version))
    for written, bundles in trees:
        build(lab.source(written), tree_with(version, *bundles))


def _without_bundles(lab: Lab) -> None:
    """Have trees 1 and 2 of releases with bundles, and none of them chosen."""
    publish_parts(lab, 1, (1, ()))
    publish_parts(lab, 2, (2, ()), ("2.1", ("doc", "more")), ("2.2", ("more",)))
    publish_parts(lab, 3, (3, ("doc", "more")))
    lab.init()
    lab.upgrade(1)
    lab.upgrade(2)


def _with_bundles(lab: Lab) -> None:
    """Have trees 2, and 2.1 with both bundles, which were chosen."""
    _without_bundles(lab)
    lab.add("doc", "more")


def _pinned(lab: Lab) -> None:
    _two(lab)
    lab.pin(1)


def _two_of_one_version(lab: Lab) -> None:
    """Have trees 1, which is current, and 1.1, which is previous and has the spare."""
    _two(lab)
    renumber(lab, 2, "1.1")
    lab.rollback()


def _four(lab: Lab) -> None:
    """Have trees 1, 2, 3 and 4: pinned ones are not retired."""
    _two(lab)
    lab.pin(1)
    lab.upgrade(3)
    lab.pin(2)
    lab.upgrade(4)
    for version in (1, 2):
        lab.pin(version, pinned=False)


def _interrupted(wanted: Callable[[Call], bool], skip: int = 0) -> Callable[[Lab], None]:
    """Return what makes a store in which the upgrade to version 3 was cut off."""

    def prepare(lab: Lab) -> None:
        _two(lab)
        fs = interposed(lab.make_fs(), KillBefore(wanted, skip))
        assert Forked(lambda: lab.upgrade(3, fs)).result() is None

    return prepare


def _at_socket(call: Call) -> bool:
    """Say whether the call is in the midst of the changes, in the new tree or the spare."""
    return call.op == "unlink" and call.paths[0].endswith("etc/motd")


def _before_sealing(call: Call) -> bool:
    return call.op == "move" and call.paths[1].endswith("/store/olpc.3")


def _before_the_exchange(call: Call) -> bool:
    return call.op == "exchange"


def _modified(lab: Lab) -> None:
    """Have tree 2 changed in its own inodes in every way."""
    _two(lab)
    tree = lab.tree(2)
    _replace(tree / "etc/motd", b"changed here")
    _replace(tree / "bin/bash", b"a shell of ours")
    (tree / "etc/hosts").unlink()
    (tree / "lib").unlink()
    (tree / "lib").mkdir()
    (tree / "lib/extra").write_bytes(b"x")
    shutil.rmtree(tree / "etc/new/deep")
    (tree / "usr/share/doc").chmod(0o700)
    (tree / "usr/share/added").mkdir()
    (tree / "usr/share/added/file").write_bytes(b"added")
    (tree / "run/socket").unlink()
    (tree / "etc/empty").write_bytes(b"not empty")


def _replace(path: os.PathLike[str], content: bytes) -> None:
    new = f"{os.fspath(path)}.new"
    with open(new, "xb") as out:
        out.write(content)
    os.rename(new, path)


def without_exchange(fs: Fs) -> Fs:
    """Return ``fs`` as on a filesystem that has no RENAME_EXCHANGE."""

    def refuse(call: Call) -> None:
        if call.op == "exchange":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    return interposed(fs, refuse)


def _downloads(lab: Lab) -> None:
    """Have trees and downloads that nothing needs."""
    _four(lab)
    (lab.control / "objects" / ("0" * 64)).write_bytes(b"torn")


class Far(FolderSource):
    """A folder that is read as if it were far away; which network it is does not matter here."""

    is_near = False


def _fetch(lab: Lab, fs: Fs) -> object:
    """``rootman upgrade URL``."""
    return lab.upgrade_from(Far(str(lab.repo), "far"), 3, fs)


def _half_unpacked(lab: Lab) -> None:
    """Have an upgrade to version 3 cut off in the midst of a pack."""
    _two(lab)
    assert all(
        pack.kept for pack in make_packs(str(lab.repo), 3, [2], fs=lab.make_fs(), at_any_size=True)
    )
    fs = interposed(lab.make_fs(), KillBefore(lambda call: call.op == "rename", 2))
    assert Forked(lambda: _fetch(lab, fs)).result() is None


def _download(lab: Lab, fs: Fs) -> object:
    """``rootman upgrade URL --download-only``."""
    return lab.upgrade_from(Far(str(lab.repo), "far"), 3, fs, Options(download_only=True))


def _half_fetched(lab: Lab) -> None:
    """Have an upgrade cut off while objects came, one of them torn since."""
    _two(lab)
    fs = interposed(lab.make_fs(), KillBefore(lambda call: call.op == "rename", 2))
    assert Forked(lambda: _fetch(lab, fs)).result() is None
    next(path for path in (lab.control / "objects").iterdir() if path.suffix == "").write_bytes(b"")


def _half_of_a_file(lab: Lab) -> None:
    """Have a download cut off in the middle of a large file, of which torn bytes are here."""
    _two(lab)
    lab.publish(5, {**VERSIONS[4], "usr/large": file(random.Random(4).randbytes(300_000))})

    def keeps(call: Call) -> bool:
        return call.op == "write" and call.paths[0].endswith(".zst.part")

    fs = interposed(lab.make_fs(), KillBefore(keeps, 3))  # the first is the manifest
    assert Forked(lambda: _download_large(lab, fs)).result() is None
    (kept,) = (lab.control / "objects").glob("*.zst.part")
    kept.write_bytes(kept.read_bytes()[:-10] + bytes(10))


def _download_large(lab: Lab, fs: Fs) -> object:
    """``rootman upgrade URL --download-only``."""
    return lab.upgrade_from(Far(str(lab.repo), "far"), 5, fs, Options(download_only=True))


# The ends of an upgrade from 2, with 1 before it, to 3.
_TWO_TO_THREE: Final = (
    shape(2, 1, 1, 2),
    shape(2, 1, 1, 2, 3),
    shape(2, 3, 1, 2, 3),
    shape(3, 2, 1, 2, 3),
    shape(3, 2, 2, 3),
)
_UPGRADE: Final = names("settled", "staged", "recorded", "sealed", "sealed+litter", "leaving")

SCENARIOS: Final = (
    Scenario(
        "install",
        _empty,
        lambda lab, fs: lab.upgrade(1, fs),
        (shape(None, None), shape(None, None, 1), shape(1, None, 1)),
        _UPGRADE - names("leaving"),
    ),
    Scenario(
        "upgrade, the first",
        _one,
        lambda lab, fs: lab.upgrade(2, fs),
        (shape(1, None, 1), shape(1, None, 1, 2), shape(1, 2, 1, 2), shape(2, 1, 1, 2)),
        _UPGRADE,
    ),
    Scenario(
        "upgrade from the spare",
        _two,
        lambda lab, fs: lab.upgrade(3, fs),
        _TWO_TO_THREE,
        _UPGRADE,
        stops=(shape(3, 2, 1, 2, 3),),
    ),
    Scenario(
        "upgrade, both trees are of one version",
        _two_of_one_version,
        lambda lab, fs: lab.upgrade(3, fs),
        (
            shape(1, "1.1", 1, "1.1"),
            shape(1, "1.1", 1, "1.1", 3),
            shape(1, 3, 1, "1.1", 3),
            shape(3, 1, 1, "1.1", 3),
            shape(3, 1, 1, 3),
        ),
        _UPGRADE,
        stops=(shape(3, 1, 1, "1.1", 3),),
        is_variant=True,
    ),
    Scenario(
        "upgrade, previous is pinned",
        _pinned,
        lambda lab, fs: lab.upgrade(3, fs),
        (
            shape(2, 1, 1, 2),
            shape(2, 1, 1, 2, 3),
            shape(2, 3, 1, 2, 3),
            shape(3, 2, 1, 2, 3),
        ),
        _UPGRADE,
        is_variant=True,
    ),
    Scenario(
        "upgrade with local changes and a layer",
        with_local_changes,
        lambda lab, fs: lab.upgrade(3, fs, Options(inside=stand_in)),
        _TWO_TO_THREE,
        _UPGRADE,
        stops=(shape(3, 2, 1, 2, 3),),
        is_variant=True,
    ),
    Scenario(
        "reset",
        _to_be_reset,
        _reset,
        (
            shape(2, 1, 1, 2),
            shape(2, 1, 1, 2, "2.1"),
            shape(2, "2.1", 1, 2, "2.1"),
            shape("2.1", 2, 1, 2, "2.1"),
            shape("2.1", 2, 2, "2.1"),
        ),
        _UPGRADE,
        stops=(shape("2.1", 2, 1, 2, "2.1"),),
        idempotent=False,
        is_variant=True,
    ),
    Scenario(
        "upgrade where names cannot be exchanged",
        _two,
        lambda lab, fs: lab.upgrade(3, without_exchange(fs)),
        (
            shape(2, 1, 1, 2),
            shape(2, 1, 1, 2, 3),
            shape(2, 3, 1, 2, 3),
            shape(2, 2, 1, 2, 3),
            shape(3, 2, 1, 2, 3),
            shape(3, 2, 2, 3),
        ),
        _UPGRADE,
        stops=(shape(3, 2, 1, 2, 3),),
        is_variant=True,
    ),
    Scenario(
        "upgrade to what is here",
        _two,
        lambda lab, fs: lab.upgrade(1, fs, DOWNGRADE),
        (shape(2, 1, 1, 2), shape(1, 2, 1, 2)),
        names("settled"),
    ),
    Scenario(
        "upgrade, one was cut off while it was built",
        _interrupted(_at_socket),
        lambda lab, fs: lab.upgrade(3, fs),
        _TWO_TO_THREE,
        _UPGRADE,
        stops=(shape(3, 2, 1, 2, 3),),
        interrupted=True,
        is_variant=True,
    ),
    Scenario(
        "upgrade, one was cut off before its tree had a name",
        _interrupted(_before_sealing),
        lambda lab, fs: lab.upgrade(4, fs),
        (
            shape(2, 1, 1, 2),
            shape(2, 1, 1, 2, 4),
            shape(2, 4, 1, 2, 4),
            shape(4, 2, 1, 2, 4),
            shape(4, 2, 2, 4),
        ),
        _UPGRADE,
        stops=(shape(4, 2, 1, 2, 4),),
        interrupted=True,
        is_variant=True,
    ),
    Scenario(
        "upgrade, one was cut off within the switch",
        _interrupted(_before_the_exchange),
        lambda lab, fs: lab.upgrade(4, fs),
        (
            shape(2, 3, 1, 2, 3),
            shape(3, 2, 1, 2, 3),
            shape(3, 2, 1, 2, 3, 4),
            shape(3, 4, 1, 2, 3, 4),
            shape(4, 3, 1, 2, 3, 4),
            shape(4, 3, 1, 3, 4),
        ),
        _UPGRADE,
        stops=(shape(3, 2, 1, 2, 3), shape(4, 3, 1, 2, 3, 4)),
        interrupted=True,
        is_variant=True,
    ),
    Scenario(
        "upgrade, one was cut off while it left a spare",
        _interrupted(_at_socket, skip=1),
        lambda lab, fs: lab.upgrade(4, fs),
        (
            shape(3, 2, 2, 3),
            shape(3, 2, 2, 3, 4),
            shape(3, 4, 2, 3, 4),
            shape(4, 3, 2, 3, 4),
            shape(4, 3, 3, 4),
        ),
        _UPGRADE,
        stops=(shape(4, 3, 2, 3, 4),),
        interrupted=True,
        is_variant=True,
    ),
    Scenario(
        "upgrade from far away, one was cut off while it fetched",
        _half_fetched,
        _fetch,
        _TWO_TO_THREE,
        _UPGRADE,
        stops=(shape(3, 2, 1, 2, 3),),
    ),
    Scenario(
        "upgrade by a pack, one was cut off while it came",
        _half_unpacked,
        _fetch,
        _TWO_TO_THREE,
        _UPGRADE,
        stops=(shape(3, 2, 1, 2, 3),),
        is_variant=True,
    ),
    Scenario(
        "download, one was cut off while it fetched",
        _half_fetched,
        _download,
        (shape(2, 1, 1, 2),),
        names("settled"),
    ),
    Scenario(
        "download, one was cut off in the middle of a file",
        _half_of_a_file,
        _download_large,
        (shape(2, 1, 1, 2),),
        names("settled"),
    ),
    Scenario(
        "bundle add, from far away",
        _without_bundles,
        lambda lab, fs: lab.add("doc", "more", fs=fs, source=Far(str(lab.repo), "far")),
        (
            shape(2, 1, 1, 2),
            shape(2, 1, 1, 2, "2.1"),
            shape(2, "2.1", 1, 2, "2.1"),
            shape("2.1", 2, 1, 2, "2.1"),
            shape("2.1", 2, 2, "2.1"),
        ),
        _UPGRADE,
        stops=(shape("2.1", 2, 1, 2, "2.1"),),
        has_bundles=True,
        is_variant=True,
    ),
    Scenario(
        "bundle remove",
        _with_bundles,
        lambda lab, fs: lab.remove("doc", fs=fs),
        (
            shape("2.1", 2, 2, "2.1"),
            shape("2.1", 2, 2, "2.1", "2.2"),
            shape("2.1", "2.2", 2, "2.1", "2.2"),
            shape("2.2", "2.1", 2, "2.1", "2.2"),
            shape("2.2", "2.1", "2.1", "2.2"),
        ),
        _UPGRADE,
        stops=(shape("2.2", "2.1", 2, "2.1", "2.2"),),
        has_bundles=True,
        is_variant=True,
    ),
    Scenario(
        "upgrade with bundles",
        _with_bundles,
        lambda lab, fs: lab.upgrade(3, fs),
        (
            shape("2.1", 2, 2, "2.1"),
            shape("2.1", 2, 2, "2.1", 3),
            shape("2.1", 3, 2, "2.1", 3),
            shape(3, "2.1", 2, "2.1", 3),
            shape(3, "2.1", "2.1", 3),
        ),
        _UPGRADE,
        stops=(shape(3, "2.1", 2, "2.1", 3),),
        has_bundles=True,
        is_variant=True,
    ),
    Scenario(
        "unlock --hotfix",
        _to_be_hotfixed,
        _hotfix,
        (
            shape(2, 1, 1, 2),
            shape(2, 1, 1, 2, "2.1"),
            shape(2, "2.1", 1, 2, "2.1"),
        ),
        _UPGRADE - names("leaving"),
        stops=(shape(2, 1, 1, 2, "2.1"),),
        modes=("kill",),
    ),
    Scenario(
        "unlock",
        with_local_configuration,
        _throw_away,
        (shape(2, 1, 1, 2),),
        names("settled", "leaving"),
        interrupted=True,
        modes=("kill",),
    ),
    Scenario(
        "rollback",
        _two,
        lambda lab, fs: lab.rollback(fs=fs),
        (shape(2, 1, 1, 2), shape(1, 2, 1, 2)),
        names("settled"),
        idempotent=False,
    ),
    Scenario(
        "rollback --to",
        _four,
        lambda lab, fs: lab.rollback(1, fs),
        (shape(4, 3, 1, 2, 3, 4), shape(4, 1, 1, 2, 3, 4), shape(1, 4, 1, 2, 3, 4)),
        names("settled", "litter"),
        stops=(shape(4, 1, 1, 2, 3, 4),),
        idempotent=False,
    ),
    Scenario(
        "upgrade on trial",
        _counting,
        lambda lab, fs: lab.upgrade(3, fs),
        _TWO_TO_THREE,
        _UPGRADE,
        stops=(shape(3, 2, 1, 2, 3),),
        is_variant=True,
    ),
    Scenario(
        "boot init",
        _two,
        lambda lab, fs: lab.boot_init(fs),
        (shape(2, 1, 1, 2),),
        names("settled", "litter"),
    ),
    Scenario(
        "boot mark-good",
        _on_trial,
        lambda lab, fs: lab.mark(plan_good, 3, fs),
        (shape(3, 2, 2, 3),),
        names("settled"),
    ),
    Scenario(
        "boot mark-bad of what is current",
        _on_trial,
        lambda lab, fs: lab.mark(plan_bad, 3, fs),
        (shape(3, 2, 2, 3), shape(2, 3, 2, 3)),
        names("settled"),
    ),
    Scenario(
        "a first boot passes its test",
        _on_trial,
        lambda lab, fs: lab.mark(_first_boot, 3, fs),
        (shape(3, 2, 2, 3),),
        names("settled", "litter"),
    ),
    Scenario(
        "boot finish",
        _two,
        lambda lab, fs: lab.finish(2, fs),
        (shape(2, 1, 1, 2),),
        names("settled"),
    ),
    Scenario(
        "boot finish, configuration was changed since the upgrade",
        _with_later_changes,
        lambda lab, fs: lab.finish(2, fs),
        (shape(3, 2, 2, 3),),
        names("settled", "leaving"),
        merges=3,
    ),
    Scenario(
        "rollback --keep-config",
        _with_changes_to_carry,
        lambda lab, fs: lab.rollback(fs=fs, keep_config=True),
        (shape(2, 1, 1, 2), shape(1, 2, 1, 2)),
        names("settled", "leaving"),
        idempotent=False,
        merges=1,
    ),
    Scenario(
        "prune",
        _downloads,
        lambda lab, fs: lab.prune(fs=fs),
        (shape(4, 3, 1, 2, 3, 4), shape(4, 3, 2, 3, 4), shape(4, 3, 3, 4)),
        names("settled", "leaving"),
        stops=(shape(4, 3, 2, 3, 4),),
    ),
    Scenario(
        "pin",
        _two,
        lambda lab, fs: lab.pin(1, fs),
        (shape(2, 1, 1, 2),),
        names("settled", "litter"),
    ),
    Scenario(
        "repair",
        _modified,
        lambda lab, fs: lab.repair(2, fs),
        (shape(2, 1, 1, 2),),
        names("settled", "leaving"),
        repairs=2,
    ),
    Scenario(
        "init with a tree beside others",
        _one,
        lambda lab, fs: lab.init(lab.source(2), 2, fs),
        (shape(1, None, 1), shape(1, None, 1, 2)),
        names("settled", "staged", "recorded", "sealed"),
        idempotent=False,
    ),
    Scenario(
        "a tree is taken in as another than the first of its version",
        _one_and_a_tree,
        lambda lab, fs: lab.adopt(lab.source("2.1"), "2.1", fs),
        (shape(1, None, 1), shape(1, None, 1, "2.1")),
        names("settled", "staged", "recorded", "sealed"),
        idempotent=False,
    ),
)
