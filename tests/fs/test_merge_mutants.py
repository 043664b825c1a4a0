"""The tests of local configuration find what is broken in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from rootman import repair, retirement, switching
from rootman.building import Building
from rootman.entries import make_file, set_metadata
from rootman.merge import (
    carrying,
    configuration,
    decision,
    imprint,
    local,
    note,
    planning,
    staging,
)
from rootman.seal import SealRecord, pack_digests, stamps_without
from rootman.store import DIGESTS_FILE, STAGE_ROOT, STAGE_SEAL
from rootman.survey import digests_of
from rootman.walk import split
from tests.fault.faulty import Hasty
from tests.fs import test_merge, test_merge_again, test_merge_store
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rootman.fsops import Fs
    from rootman.manifest import Entry

    Patch = pytest.MonkeyPatch


def _link_local_files(patch: Patch) -> None:
    """Take the inode of the tree that is left instead of a copy."""

    def take(self: carrying.Copies, path: bytes, entry: Entry) -> None:
        del entry
        parent, name = split(path)
        self._names[path] = self.free_name()
        os.link(name, self._names[path], src_dir_fd=self._source.fd(parent), dst_dir_fd=self.fd)

    patch.setattr(carrying.Copies, "_take", take)


def _change_metadata_in_place(patch: Patch) -> None:
    """Change the sealed inode of the release."""

    def remake(self: carrying.Carrier, path: bytes, entry: Entry, there: object) -> None:
        del there
        parent, name = split(path)
        set_metadata(self._fs, entry, name, dir_fd=self._dirs.fd(parent))

    patch.setattr(carrying.Carrier, "_remake", remake)


def _keep_no_defaults(patch: Patch) -> None:
    patch.setattr(carrying, "keep_default", lambda *_, **__: None)


def _record_what_was_merged(patch: Patch) -> None:
    """Take what was carried for what the release has: have the digests of the merged tree."""
    original = Building.merge_configuration

    def merge(self: Building) -> None:
        original(self)
        with self._below(STAGE_ROOT) as root, self._below(STAGE_SEAL) as record_fd:
            paths = SealRecord(record_fd, "").digests()
            there = [path for path in paths if os.path.isdir(f"/proc/self/fd/{root}/{path}")]
            data = pack_digests({**paths, **digests_of(root, there, forks=1)[0]})
            self.fs.unlink(DIGESTS_FILE, dir_fd=record_fd)
            make_file(self.fs, iter([data]), DIGESTS_FILE.encode(), dir_fd=record_fd)

    patch.setattr(Building, "merge_configuration", merge)


def _prefer_the_release(patch: Patch) -> None:
    patch.setattr(
        decision, "_choose", lambda base, mine, new: (mine if new == base else new, False)
    )


def _nothing_beside(patch: Patch) -> None:
    patch.setattr(planning, "_name_beside", lambda *_: None)


def _keep_stamps(patch: Patch) -> None:
    patch.setattr(carrying.Carrier, "touched", frozenset())


def _no_base(patch: Patch) -> None:
    patch.setattr(configuration.ConfigMerge, "_default", lambda *_: None)


def _record_local_digests(patch: Patch) -> None:
    """Have a repair take the local configuration beside it for what was sealed."""
    patch.setattr(repair._Repair, "_has_local", lambda *_: False)


def _spare_with_local_changes(patch: Patch) -> None:
    patch.setattr(retirement, "find_drift", lambda *_: [])


def _look_at_one_level(patch: Patch) -> None:
    patch.setattr(local, "_below", lambda *_: {})


def _split_groups(patch: Patch) -> None:
    patch.setattr(carrying.Carrier, "_linked", lambda *_: None)


def _lose_directories(patch: Patch) -> None:
    patch.setattr(planning._Structure, "settle_directories", lambda _: None)


def _merge_into_what_was_used(patch: Patch) -> None:
    patch.setattr(note.MergeNote, "fits", lambda *_: True)


def _times_of_change_do_not_count(patch: Patch) -> None:
    original = imprint._below

    def below(*sides: Any) -> Iterator[tuple[object, ...]]:  # noqa: ANN401 - passed through
        return (one for one in original(*sides) if len(one) > 1 or isinstance(one[0], bytes))

    patch.setattr(imprint, "_below", below)


def _merge_into_the_first_merge(patch: Patch) -> None:
    patch.setattr(staging.ConfigStage, "_restore_defaults", lambda *_: None)


def _link_what_was_merged(patch: Patch) -> None:
    original = staging._Linker.__init__

    def init(self: staging._Linker, fs: Fs, _: object, source_fd: int, target_fd: int) -> None:
        original(self, fs, {}, source_fd, target_fd)

    patch.setattr(staging._Linker, "__init__", init)


def _keep_stamps_of_what_is_anew(patch: Patch) -> None:
    patch.setattr(staging, "stamps_without", lambda record, _: stamps_without(record, ()))


def _keep_what_was_used(patch: Patch) -> None:
    original = carrying.Carrier.__init__

    def init(self: carrying.Carrier, *sides: Any, used: object) -> None:  # noqa: ANN401
        del used
        original(self, *sides)

    patch.setattr(carrying.Carrier, "__init__", init)


def _forget_nothing(patch: Patch) -> None:
    patch.setattr(switching, "forget_merge", lambda *_: ())


def _used(lab: Lab) -> None:
    test_merge_again.test_a_tree_that_was_used_is_left_alone_and_that_is_told(
        lab, test_merge_again.use_an_attribute
    )


def _cells_again(lab: Lab) -> None:
    (lab.home / "again").mkdir()
    test_merge_again.test_every_cell_of_the_table_again(lab.home / "again")


MUTANTS = {
    "MG-6 local files are linked": (
        _link_local_files, test_merge.test_trees_share_no_inode_that_was_changed,
    ),
    "MG-6 sealed inodes are changed": (
        _change_metadata_in_place, test_merge.test_trees_share_no_inode_that_was_changed,
    ),
    "MG-12 no defaults are kept": (
        _keep_no_defaults, test_merge.test_the_spare_is_what_was_sealed,
    ),
    "MG-1 the record is of what was merged": (
        _record_what_was_merged, test_merge.test_what_was_carried_is_local_to_the_next_upgrade,
    ),
    "MG-3 the release wins": (_prefer_the_release, test_merge.test_every_cell),
    "MG-7 nothing is beside": (_nothing_beside, test_merge.test_every_cell),
    "MG-11 stamps stay": (_keep_stamps, test_merge_store.test_a_merged_directory_has_no_stamp),
    "MG-9 no base": (_no_base, test_merge_store.test_what_was_removed_is_known_by_the_base),
    "MG-15 digests of what is local": (
        _record_local_digests, test_merge_store.test_repair_leaves_local_configuration,
    ),
    "MG-12 the spare has local changes": (
        _spare_with_local_changes,
        test_merge_store.test_many_local_changes_do_not_cost_the_spare,
    ),
    "MG-2 one level": (_look_at_one_level, test_merge.test_every_cell),
    "MG-5 groups are split": (_split_groups, test_merge.test_every_cell),
    "MG-4 directories are lost": (_lose_directories, test_merge.test_every_cell),
    "MG-6 sealed inodes are changed at shutdown": (_change_metadata_in_place, _cells_again),
    "MG-17 a tree that was used": (_merge_into_what_was_used, _used),
    "MG-17 times of change do not count": (_times_of_change_do_not_count, _used),
    "MG-17 merges are chained": (
        _merge_into_the_first_merge, test_merge_again.test_what_was_taken_back_is_taken_back,
    ),
    "MG-18 what was merged is linked": (
        _link_what_was_merged, test_merge_again.test_what_is_given_up_is_done_the_next_time,
    ),
    "MG-18 stamps stay": (
        _keep_stamps_of_what_is_anew,
        test_merge_again.test_a_directory_that_is_made_anew_has_no_stamp,
    ),
    "MG-20 what was used is kept": (
        _keep_what_was_used, test_merge_again.test_a_rollback_carries_configuration_along,
    ),
    "MG-16 no note is forgotten": (
        _forget_nothing, test_merge_again.test_a_switch_that_was_undone_is_not_merged_into,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("break_it", "test"), MUTANTS.values(), ids=MUTANTS)
def test_a_broken_merge_is_found(
    tmp_on_ext4: Path,
    monkeypatch: Patch,
    break_it: Callable[[Patch], None],
    test: Callable[[Lab], object],
) -> None:
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    if test.__module__ != test_merge.__name__:
        test_merge_store.prepare(lab)
    break_it(monkeypatch)

    with pytest.raises((Exception, pytest.fail.Exception)):
        test(lab)
