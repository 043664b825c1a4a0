"""The tests of what is done to running systems find what is broken in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rootman import throwaway
from rootman.entries import make_file, make_plain, read_content, set_metadata
from rootman.live import applying, placing, planning
from rootman.walk import split
from tests.fault.faulty import Hasty
from tests.fault.living import prepare
from tests.fs import test_live, test_throwaway
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from rootman.live.planning import Judgement, Offer
    from rootman.manifest import Entry

    Patch = pytest.MonkeyPatch


def _overwrite_what_is_local(patch: Patch) -> None:
    def judge(offer: Offer, here: Entry | None) -> Judgement:
        del offer, here
        return "apply"

    patch.setattr(applying, "judge", judge)


def _link_what_is_sealed(patch: Patch) -> None:
    """Give the running tree the inode of the new one."""

    def make(self: placing.Placing, entry: Entry, name: bytes) -> bool:
        if entry.type == "dir":
            make_plain(self._fs, entry, name, dir_fd=self._aside)
        else:
            parent, source = split(entry.path)
            os.link(source, name, src_dir_fd=self._new.fd(parent), dst_dir_fd=self._aside,
                    follow_symlinks=False)  # fmt: skip
        return True

    patch.setattr(placing.Placing, "_make", make)


def _replace_what_came_meanwhile(patch: Patch) -> None:
    patch.setattr(Hasty, "move", Hasty.rename)


def _look_but_once(patch: Patch) -> None:
    patch.setattr(applying.Live, "is_as_seen", lambda *_: True)


def _split_groups(patch: Patch) -> None:
    patch.setattr(applying, "settle_groups", lambda _: None)


def _trust_what_is_there(patch: Patch) -> None:
    def copy(fs: Hasty, source: int, entry: Entry, name: bytes, *, dir_fd: int) -> bool:
        make_file(fs, read_content(source), name, dir_fd=dir_fd)
        set_metadata(fs, entry, name, dir_fd=dir_fd)
        return True

    patch.setattr(placing, "copy_verified", copy)


def _bring_kernels(patch: Patch) -> None:
    patch.setattr(planning, "_OF_THE_KERNEL", ())


def _place_at_once(patch: Patch) -> None:
    """Give names while others are made still."""
    original = placing.Placing.make

    def make(self: placing.Placing) -> None:
        original(self)
        self.place()

    patch.setattr(placing.Placing, "make", make)


def _link_what_is_the_trees_own(patch: Patch) -> None:
    class Everything:
        def __contains__(self, _: object) -> bool:
            return True

    patch.setattr(throwaway, "frozenset", lambda _: Everything(), raising=False)


MUTANTS = {
    "AL-2 local changes are lost": (
        _overwrite_what_is_local, test_live.test_what_is_new_and_what_nobody_changed_comes_along,
    ),
    "AL-3 sealed inodes are linked": (
        _link_what_is_sealed, test_live.test_what_is_new_and_what_nobody_changed_comes_along,
    ),
    "AL-4 what is new replaces": (
        _replace_what_came_meanwhile, test_live.test_what_changes_at_the_last_moment_stays,
    ),
    "AL-2 looked at but once": (
        _look_but_once, test_live.test_what_changes_at_the_last_moment_stays,
    ),
    "AL-3 groups are split": (
        _split_groups, test_live.test_what_is_new_and_what_nobody_changed_comes_along,
    ),
    "AL-3 content is not verified": (
        _trust_what_is_there, test_live.test_what_is_not_as_released_in_the_new_version_waits,
    ),
    "AL-1 kernels come along": (
        _bring_kernels, test_live.test_what_is_new_and_what_nobody_changed_comes_along,
    ),
    "AL-4 names before the sync": (
        _place_at_once, test_live.test_all_is_on_the_disk_before_the_first_gets_its_name,
    ),
    "UL-3 what is the tree's own is linked": (
        _link_what_is_the_trees_own, test_throwaway.test_a_clone_is_the_tree_as_it_is,
    ),
}  # fmt: skip


@pytest.mark.loopfs
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_found(tmp_on_ext4: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patch, test = MUTANTS[name]
    lab = Lab(tmp_on_ext4, make_fs=Hasty)
    prepare(lab)
    patch(monkeypatch)

    with pytest.raises((AssertionError, OSError)):
        test(lab)
