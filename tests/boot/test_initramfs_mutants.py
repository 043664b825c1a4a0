"""Mistakes in the script of the initramfs: each makes the test red that is named with it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import pytest

from tests.boot import test_initramfs as claims
from tests.boot.shells import DATA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.loopfs

_READ_ONLY: Final = 'mount -o remount,bind,ro "$rootman_root" && mount'
# What is wrong: the text, what it becomes, and who sees it.
MUTANTS: Final[dict[str, tuple[str, str, Callable[[claims.Device], None]]]] = {
    "leaves it writable": (
        f"{_READ_ONLY} -o bind",
        "mount -o bind",
        claims.test_read_only_nothing_can_be_changed,
    ),
    "does not show the store": (
        'rootman_show_store "$1"\n',
        "\n",
        claims.test_read_only_nothing_can_be_changed,
    ),
    "follows the link": (
        "rootman_tree=$rootman_asked",
        "rootman_tree=",
        claims.test_the_tree_that_the_loader_names_is_taken_whatever_the_links_say,
    ),
    "forgets the version": (
        '[ -n "$rootman_version" ]',
        "false",
        claims.test_a_version_is_chosen_among_its_trees,
    ),
    "takes what it takes by hand from the loader": (
        '[ -s "$rootman_run/take" ]',
        "false",
        claims.test_a_tree_is_taken_by_hand,
    ),
    "shares what is changed in overlays": (
        "rootman_layer=$rootman_layers/${rootman_tree#*.}",
        "rootman_layer=$rootman_layers/1",
        claims.test_an_overlay_keeps_what_was_changed_beside_the_tree,
    ),
    "keeps the overlay of another tree": (
        '[ "$(cat "$rootman_path/seal.json")" = "$(cat "$rootman_record/seal.json")" ]',
        ":",
        lambda device: claims.test_an_overlay_goes_with_its_tree(device, "sealed anew"),
    ),
    "leaves the rooms of the guard": (
        '        umount -l "$rootman_root/$rootman_path" 2>/dev/null\n',
        "        :\n",
        claims.test_a_guard_that_does_not_start_leaves_nothing_mounted,
    ),
    "does not stop": (
        '[ -n "$rootman_step" ] || return 0',
        "return 0",
        claims.test_it_stops_at_each_step_and_goes_on,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_is_seen(name: str, tmp_on_ext4: Path, tmp_path: Path) -> None:
    old, new, claim = MUTANTS[name]
    data = tmp_path / "data"
    shutil.copytree(DATA, data)
    text = (data / "initramfs.sh").read_text()
    assert old in text
    (data / "initramfs.sh").write_text(text.replace(old, new, 1))

    with pytest.raises(AssertionError):
        claim(claims.Device(tmp_on_ext4, "dash", data))
