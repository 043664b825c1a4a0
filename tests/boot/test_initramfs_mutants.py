"""Mistakes in the script of the initramfs: each makes the test red that is named with it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import pytest

from tests.boot import test_initramfs as claims
from tests.boot import test_state_paths as states
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

# The same of state paths.
STATE_MUTANTS: Final[dict[str, tuple[str, str, Callable[[states.Wanting], None]]]] = {
    "makes it of the new tree": (
        'read -r rootman_left && read -r rootman_how; } <"$rootman_ran"',
        "rootman_left=$rootman_tree; }",
        states.test_the_first_boot_makes_it_of_what_ran_last,
    ),
    "does not note what ran": (
        "    rootman_note_ran\n",
        "",
        states.test_the_first_boot_makes_it_of_what_ran_last,
    ),
    "does not look through the overlay": (
        '[ "$rootman_how" = overlay ]',
        "false",
        states.test_what_was_changed_below_an_overlay_goes_on,
    ),
    "binds what the tree wants alone": (
        'rootman_bind "$rootman_path" "$1"',
        'grep -qx "$rootman_name" "$rootman_record" && rootman_bind "$rootman_path" "$1"',
        states.test_it_is_the_same_for_all_versions,
    ),
    "knows one generation": (
        'read -r rootman_generation <"$rootman_record"',
        ":",
        states.test_each_generation_is_bound_alone,
    ),
    "follows symlinks": (
        '[ -e "$rootman_target" ] && [ ! -L "$rootman_target" ]',
        '[ -e "$rootman_target" ]',
        states.test_no_symlink_is_followed,
    ),
    "takes the store's where the device is not there": (
        "rootman_mount_place || return 0\n        rootman_place=$rootman_run/state/rootman-state",
        "rootman_mount_place && rootman_place=$rootman_run/state/rootman-state",
        states.test_a_device_that_is_not_there,
    ),
    "does not tell": (
        "rootman_lacking >>",
        "rootman_lacking >/dev/null; : >>",
        lambda device: states.test_what_cannot_be_made_stops_no_boot(device, "rootfs"),
    ),
    "gives up": (
        "rootman_make_states || rootman_say 'the state was not made'",
        "rootman_make_states || exit 1",
        lambda device: states.test_what_cannot_be_made_stops_no_boot(device, "rootfs"),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_is_seen(name: str, tmp_on_ext4: Path, tmp_path: Path) -> None:
    old, new, claim = MUTANTS[name]
    data = _mutant(tmp_path / "data", old, new)

    with pytest.raises(AssertionError):
        claim(claims.Device(tmp_on_ext4, "dash", data))


@pytest.mark.parametrize("name", STATE_MUTANTS)
def test_a_mistake_with_state_is_seen(name: str, tmp_on_ext4: Path, tmp_path: Path) -> None:
    old, new, claim = STATE_MUTANTS[name]
    data = _mutant(tmp_path / "data", old, new)

    with pytest.raises(AssertionError):
        claim(states.Wanting(tmp_on_ext4, "dash", data))


def _mutant(data: Path, old: str, new: str) -> Path:
    """Return the scripts at ``data``, with a mistake."""
    shutil.copytree(DATA, data)
    text = (data / "initramfs.sh").read_text()
    assert old in text
    (data / "initramfs.sh").write_text(text.replace(old, new, 1))
    return data
