"""The health of a booted tree: the checks are run, and what follows from them is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootman.boot.checks import TIMEOUT, Result, find_checks, run_check
from rootman.errors import Refused
from rootman.store import DEFAULT_ROOTFS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootman.boot.verdict import Verdict
    from rootman.session import Session


@dataclass(frozen=True, slots=True)
class Health:
    """What the checks found."""

    results: tuple[Result, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether every required check passed."""
        return all(one.passed for one in self.results if one.check.kind == "required")


def examine(
    folders: Sequence[str] | None = None,
    *,
    timeout: float = TIMEOUT,
    store: str = DEFAULT_ROOTFS,
    on_result: Callable[[Result], None] = lambda _: None,
) -> Health:
    """Run all checks, also after one has failed, and those that are told how it went.

    ``store`` is the path of the store that they are told of.
    """
    results = []
    for check in (*find_checks("required", folders), *find_checks("wanted", folders)):
        results.append(run_check(check, timeout=timeout, store=store))
        on_result(results[-1])
    health = Health(tuple(results))
    for told in find_checks("green" if health.is_healthy else "red", folders):
        on_result(run_check(told, timeout=timeout, store=store))
    return health


def act(opened: Session, health: Health) -> Verdict:
    """Do what follows for the tree that was booted, all but the reboot (BT-15, BT-63).

    Raises:
        NotFound: it is not known which tree was booted.
        RootmanError: it could not be written.
    """
    from rootman.boot.first import is_due
    from rootman.boot.marking import begin_boot, mark, pass_first_boot
    from rootman.boot.planning import plan_bad, plan_good, require_boot
    from rootman.boot.running import kernel_command_line, require_booted
    from rootman.boot.verdict import decide
    from rootman.session import read_state

    command_line = kernel_command_line()
    state = read_state(opened)
    number = require_booted(state.settings.os_name)
    if is_due(state.settings.first_boot, command_line):
        begin_boot(opened)
        state = read_state(opened)
    if health.is_healthy:
        trial = pass_first_boot(opened, number, command_line)
        if trial is not None:
            return "prove" if trial == "rebooting" else "mark good"
    verdict = decide(require_boot(state), state.name_of(number), is_healthy=health.is_healthy)
    if verdict == "mark good":
        mark(opened, plan_good, number)
    elif verdict == "fall back":
        try:
            mark(opened, plan_bad, number)
        except Refused:
            return "stay"  # there is nothing to fall back to
    return verdict
