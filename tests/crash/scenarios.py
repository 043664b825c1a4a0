"""The commands whose power cuts are tried, and what must hold whenever one comes.

The stores that they begin from, and the shapes that they pass through, are those of the
faults (``tests.fault.scenarios``). What is added is what only a power cut can break: that
an exit with 0 means that it stays done. Out of scope: GRUB's view (``grub``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from rootman.boot import unlocked
from rootman.boot.planning import plan_good
from rootman.boot.running import COMMAND_LINE
from rootman.errors import RootmanError
from rootman.upgrade import Options
from tests.commands import Machine
from tests.crash import grub
from tests.fault import beginnings
from tests.fault.faulty import Hasty, attempt
from tests.fault.scenarios import SCENARIOS as STORE_SCENARIOS
from tests.fault.scenarios import publish_parts, with_local_changes
from tests.fault.states import (
    settled_violations,
    shape_of,
    tree_violations,
    violations,
)
from tests.fault.sweep import SETTLED, changing_violations, knowledge
from tests.fault.trees import VERSIONS
from tests.filesystems import run
from tests.layers import program
from tests.numbers import number

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from rootman.names import TreeNumber
    from tests.crash.recording import Phase
    from tests.fault.beginnings import Files
    from tests.fault.scenarios import Scenario
    from tests.fault.states import Known, Names, Shape
    from tests.numbers import Number
    from tests.stores import Lab

NEXT: Final = 5
"""The release that the upgrade after the power cut is to: no scenario has it."""
SOURCES: Final[dict[tuple[str, ...], Number]] = {
    (): NEXT,
    ("doc", "more"): f"{NEXT}.1",
    ("more",): f"{NEXT}.2",
}
"""The numbers of the sources that have what that release is with these bundles."""
UPGRADED: Final = 4
"""One of so many states is upgraded; an upgrade takes as long as a look."""
BY_COMMAND: Final = 200
"""One of so many is recovered and upgraded by processes of their own, as a user does it."""
_ANY: Final = 1 << 30
"""Downloads that are torn: nothing made them durable (ST-12)."""


class CrashScenario(Protocol):
    """One command line, and what must hold on every disk that it can leave."""

    @property
    def name(self) -> str:
        """What it is called."""

    def prepare(self, lab: Lab) -> None:
        """Make what it begins from."""

    def learn(self, lab: Lab) -> Any:  # noqa: ANN401 - its own affair
        """Return what ``check`` wants to know of the beginning."""

    def arguments(self, lab: Lab) -> tuple[str, ...]:
        """Return the command line after ``rootman --rootfs STORE``."""

    def begin(self) -> None:
        """Have this process, which is there for the command alone, be what that runs on."""

    def load(self, image: Path, phase: Phase) -> list[str]:
        """Return what does not hold for a loader that reads the disk before it is mounted."""

    def check(self, lab: Lab, told: Any, phase: Phase, *, number: int) -> list[str]:  # noqa: ANN401
        """Return what does not hold, each a line with the id of the claim; recovers, upgrades."""


@dataclass(frozen=True, slots=True)
class StoreScenario:
    """A command on a store."""

    scenario: Scenario
    words: tuple[str, ...]
    runs: str = ""
    """The tree that this machine has booted, as the command sees it."""
    mode: str = ""
    """How an initramfs says that it brought that up."""

    @property
    def name(self) -> str:
        return self.scenario.name

    def prepare(self, lab: Lab) -> None:
        self.scenario.prepare(lab)
        if self.runs:
            command_line = lab.home.parent / "cmdline"  # not on the disk that is recorded
            command_line.write_text(f"rootman.tree={self.runs}\n")
            run("mount", "--bind", str(command_line), COMMAND_LINE)
        if self.scenario.has_bundles:
            publish_parts(lab, NEXT, *((written, names) for names, written in SOURCES.items()))
        else:
            lab.publish(NEXT, VERSIONS[NEXT])

    def learn(self, lab: Lab) -> Known:
        return knowledge(lab)

    def arguments(self, lab: Lab) -> tuple[str, ...]:
        return tuple(word.format(repo=lab.repo) for word in self.words)

    def begin(self) -> None:
        if self.mode:
            said = os.memfd_create("booted")
            os.write(said, f"{self.runs}\nby hand\n{self.mode}\n".encode())
            vars(unlocked)["BOOTED"] = f"/proc/self/fd/{said}"

    def load(self, image: Path, phase: Phase) -> list[str]:
        """Have GRUB load what ``current`` is, old or new, and what it became after the exit."""
        shapes = self.scenario.shapes[-1:] if phase == "done" else self.scenario.shapes
        trees = [shape.current for shape in shapes]
        if None in trees:
            return []  # the first tree is being installed
        versions = {tree.version for tree in trees if tree is not None}
        try:
            found = grub.boots(image)
        except grub.Unbootable as error:
            return [f"GRUB: S3: {error}"]
        if found not in versions:
            return [f"GRUB: S3: it loads {found}, not one of {versions}"]
        return self._load_trial(image, found)

    def _load_trial(self, image: Path, version: int) -> list[str]:
        """Have GRUB read the boot state: a new tree that it loads is on trial."""
        shapes = self.scenario.shapes
        boot = grub.boot_state(image)
        if boot is None or number(version) in shapes[0].trees:
            return []
        if boot.pending == f"olpc.{version}":
            return []
        return [f"GRUB: BT-10: it loads {version}, and the boot state is {boot}"]

    def check(self, lab: Lab, told: Known, phase: Phase, *, number: int) -> list[str]:
        check = _StoreCheck(self.scenario, lab, told, done=phase == "done")
        if number % BY_COMMAND == 0:
            check.try_to("status", lambda: _type(lab, "status"))
        check.look()
        if number % BY_COMMAND == 0:
            check.upgrade(lambda: _type_upgrade(lab))
        elif number % UPGRADED == 0:
            check.upgrade(lambda: _upgrade_here(lab))
        return check.finish()


def _type(lab: Lab, *words: str) -> None:
    """Run the command line in a process of its own."""
    done = Machine(lab.home).attempt(*(word.format(repo=lab.repo) for word in words))
    if done.code:
        raise AssertionError(f"{words}: exit code {done.code}: {done.err}")


def _type_upgrade(lab: Lab) -> None:
    trial = _trial(lab)
    if trial is not None:
        _type(lab, "boot", "mark-good", str(trial))
    _type(lab, *_upgrade(NEXT), "--no-layer")


def _upgrade_here(lab: Lab) -> None:
    trial = _trial(lab)
    if trial is not None:
        lab.mark(plan_good, trial)
    lab.upgrade(NEXT, options=Options(no_layer=True))


def _trial(lab: Lab) -> TreeNumber | None:
    """Return the current tree if it is on trial: no other is installed until it is good."""
    state = lab.scan()
    if state.boot is None or state.current is None:
        return None
    return state.current if state.name_of(state.current) == state.boot.pending else None


class _StoreCheck:
    """What is looked at after one power cut: what it left, its recovery, the next upgrade."""

    def __init__(self, scenario: Scenario, lab: Lab, told: Known, *, done: bool) -> None:
        self._scenario = scenario
        self._lab = lab
        self._known = told.but(scenario.changing)
        self._before = told.before.get(number(scenario.changing), {})
        self._done = done
        self._found: list[str] = []

    def look(self) -> None:
        """Look at what was left, have it recovered, and look again."""
        scenario, last = self._scenario, self._scenario.shapes[-1:]
        left = self._lab.scan()
        self._expect("left", last if self._done else scenario.shapes, scenario.left)
        if not self.try_to("status", self._lab.look):
            return
        ends = last if self._done else (scenario.shapes[0], *scenario.stops, *last)
        if self._lab.scan() != left:
            self._expect("status", ends, {SETTLED})
        elif shape_of(left) not in ends:
            self._found.append(f"status: TR-1: {shape_of(left)} is none of {ends}")
        self._expect_settled("status")

    def upgrade(self, upgrade: Callable[[], object]) -> None:
        """Have the next upgrade, and look."""
        before = self._lab.scan()
        was, tree = before.current, before.sealed(before.current)
        if not self.try_to("upgrade", upgrade):
            return
        state = self._lab.scan()
        found = [f"S2: {problem}" for problem in state.problems]
        if (state.current, state.previous) != (number(NEXT), was):
            found.append(f"S2: {shape_of(state)}, but {was} was current")
        if self._scenario.has_bundles and tree is not None and tree.seal is not None:
            names = tuple(sorted(tree.seal.parts.keys() - {"base"}))
            wanted = {number(NEXT): self._known.wanted[number(SOURCES[names])]}
            self._known = replace(self._known, wanted={**self._known.wanted, **wanted})
        found += tree_violations(self._lab, NEXT, self._known, thorough=True)
        self._found += [f"upgrade: {one}" for one in found]
        self._expect_settled("upgrade")

    def try_to(self, what: str, command: Callable[[], object]) -> bool:
        """Give a command, and return whether it succeeded."""
        kind, message, _ = attempt(command)
        if kind != "done":
            self._found.append(f"{what}: S4: {message}")
        return kind == "done"

    def finish(self) -> list[str]:
        """Return what was found."""
        return self._found

    def _expect(self, when: str, shapes: Collection[Shape], names: Collection[Names]) -> None:
        changing = self._scenario.changing
        whole = self._done or not changing
        found = violations(
            self._lab,
            self._known,
            shapes=shapes,
            names=names,
            except_for=0 if whole else changing,
            thorough=self._done,
        )
        if not whole:
            found += changing_violations(self._scenario, self._lab, self._known, self._before)
        self._found += [f"{when}: {one}" for one in found]

    def _expect_settled(self, when: str) -> None:
        found = settled_violations(self._lab, self._known, torn=_ANY)
        self._found += [f"{when}: {one}" for one in found]


class PublishScenario:
    """A second release, published where there is one."""

    name = "publish"

    def prepare(self, lab: Lab) -> None:
        beginnings.prepare_second(lab)

    def learn(self, lab: Lab) -> Files:
        return beginnings.read_files(lab.repo)

    def arguments(self, lab: Lab) -> tuple[str, ...]:
        version = beginnings.newest(lab)
        return ("publish", str(lab.source(version)), str(lab.repo), "--version", str(version))

    def begin(self) -> None:
        """Need nothing."""

    def load(self, image: Path, phase: Phase) -> list[str]:
        """Expect nothing: no loader reads a repository."""
        del image, phase
        return []

    def check(self, lab: Lab, told: Files, phase: Phase, *, number: int) -> list[str]:
        del number
        found = [f"left: {one}" for one in self._readers(lab, told, done=phase == "done")]
        if phase == "done" and beginnings.leftovers(lab.repo):
            found.append(f"left: RL-7: {beginnings.leftovers(lab.repo)} in tmp")
        kind, message, _ = attempt(lambda: beginnings.publish(lab, Hasty()))
        if kind != "done":
            found.append(f"given again: RL-8: {message}")
        found += [f"given again: {one}" for one in self._readers(lab, told, done=True)]
        return found

    def _readers(self, lab: Lab, told: Files, *, done: bool) -> Iterator[str]:
        try:
            yield from beginnings.reader_violations(lab, told, beginnings.newest(lab), done=done)
        except RootmanError as error:
            yield f"RL-7: {error}"


def _store(name: str, *words: str, runs: str = "", mode: str = "") -> StoreScenario:
    scenario = next(one for one in STORE_SCENARIOS if one.name == name)
    return StoreScenario(scenario, words, runs, mode)


def _with_a_layer(name: str, *words: str) -> StoreScenario:
    """Return a scenario with a package manager that runs, through the guard."""
    found = _store(name, *words)

    def prepare(lab: Lab) -> None:
        with_local_changes(lab, program())

    return replace(found, scenario=replace(found.scenario, prepare=prepare))


def _upgrade(version: int) -> tuple[str, str]:
    return "upgrade", f"{{repo}}/releases/{version}.json"


SCENARIOS: Final[tuple[CrashScenario, ...]] = (
    _store("install", *_upgrade(1)),
    _store("upgrade, the first", *_upgrade(2)),
    _store("upgrade from the spare", *_upgrade(3)),
    _with_a_layer("upgrade with local changes and a layer", *_upgrade(3)),
    _store("upgrade, both trees are of one version", *_upgrade(3)),
    _store("upgrade, one was cut off while it was built", *_upgrade(3)),
    _store("upgrade, one was cut off within the switch", *_upgrade(4)),
    _store("upgrade, one was cut off while it left a spare", *_upgrade(4)),
    _store("download, one was cut off while it fetched", *_upgrade(3), "--download-only"),
    _store("bundle add, from far away", "bundle", "add", "doc", "more", "--from", "{repo}"),
    _store("bundle remove", "bundle", "remove", "doc"),
    _store("reset", "reset", "--state"),
    _store("unlock --hotfix", "unlock", "--hotfix", runs="olpc.2", mode="guard"),
    _store("rollback", "rollback"),
    _store("rollback --to", "rollback", "--to", "1"),
    _store("upgrade on trial", *_upgrade(3)),
    _store("boot init", "boot", "init"),
    _store("boot mark-bad of what is current", "boot", "mark-bad", "3"),
    _store(
        "boot finish, configuration was changed since the upgrade",
        *("boot", "finish"),
        runs="olpc.2",
    ),
    _store("rollback --keep-config", "rollback", "--keep-config"),
    _store("prune", "prune"),
    _store("repair", "repair", "2", "--from", "{repo}"),
    PublishScenario(),
)
BY_NAME: Final = {one.name: one for one in SCENARIOS}
