"""The tests of packs find what is broken in them."""

from __future__ import annotations

import pytest

from tests.unit.pack_mutants import MAKING, READING, Mutant


@pytest.mark.parametrize("mutant", READING + MAKING, ids=str)
def test_a_broken_pack_is_found(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The test of its claim is green without it, and red with it."""
    mutant.test()
    mutant.apply(monkeypatch)

    with pytest.raises((Exception, pytest.fail.Exception)):
        mutant.test()

    capfd.readouterr()  # what a child says of it
