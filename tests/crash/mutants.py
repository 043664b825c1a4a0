"""Ways to lose what was promised when the power goes, each with where it shows.

Those that only change the order of names within one commit of the journal show nowhere:
filesystems keep that order. ``tests.fault.order`` finds them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rootman import links, retirement
from rootman.fsops import opened
from rootman.names import CURRENT, PREVIOUS
from rootman.removal import empty_directory, remove_tree
from tests.crash.configurations import NO_BARRIER
from tests.fault.mutants import ORDER, Mutant, Patch

if TYPE_CHECKING:
    from rootman.fsops import Fs
    from rootman.state import Tree
    from rootman.store import Store

_ORDER: Final = {mutant.name: mutant for mutant in ORDER}


@dataclass(frozen=True, slots=True)
class Case:
    """A mutant, and the filesystem and scenario on which it leaves something wrong."""

    mutant: Mutant
    filesystem: str
    scenario: str

    def __str__(self) -> str:
        return self.mutant.name


def _known(name: str, breaks: str, filesystem: str, scenario: str) -> Case:
    """Return the case of a mutant of the order that ``breaks`` an id here."""
    mutant = _ORDER[name]
    known = Mutant(name, breaks, mutant.patch, mutant.drops)
    return Case(known, filesystem, scenario)


def _dropping(name: str, breaks: str, drops: set[str], filesystem: str, scenario: str) -> Case:
    return Case(Mutant(name, breaks, drops=frozenset(drops)), filesystem, scenario)


def _delete_and_make_again(patch: Patch) -> None:
    def exchange(fs: Fs, store: Store) -> None:
        """As a script would: remove, sync, link, sync."""
        targets = [os.readlink(name, dir_fd=store.fd) for name in (PREVIOUS, CURRENT)]
        for name, target in zip((CURRENT, PREVIOUS), targets, strict=True):
            fs.unlink(name, dir_fd=store.fd)
            links.publish(fs, store)
            fs.symlink(target, name, dir_fd=store.fd)
            links.publish(fs, store)

    patch.setattr(links, "exchange", exchange)


def _delete_under_its_name(patch: Patch) -> None:
    def delete(fs: Fs, store: Store, tree: Tree) -> None:
        """Halfway, commit the journal, as an fsync of any program does at any moment."""
        with opened(tree.name, dir_fd=store.fd) as root:
            empty_directory(fs, root)
            fs.syncfs(root)
        remove_tree(fs, tree.name.encode(), dir_fd=store.fd)
        remove_tree(fs, str(tree.number).encode(), dir_fd=store.trees)

    patch.setattr(retirement, "delete_tree", delete)


_SPARE: Final = "upgrade from the spare"

CASES: Final = (
    Case(Mutant("a disk that is never flushed", "S4"), NO_BARRIER.name, _SPARE),
    _known("no sync at all", "S4", "xfs", _SPARE),
    _known("no sync before the seal", "S4", "ext4", _SPARE),
    _known("no sync before a spare gets its name", "ST-11", "btrfs", _SPARE),
    _known(
        "no sync before configuration takes its place",
        *("MG-18", "ext4 noauto_da_alloc", "rollback --keep-config"),
    ),
    _known("no freezing", "S3", "ext4", "rollback"),
    _known("deletion before the switch is durable", "S3", "xfs", "rollback"),
    Case(Mutant("a tree deleted under its name", "S1", _delete_under_its_name), "ext4", "prune"),
    _known("current changed by a rename", "TR-1", "btrfs", "rollback"),
    Case(
        Mutant("current deleted and made again", "TR-1", _delete_and_make_again), "ext4", "rollback"
    ),
    _dropping("repair without its syncs", "TR-16", {"syncfs"}, "ext4 noauto_da_alloc", "repair"),
    _dropping("publish without its syncs", "RL-7", {"syncfs"}, "xfs", "publish"),
    _dropping(
        "an exit before anything is durable", "S3", {"fsync", "freeze_thaw"}, "btrfs", "rollback"
    ),
)
BY_NAME: Final = {case.mutant.name: case.mutant for case in CASES}
