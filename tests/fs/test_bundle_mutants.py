"""The tests of bundles on a device find what is broken in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rootman import building, choice, supply, upgrade, whole
from rootman.comparison import lines
from rootman.composition import composed
from rootman.manifest import line_path
from rootman.seal import SealRecord
from tests.fs import test_bundles
from tests.fs.test_bundles import make_lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from tests.stores import Lab

    Patch = pytest.MonkeyPatch

pytestmark = [pytest.mark.root, pytest.mark.loopfs]


def _first_of_two(patch: Patch) -> None:
    """Drop a conflict between two bundles: take the first line for a path."""

    def merged(parts: Sequence[Iterable[bytes]]) -> Iterator[bytes]:
        found: dict[bytes, bytes] = {}
        for line in (line for part in parts for line in lines(part)):
            found.setdefault(line_path(line), line)
        return iter(sorted(found.values(), key=line_path))

    patch.setattr(whole, "merged", merged)


def _also_what_others_have(patch: Patch) -> None:
    """Where a bundle was removed, take out what it shared with another, too."""
    before: set[bytes] = set()

    def wrong(base: Iterable[bytes], others: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal before
        now = list(others)
        removed, before = before - set(now), set(now)
        left = [line for line in now if not (removed and b"/usr/share/both " in line)]
        return composed(base, iter(left))

    patch.setattr(whole, "composed", wrong)


def _forget_the_choice(patch: Patch) -> None:
    """Upgrade to base alone."""
    patch.setattr(upgrade, "chosen_bundles", lambda _: ())


def _forget_includes(patch: Patch) -> None:
    """Take what was chosen and nothing that comes with it."""
    patch.setattr(choice, "closure", lambda names, _: tuple(sorted(names)))


def _without_parts(patch: Patch) -> None:
    """Leave the manifests of the bundles out of the record."""
    init = building.Building.__init__

    def without(self: building.Building, *args: Any, **more: Any) -> None:  # noqa: ANN401
        init(self, *args, **{**more, "others": ()} if "others" in more else more)

    patch.setattr(building.Building, "__init__", without)


def _whole_for_base(patch: Patch) -> None:
    """Take the whole manifest of a tree for that of base."""
    original = SealRecord.part
    patch.setattr(
        SealRecord,
        "part",
        lambda self, name: self.manifest() if name == "base" else original(self, name),
    )


def _all_was_chosen(patch: Patch) -> None:
    """Note of all bundles that they were chosen."""
    original = choice.choose

    def choose(release: Any, names: Any) -> choice.Choice:  # noqa: ANN401
        found = original(release, names)
        return choice.Choice(tuple(one.name for one in found.parts[1:]), found.parts)

    for module in (choice, upgrade):
        patch.setattr(module, "choose", choose)


def _fetch_what_is_known(patch: Patch) -> None:
    """Ask the repository for every manifest."""
    patch.setattr(supply.Supply, "_known", lambda *_: None)


MUTANTS = {
    "BU-6 a conflict is dropped": (
        _first_of_two, test_bundles.test_bundles_that_do_not_fit_are_refused,
    ),
    "BU-9 what another bundle has goes": (
        _also_what_others_have, test_bundles.test_a_removed_bundle_leaves_what_another_has,
    ),
    "BU-7 the choice is forgotten": (
        _forget_the_choice, test_bundles.test_an_upgrade_keeps_what_was_chosen,
    ),
    "BU-7 includes are forgotten": (
        _forget_includes, test_bundles.test_includes_are_those_of_the_new_release,
    ),
    "BU-7 what came with others was chosen": (_all_was_chosen, test_bundles.test_add_and_remove),
    "ST-21 no manifests of bundles": (
        _without_parts, test_bundles.test_the_record_has_the_manifests_of_the_bundles,
    ),
    "ST-21 the whole for base": (_whole_for_base, test_bundles.test_from_a_file),
    "BU-10 what is known is fetched": (
        _fetch_what_is_known, test_bundles.test_a_file_for_a_base_that_did_not_change,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("break_it", "test"), MUTANTS.values(), ids=MUTANTS)
def test_a_broken_bundle_is_found(
    tmp_on_ext4: Path,
    monkeypatch: Patch,
    break_it: Callable[[Patch], None],
    test: Callable[[Lab], object],
) -> None:
    """The test of its claim is green without it, and red with it."""
    for name in ("green", "red"):
        (tmp_on_ext4 / name).mkdir()
    test(make_lab(tmp_on_ext4 / "green", 2))
    lab = make_lab(tmp_on_ext4 / "red", 2)
    break_it(monkeypatch)

    with pytest.raises((Exception, pytest.fail.Exception)):
        test(lab)
