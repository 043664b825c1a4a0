"""Whatever fails at whatever call of a prune: no reader meets a hole, and the next one ends it."""

from __future__ import annotations

import os
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from rootman.repo import layout, prune
from rootman.repo.prune import plan_prune
from tests.fault.faulty import Hasty, interposed
from tests.fault.pruning import PRUNINGS, files, prune_trial
from tests.fault.sweep import learn, report, sweep
from tests.fault.trees import VERSIONS
from tests.stores import Lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rootman.repo.inventory import Stored
    from rootman.repo.versions import Versions
    from rootman.repo.writer import Writer
    from tests.fault.faulty import Call, Mode
    from tests.fault.lanes import Template
    from tests.fault.pruning import Pruning
    from tests.fault.sweep import Told

pytestmark = pytest.mark.loopfs

MODES: tuple[Mode, ...] = ("kill", "ENOSPC", "EIO", "full", "dead")


@pytest.fixture(scope="module")
def templates() -> dict[str, Template[Told]]:
    return {}


def known(scratch: Path, templates: dict[str, Template[Told]], pruning: Pruning) -> Template[Told]:
    if pruning.name not in templates:
        templates[pruning.name] = learn(
            scratch, pruning.prepare, pruning, lambda _lab, _known: [], files
        )
    return templates[pruning.name]


@pytest.mark.parametrize("pruning", PRUNINGS, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_a_prune_with_a_fault_at_every_call(
    scratch: Path, templates: dict[str, Template[Told]], pruning: Pruning, mode: Mode
) -> None:
    """RL-14, RL-15, RL-16, RL-17."""
    template = known(scratch, templates, pruning)

    trials = sweep(scratch, template, partial(prune_trial, pruning, template.told, mode))

    if found := report(template.told, trials):
        pytest.fail(found, pytrace=False)
    assert not trials[-1].outcome.fired


# --- the order that a power cut must find ------------------------------------------------------

# What of the second is done only when all of the first is durable.
ORDER = {
    "unlisted before retired": ("rename releases/index.json", "rename retired/"),
    "signed before retired": ("rename metadata/timestamp.json", "rename retired/"),
    "retired before its release goes": ("rename retired/", "unlink releases/"),
    "the release goes before its files": ("unlink releases/", "unlink objects/"),
    "its files go before it is forgotten": ("unlink objects/", "unlink retired/"),
    "whole before it is seen": ("create tmp/index.json", "rename releases/index.json"),
}


def events(home: Path, drops: frozenset[str] = frozenset()) -> list[str]:
    """Return what a prune of a signed repository, at once, does to the disk."""
    lab = Lab(home, make_fs=Hasty)
    pruning = PRUNINGS[-1]
    pruning.prepare(lab)
    found: list[str] = []

    def note(call: Call) -> None:
        if call.op not in drops:
            found.append(f"{call.op} {os.path.relpath(call.paths[-1], lab.repo)}")

    pruning(lab, interposed(Hasty(), note))
    return found


def broken(found: list[str]) -> set[str]:
    """Return the rules that events break."""
    wrong = set()
    for name, (first, then) in ORDER.items():
        begun = [at for at, event in enumerate(found) if event.startswith(then)]
        before = [at for at, event in enumerate(found) if event.startswith(first)]
        assert before, name
        assert begun, name
        folder = os.path.dirname(found[before[-1]].partition(" ")[2])
        between = found[before[-1] : begun[0]]
        if "syncfs ." not in between and f"fsync {folder}" not in between:
            wrong.add(name)
    return wrong


def test_each_step_is_durable_before_the_next(tmp_on_ext4: Path) -> None:
    """RL-17."""
    assert broken(events(tmp_on_ext4)) == set()


@pytest.mark.parametrize(
    ("drop", "rules"),
    [
        ("fsync", {"retired before its release goes"}),
        (
            "syncfs",
            {
                "the release goes before its files",
                "its files go before it is forgotten",
                "whole before it is seen",
            },
        ),
    ],
)
def test_a_step_that_is_not_durable_is_found(tmp_on_ext4: Path, drop: str, rules: set[str]) -> None:
    assert broken(events(tmp_on_ext4, frozenset({drop}))) >= rules


# --- mutants -----------------------------------------------------------------------------------


def _ignore_grace(patch: pytest.MonkeyPatch) -> None:
    def plan(versions: Versions, keep: int, _grace: float, now: float) -> prune.Plan:
        return plan_prune(versions, keep, 0, now)

    patch.setattr(prune, "plan_prune", plan)


def _delete_before_unlisting(patch: pytest.MonkeyPatch) -> None:
    unlist, retire, delete = prune._unlist, prune._retire, prune._delete
    waiting: list[Callable[[], object]] = []
    patch.setattr(prune, "_unlist", lambda *given: waiting.append(partial(unlist, *given)))
    patch.setattr(prune, "_retire", lambda *given: waiting.append(partial(retire, *given)))

    def deleting(*given: Any) -> object:  # noqa: ANN401 - passed through
        found = delete(*given)
        while waiting:
            waiting.pop(0)()
        return found

    patch.setattr(prune, "_delete", deleting)


def _retire_before_signing(patch: pytest.MonkeyPatch) -> None:
    """Delete what is signed, and sign that it is not there any more only then."""
    announced = prune._announced
    patch.setattr(prune, "_announced", lambda writer: announced(writer) - {1, 2, 3})


def _delete_shared(patch: pytest.MonkeyPatch) -> None:
    """Take what a version that goes needed for its own."""
    has = prune._Needs.has

    def wrong(self: prune._Needs, one: Stored) -> bool:
        return has(self, one) and one.digest not in shared

    shared = {sha256(node.content).hexdigest() for node in VERSIONS[1].values()}
    patch.setattr(prune._Needs, "has", wrong)


def _forget_retirement_first(patch: pytest.MonkeyPatch) -> None:
    """Forget that a version was retired before its release is gone."""
    delete = prune._delete

    def wrong(writer: Writer, versions: tuple[int, ...], needs: prune._Needs) -> object:
        for version in versions:
            name = layout.release_file(version)
            writer.fs.unlink(name, dir_fd=writer.folder(layout.RETIRED))
        return delete(writer, versions, needs)

    patch.setattr(prune, "_delete", wrong)


MUTANTS = {
    "the grace ignored": (_ignore_grace, "with a grace", "RL-15"),
    "deletion before unlisting": (_delete_before_unlisting, "at once", "RL-14"),
    "retired before it is signed": (_retire_before_signing, "signed, at once", "RL-14"),
    "a shared object deleted": (_delete_shared, "with a grace", "RL-15"),
    "a retirement forgotten first": (_forget_retirement_first, "with a grace", "RL-16"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_found(
    scratch: Path,
    templates: dict[str, Template[Told]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    mutate, which, breaks = MUTANTS[name]
    pruning = next(one for one in PRUNINGS if one.name == which)
    template = known(scratch, templates, pruning)

    mutate(monkeypatch)
    trial = partial(prune_trial, pruning, template.told, "kill")
    trials = sweep(scratch, template, trial, to_the_first=True)

    found = {one for trial in trials for one in trial.violations}
    assert any(f"{breaks}:" in one for one in found), found
