"""The model has the order of the code, and the transition table the steps of both."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Final

import pytest

from rootman import steps
from rootman.execute import Executor
from tests.fault.faulty import Hasty, interposed
from tests.fault.scenarios import SCENARIOS
from tests.fault.test_order import Recorder
from tests.model.calls import told
from tests.model.checker import MODEL, calls_of_a_life
from tests.stores import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from rootman.steps import Plan
    from tests.fault.order import Event

TRANSITIONS: Final = MODEL.parent / "40-transitions.md"
BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}
FREE: Final = "trusted = true; is_free = true;"
TWO: Final = f"DO(upgrade(1)) {FREE} DO(upgrade(2))"
# The pinned ones are not free to be retired.
FOUR: Final = f"{TWO} trusted = true; DO(upgrade(3)) trusted = true; DO(upgrade(4))"


def life(before: str, last: str, *, killed_before: str = "rest", at: int = 0) -> str:
    """Return a life: commands, the last of them perhaps killed, and then the one to look at."""
    return (
        f"#define KILL_BEFORE {killed_before}\n"
        f"#define LIFE kill_at = {at}; {before}\n"
        f"#define THEN {FREE} {last}\n"
    )


THREE: Final = f"{TWO} {FREE} DO(upgrade(3))"
LIVES: Final = {
    "install": life("", "DO(upgrade(1))"),
    "upgrade, the first": life("DO(upgrade(1))", "DO(upgrade(2))"),
    "upgrade from the spare": life(TWO, "DO(upgrade(3))"),
    "upgrade, previous is pinned": life(TWO, "is_free = false; DO(upgrade(3))"),
    "upgrade where names cannot be exchanged": life(TWO, "can_exchange = false; DO(upgrade(3))"),
    "upgrade to what is here": life(TWO, "DO(upgrade(1))"),
    "upgrade, one was cut off while it was built": life(
        THREE, "DO(upgrade(3))", killed_before="fill_root", at=4
    ),
    "upgrade, one was cut off before its tree had a name": life(
        THREE, "DO(upgrade(4))", killed_before="move_root", at=3
    ),
    "upgrade, one was cut off within the switch": life(
        THREE, "DO(upgrade(4))", killed_before="exchange", at=2
    ),
    "upgrade, one was cut off while it left a spare": life(
        THREE, "DO(upgrade(4))", killed_before="fill_root", at=5
    ),
    "rollback": life(TWO, "DO(rollback(1))"),
    "rollback --to": life(FOUR, "DO(rollback(1))"),
    "prune": life(FOUR, "DO(prune(BIT(1) | BIT(2)))"),
}
# These change nothing that the model has, or one thing only, or what another changes: from
# where downloads come is no matter of the model's, nor how a tree is called, or what is in it.
NOT_IN_THE_MODEL: Final = {
    "pin",
    "upgrade on trial",
    "boot init",
    "boot mark-good",
    "boot mark-bad of what is current",
    "a first boot passes its test",
    "boot finish",
    "boot finish, configuration was changed since the upgrade",
    "rollback --keep-config",
    "repair",
    "init with a tree beside others",
    "a tree is taken in as another than the first of its version",
    "upgrade, both trees are of one version",
    "upgrade from far away, one was cut off while it fetched",
    "upgrade by a pack, one was cut off while it came",
    "download, one was cut off while it fetched",
    "download, one was cut off in the middle of a file",
    "bundle add, from far away",
    "bundle remove",
    "upgrade with bundles",
    "upgrade with local changes and a layer",
    "reset",
    "unlock",
    "unlock --hotfix",
}


def calls_of_the_code(home: Path, name: str, patch: pytest.MonkeyPatch) -> list[str]:
    """Return the steps and calls of the command of a scenario."""
    lab = Lab(home, make_fs=Hasty)
    BY_NAME[name].prepare(lab)
    recorder = Recorder(lab.store)
    trace: list[Event | str] = []
    run = Executor.run

    def note_steps(self: Executor, plan: Plan) -> None:
        for step in plan:
            trace.extend(recorder.events)
            recorder.events.clear()
            trace.append(type(step).__name__)
            run(self, (step,))

    patch.setattr(Executor, "run", note_steps)
    BY_NAME[name].command(lab, interposed(Hasty(), recorder))
    return told([*trace, *recorder.events])


@pytest.mark.spin
@pytest.mark.parametrize("name", LIVES)
def test_the_model_has_the_calls_of_the_code(
    tmp_on_ext4: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TR-1: step by step and call by call, in the same order."""
    in_the_model = calls_of_a_life(LIVES[name], "VERSIONS=4")

    assert calls_of_the_code(tmp_on_ext4, name, monkeypatch) == in_the_model


def test_every_scenario_is_compared_or_known_to_be_left_out() -> None:
    assert LIVES.keys() | NOT_IN_THE_MODEL == BY_NAME.keys()


def steps_of_the_code() -> set[str]:
    return {
        name
        for name, kind in vars(steps).items()
        if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == steps.__name__
    }


def steps_of_the_table() -> set[str]:
    """Return what the transition tables and the list of what recovery does name as steps."""
    return set(re.findall(r"`([A-Z][A-Za-z]+)`", TRANSITIONS.read_text()))


def test_the_transition_table_names_the_steps_of_the_code() -> None:
    """TR-1: each step is somewhere in the tables, and nothing else is."""
    assert steps_of_the_table() == steps_of_the_code()


@pytest.mark.spin
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("install", "upgrade"),
        ("upgrade, the first", "upgrade"),
        ("upgrade from the spare", "upgrade"),
        ("rollback --to", "rollback"),
    ],
)
def test_the_transition_table_has_the_order_of_the_model(name: str, command: str) -> None:
    """TR-1: what the model does is in the rows of the command, from above to below."""
    section = TRANSITIONS.read_text().split(f"\n## {command}\n")[1].split("\n## ")[0]
    table = re.findall(r"`([A-Z][A-Za-z]+)`", "".join(re.findall(r"^\| .*", section, re.MULTILINE)))
    taken = [line for line in calls_of_a_life(LIVES[name], "VERSIONS=4") if line.isalpha()]
    taken = [line for line in taken if line[0].isupper()]

    assert taken
    assert sorted(taken, key=table.index) == taken
