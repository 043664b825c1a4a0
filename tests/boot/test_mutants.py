"""Mistakes in the two forms of the choice that run before Python: each shows in the comparison."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from rootman.boot.choice import Choice, choose
from tests.boot.grub import DATA, Image
from tests.boot.shells import chosen_by_shell
from tests.boot.states import ODD, cases, cases_without_links

if TYPE_CHECKING:
    from pathlib import Path

    from tests.boot.states import Case

pytestmark = pytest.mark.loaders

SOME: Final[list[Case]] = [
    *cases("olpc.1", "olpc.10")[::13],
    *cases_without_links("olpc.1", "olpc.2", "olpc.10")[::13],
    *ODD,
]
SHELL: Final = {
    "counts what is not pending": (
        'if [ "$rootman_tree" = "$rootman_pending" ]; then',
        "if :; then",
    ),
    "forgets to count": ('"$rootman_changed" ] || rootman_write_block', '"" ] || false'),
    "boots bad ones": (
        "elif rootman_first_that rootman_is_not_bad",
        "elif rootman_first_that true",
    ),
    "gives up where all are bad": ("elif rootman_first_that true", "elif false"),
    "never gives up": ('[ "$rootman_tries" -eq 0 ]', "false"),
    "orders by revision alone": (
        '-ne "${rootman_other%%.*}"',
        '= "" -a x = "${rootman_other%%.*}"',
    ),
    "chooses for good": ("    rootman_once=\n    [ -z", "    [ -z"),
    "takes what has no record": (
        ' &&\n        [ -f "$rootman_store/.rootman/trees/${1#*.}/seal.json" ]',
        "",
    ),
    "truncates the block": ("conv=notrunc,fsync", "conv=fsync count=0"),
}
# With a firmware that counts (BT-32).
COUNTED: Final[list[Case]] = [
    (layout, replace(boot, limit=3))
    for layout, boot in cases("olpc.1", "olpc.10")[::5]
    if boot.pending
]
COUNTS: Final = (3, 4)
COUNTED_SHELL: Final = {
    "does not ask the firmware": ("|| rootman_is_used_up; }", "|| false; }"),
    "gives up one attempt early": ('-gt "$rootman_limit"', '-ge "$rootman_limit"'),
    "forgets how far it may count": (
        '        [ -z "$rootman_limit" ] || echo "rootman_limit=$rootman_limit"\n',
        "",
    ),
    "takes what another tree counted": (
        '[ -z "$rootman_limit" ] || rootman_changed=1\n    rootman_limit=\n',
        ":\n",
    ),
}
GRUB: Final = {
    "counts what is not pending": (
        'if [ "$rootman_name" != "$rootman_pending" ]; then return 0; fi',
        'if [ -z "$rootman_tries" ]; then set rootman_tries=1; fi',
    ),
    "forgets to count": (
        "if rootman_take_first; then\n            rootman_count",
        "if rootman_take_first; then",
    ),
    "boots bad ones": ("if rootman_take_first; then", "if rootman_take_first any; then"),
    "gives up where all are bad": ("elif rootman_take_first any; then", "elif false; then"),
    "never gives up": ("    unset rootman_pending\n    unset rootman_tries\n    set", "    set"),
    "orders by text": ('[ "$rootman_n" -gt "$rootman_m" ]', '[ "$rootman_n" > "$rootman_m" ]'),
    "chooses for good": ("        unset rootman_once\n", ""),
    "takes what has no record": (
        'if [ ! -d "$rootman_store/$1" ]; then return 1; fi',
        'if [ -d "$rootman_store/$1" ]; then return 0; fi',
    ),
    "writes nothing": ('if [ -n "$rootman_changed" ]; then rootman_write; fi', ""),
}


def mutated(name: str, old: str, new: str) -> str:
    text = (DATA / name).read_text()
    assert old in text
    return text.replace(old, new)


def expected() -> list[Choice]:
    return [choose(boot, layout.links, layout.trees) for layout, boot in SOME]


@pytest.mark.parametrize("name", SHELL)
def test_a_mistake_in_the_shell_is_found(memory: Path, name: str) -> None:
    library = memory / "choose.sh"
    library.write_text(mutated("choose.sh", *SHELL[name]))
    (memory / "stores").mkdir()

    try:
        found = chosen_by_shell("dash", memory / "stores", SOME, library=library)
    except AssertionError:
        return  # it complains, or leaves a block of another size

    assert found != expected()


@pytest.mark.parametrize("name", COUNTED_SHELL)
def test_a_mistake_about_the_firmware_is_found(memory: Path, name: str) -> None:
    library = memory / "choose.sh"
    library.write_text(mutated("choose.sh", *COUNTED_SHELL[name]))
    (memory / "stores").mkdir()

    found = chosen_by_shell("dash", memory / "stores", COUNTED, counts=COUNTS, library=library)

    counts = itertools.cycle(COUNTS)
    assert found != [choose(boot, at.links, at.trees, next(counts)) for at, boot in COUNTED]


@pytest.mark.parametrize("name", GRUB)
def test_a_mistake_in_the_fragment_is_found(memory: Path, name: str) -> None:
    fragment = mutated("rootman.cfg", *GRUB[name]).encode()

    found = Image(memory, SOME, fragment).choose()

    assert [Choice(one.tree, one.reason or None, one.after) for one in found] != expected()  # type: ignore[arg-type]
