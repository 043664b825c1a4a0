"""Whatever fails at whatever call: the store stays whole, and the next command puts it right."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from tests.fault.beginnings import (
    files,
    init,
    init_tree,
    init_trial,
    prepare_bundles,
    prepare_first,
    prepare_nothing,
    prepare_second,
    publish,
    publish_trial,
)
from tests.fault.scenarios import MODES, SCENARIOS, Scenario
from tests.fault.states import settled_violations
from tests.fault.sweep import learn, learn_store, report, seen, store_trial, sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rootman.fsops import Fs
    from tests.fault.faulty import Mode
    from tests.fault.lanes import Template
    from tests.fault.sweep import Told, Trial
    from tests.stores import Lab

    Prepare = Callable[[Lab], None]
    Command = Callable[[Lab, Fs], None]

pytestmark = pytest.mark.loopfs
# Of a variant (``sweep``) these stand for the others: each error once, and each way to last.
_ENOUGH: Final = ("kill", "EIO", "full")


@pytest.fixture(scope="module")
def templates() -> dict[str, Template[Told]]:
    """Return what was prepared last: all that is kept is paid for by each fork."""
    return {}


@pytest.mark.parametrize(
    ("mode", "scenario"),
    [
        pytest.param(mode, scenario, id=f"{mode}-{scenario}")
        for scenario in SCENARIOS
        for mode in MODES
        if mode in scenario.modes and (mode in _ENOUGH or not scenario.is_variant)
    ],
)
def test_a_fault_at_every_call(
    scratch: Path, templates: dict[str, Template[Told]], scenario: Scenario, mode: Mode
) -> None:
    """S1 S2 S4 S5, TR-1 TR-2 TR-3 TR-4 TR-5 TR-12 TR-16, ST-11 ST-12, EX-1 EX-2 EX-3."""
    if scenario.name not in templates:
        templates.clear()
        templates[scenario.name] = learn_store(scratch, scenario)
    template = templates[scenario.name]

    trials = sweep(
        scratch,
        template,
        partial(store_trial, scenario, template.told, mode),
        is_variant=scenario.is_variant,
    )

    _expect_nothing_wrong(template, trials)
    if mode == "kill":
        assert set(seen(trials)) == scenario.left


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("prepare", [prepare_first, prepare_second, prepare_bundles])
def test_publish_with_a_fault_at_every_call(
    scratch: Path, templates: dict[str, Template[Told]], prepare: Prepare, mode: Mode
) -> None:
    """RL-7: readers see the old releases, or those and the new one."""
    name = prepare.__name__
    if name not in templates:
        templates.clear()
        templates[name] = learn(scratch, prepare, publish, lambda _lab, _known: [], files)
    template = templates[name]

    trials = sweep(scratch, template, partial(publish_trial, template.told, mode))

    _expect_nothing_wrong(template, trials)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("prepare", "command"), [(prepare_nothing, init), (prepare_first, init_tree)]
)
def test_init_with_a_fault_at_every_call(
    scratch: Path,
    templates: dict[str, Template[Told]],
    prepare: Prepare,
    command: Command,
    mode: Mode,
) -> None:
    """ST-1: a store is never seen half made."""
    name = command.__name__
    if name not in templates:
        templates.clear()
        templates[name] = learn(scratch, prepare, command, settled_violations, lambda _: (name,))
    template = templates[name]

    trials = sweep(scratch, template, partial(init_trial, template.told, mode))

    _expect_nothing_wrong(template, trials)


def _expect_nothing_wrong(template: Template[Told], trials: list[Trial]) -> None:
    if found := report(template.told, trials):
        pytest.fail(found, pytrace=False)
    assert not trials[-1].outcome.fired
