"""The model of ``spec/model`` keeps every promise, and each mistake in it breaks one."""

from __future__ import annotations

import pytest

from tests.model.checker import check
from tests.model.variants import JOURNAL, SEARCHES, VARIANTS, Search, Variant

pytestmark = pytest.mark.spin


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_no_state_breaks_a_promise(search: Search) -> None:
    """S1 S2 S3 S4, TR-2, TR-12, BT-4, BT-10: whatever is done, and whenever the power is cut."""
    verdict = check(*search.defines, liveness=search.liveness, model=search.model)

    assert verdict.error == "", "\n".join(verdict.counterexample)
    print(f"{search.name}: {verdict.states} states")  # noqa: T201 - shown by pytest -rP


def test_every_step_of_the_model_is_taken() -> None:
    """But one: with a tree in a settled store something is current, so it is exchanged."""
    unreached = check(*JOURNAL.defines).unreached

    assert {one for one in unreached if "printf" in one} == {"printf('PointCurrent\\n')"}


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_mistake_has_a_counterexample(variant: Variant) -> None:
    verdict = check(variant.define, *variant.search, liveness=variant.liveness, model=variant.model)

    assert verdict.error
    assert any(line.startswith("> ") for line in verdict.counterexample)
