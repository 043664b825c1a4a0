"""Every operation in every situation: as on plain ext4, and nothing in any other tree changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyfuse3
import pytest

from cow.operations import GuardOperations
from tests.cow.farms import (
    IN_FARM,
    IN_STORE,
    PAIR,
    SEALED,
    SEALED_AND_SHARED,
    SEALED_PAIR,
    cells,
    guarded_farm,
    guarded_store,
)
from tests.cow.operations import OPERATIONS
from tests.filesystems import loop_filesystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cow.matrix import Matrix
    from tests.cow.operations import Operation


@pytest.fixture(scope="module")
def home(images: Path) -> Iterator[Path]:
    """Return a filesystem that can be thrown away: to remove 40,000 names takes its time."""
    with loop_filesystem(images, size_mib=1024, inodes=200_000) as filesystem:
        yield filesystem.path


@pytest.fixture(scope="module")
def store(home: Path) -> Iterator[Matrix]:
    wanted = [cell for one in OPERATIONS for cell in cells(one, IN_STORE)]
    with guarded_store(home / "home", wanted) as matrix:
        yield matrix


@pytest.fixture(scope="module")
def farm(home: Path) -> Iterator[Matrix]:
    wanted = [cell for one in OPERATIONS for cell in cells(one, IN_FARM)]
    with guarded_farm(home / "farm", wanted) as matrix:
        yield matrix


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_an_operation(store: Matrix, farm: Matrix, operation: Operation) -> None:
    """GD-1, GD-2, GD-3, GD-4, GD-5, GD-6, GD-7, GD-8, GD-11.

    In each situation, and for each kind of subject that it applies to.
    """
    wrong: list[str] = []
    for matrix, situations in ((store, IN_STORE), (farm, IN_FARM)):
        for situation, _, kind in cells(operation, situations):
            wrong += matrix.violations(operation, situation, kind)

    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_the_situations_are_what_they_are_called(store: Matrix, farm: Matrix) -> None:
    """After the operations, of which "open O_RDONLY" changed nothing."""
    name = "open O_RDONLY/file/subject"
    assert (store.tree / SEALED / name).stat().st_nlink == 1
    assert (store.tree / SEALED_PAIR / name).stat().st_nlink == 2
    assert (store.tree / SEALED_AND_SHARED / name).stat().st_nlink == 1 + len(store.others)
    assert (farm.tree / PAIR / name).stat().st_nlink == 2 * (1 + len(farm.others))


def test_every_request_of_pyfuse3_is_answered_or_refused() -> None:
    """GD-4: what a later pyfuse3 learns to ask is refused until somebody looked at it."""
    inherited = {
        name
        for name, function in vars(pyfuse3.Operations).items()
        if callable(function) and getattr(GuardOperations, name) is function
    }
    assert inherited - {"__init__"} == {"access", "init", "stacktrace"}


def test_nothing_else_changed_in_the_other_trees(store: Matrix, farm: Matrix) -> None:
    """GD-1: beyond the cell that an operation worked in, after all of them."""
    assert store.changes() == []
    assert farm.changes() == []
