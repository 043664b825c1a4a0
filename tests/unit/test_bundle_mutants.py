"""The tests of lists and parts find what is broken in them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from rootman import bundles, composition
from rootman.comparison import lines
from rootman.manifest import HARDLINK, line_path
from tests.unit import test_bundles, test_composition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Patch = pytest.MonkeyPatch


def _drop_a_conflict(patch: Patch) -> None:
    """Take the first of two lines for one path."""

    def merged(parts: Sequence[Iterable[bytes]]) -> Iterator[bytes]:
        first: dict[bytes, bytes] = {}
        for part in parts:
            for line in lines(part):
                first.setdefault(line_path(line), line)
        return iter(sorted(first.values(), key=line_path))

    for module in (composition, test_composition):
        patch.setattr(module, "merged", merged)


def _twice_what_two_have(patch: Patch) -> None:
    """Take a line of two bundles twice."""

    def merged(parts: Sequence[Iterable[bytes]]) -> Iterator[bytes]:
        found = [line for part in parts for line in lines(part)]
        return iter(sorted(found, key=line_path))

    patch.setattr(test_composition, "merged", merged)


def _replace_a_line_of_base(patch: Patch) -> None:
    """Put a line where base has one already."""
    patch.setattr(composition, "_put", lambda *it: (0, it[2]))


def _split_groups(patch: Patch) -> None:
    """Look at no hardlink."""
    patch.setattr(bundles, "HARDLINK", type("Nothing", (), {"search": lambda *_: None}))


def _no_parents(patch: Patch) -> None:
    """Leave the directories above what is named to others."""
    original = bundles.Parting.__init__

    def init(self: bundles.Parting, lists: Any) -> None:  # noqa: ANN401
        original(self, lists)
        self._above.clear()

    patch.setattr(bundles.Parting, "__init__", init)


def _nothing_is_missing(patch: Patch) -> None:
    """Forget to look for paths that were not there."""
    original = bundles.Parting.part

    def part(self: bundles.Parting, found: Iterable[bytes]) -> Any:  # noqa: ANN401
        self._missing.clear()
        return original(self, found)

    patch.setattr(bundles.Parting, "part", part)


def _whole_names(patch: Patch) -> None:
    """Take a directory for what begins with its name."""

    def owners(self: bundles.Parting, path: bytes) -> frozenset[str]:
        self._missing.discard(path)
        found = (one for one in self._naming if path.startswith(one))
        return frozenset().union(*(self._naming[one] for one in found))

    patch.setattr(bundles.Parting, "_owners", owners)


def _group_tests() -> None:
    assert HARDLINK.search(b" nlink=2 inode=1 ")
    for named, said in test_bundles.SPLIT:
        test_bundles.test_a_hardlink_group_is_not_split(named, said)


def _conflict_tests() -> None:
    for parts, said in test_composition.CONFLICTS:
        test_composition.test_parts_that_do_not_fit_are_refused(parts, said, 3)


_union = partial(
    test_composition.test_a_whole_is_the_sorted_union_of_its_parts,
    7,
    (test_composition.ONE, test_composition.TWO),
)
_parts = test_bundles.test_a_line_is_part_of_what_names_it_or_what_is_above
_missing = partial(test_bundles.test_a_path_that_is_not_in_the_tree_is_refused, "/bin/x")


@pytest.mark.parametrize(
    ("break_it", "test"),
    [
        (_drop_a_conflict, _conflict_tests),
        (_replace_a_line_of_base, _conflict_tests),
        (_twice_what_two_have, _union),
        (_split_groups, _group_tests),
        (_no_parents, _parts),
        (_whole_names, _parts),
        (_nothing_is_missing, _missing),
    ],
)
def test_a_broken_bundle_is_found(
    break_it: Callable[[Patch], None], test: Callable[[], object], monkeypatch: Patch
) -> None:
    """The test of its claim is green without it, and red with it."""
    test()
    break_it(monkeypatch)

    with pytest.raises((Exception, pytest.fail.Exception)):
        test()
