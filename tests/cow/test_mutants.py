"""The matrix finds every guard that leaks or loses something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.cow.farms import IN_FARM, SEALED, cells, forked_farm
from tests.cow.mutants import MUTANTS, Mutant
from tests.cow.operations import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.cow.matrix import Matrix
    from tests.cow.operations import Operation

_SITUATIONS: Final = (*IN_FARM, SEALED)


def _violations(home: Path, operations: Iterable[str]) -> list[str]:
    wanted = [
        cell for name in sorted(set(operations)) for cell in cells(BY_NAME[name], _SITUATIONS)
    ]
    with forked_farm(home / "farm", wanted) as matrix:
        return [
            one
            for situation, name, kind in wanted
            for one in _looked_at(matrix, BY_NAME[name], situation, kind)
        ]


def _looked_at(matrix: Matrix, operation: Operation, situation: str, kind: str) -> list[str]:
    try:
        return matrix.violations(operation, situation, kind)
    except OSError as error:
        return [f"it cannot be looked at: {error}"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mutant_is_found(
    tmp_on_ext4: Path, mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant.apply(monkeypatch)

    found = _violations(tmp_on_ext4, [mutant.operation])

    assert any(mutant.symptom in one for one in found), found


def test_the_guard_is_not_found(tmp_on_ext4: Path) -> None:
    """What finds the mutants says nothing of the guard itself."""
    assert _violations(tmp_on_ext4, [mutant.operation for mutant in MUTANTS]) == []
