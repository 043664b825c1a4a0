"""Whatever fails at a call of ``apply-live``: each path is whole, and the next run goes on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.fault.living import content_of, live, live_trial, prepare
from tests.fault.sweep import learn, report, sweep

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fault.faulty import Mode
    from tests.fault.lanes import Template
    from tests.fault.sweep import Told

pytestmark = pytest.mark.loopfs


@pytest.fixture(scope="module")
def template(scratch: Path) -> Template[Told]:
    return learn(scratch, prepare, live, lambda _lab, _known: [], content_of)


@pytest.mark.parametrize("mode", ["kill", "ENOSPC", "EIO", "dead"])
def test_apply_live_with_a_fault_at_every_call(
    scratch: Path, template: Template[Told], mode: Mode
) -> None:
    """AL-4 S5."""
    trials = sweep(scratch, template, partial(live_trial, template.told, mode))

    if found := report(template.told, trials):
        pytest.fail(found, pytrace=False)
    assert not trials[-1].outcome.fired
