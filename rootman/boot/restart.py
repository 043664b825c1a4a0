"""Having this machine boot again: through its loader, or by kexec (``kexec``).

Out of scope: what boots then (``choice``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rootman.boot import kexec, programs
from rootman.boot.running import booted_name
from rootman.errors import NotRebooted, RootmanError, SystemFailure
from rootman.session import read_state
from rootman.switching import choose_next

if TYPE_CHECKING:
    from rootman.session import Session

Way = Literal["reboot", "kexec"]

# It is there where systemd is the init that runs, as sd_booted(3) says.
SYSTEMD: Final = "/run/systemd/system"


@dataclass(frozen=True, slots=True)
class Restart:
    """A restart that is prepared: the tree that it brings up, "" where there is no need of one.

    ``failure`` is why there will be none.
    """

    way: Way
    into: str
    failure: NotRebooted | None = None


def check(way: Way | None) -> None:
    """Refuse a way that this machine has not, before anything is begun (S6).

    Raises:
        SystemFailure: it has no kexec.
    """
    if way == "kexec":
        kexec.require(has_systemd=os.path.isdir(SYSTEMD))


def prepare(opened: Session, way: Way, *, changed: bool) -> Restart:
    """Prepare a restart into what boots next.

    There is no need of one where that tree runs already; where it is not known what runs,
    something has to have ``changed``. For kexec the tree is loaded, and its attempt counted.
    """
    running = booted_name()
    try:
        into = choose_next(read_state(opened)).tree
        if into == running or not (running or changed):
            return Restart(way, "")
        if way == "kexec":
            kexec.load(opened)
    except RootmanError as error:
        failure = NotRebooted(str(error), hint=error.hint)
        return Restart(way, "", failure)
    return Restart(way, into)


def perform(prepared: Restart) -> None:
    """Have this machine boot again as it was prepared, if it was.

    Raises:
        NotRebooted: it could not be prepared, or fails.
    """
    if prepared.failure is not None:
        raise prepared.failure
    if prepared.into:
        restart(prepared.way)


def restart(way: Way) -> None:
    """Have this machine boot again; what runs is ended in order.

    Raises:
        NotRebooted: it would not.
    """
    command = ("systemctl", way) if os.path.isdir(SYSTEMD) else (way,)
    try:
        programs.run(*command)
    except SystemFailure as error:
        if way == "kexec":
            kexec.unload()
        hint = "reboot it by hand"
        raise NotRebooted(f"this machine was not rebooted: {error}", hint=hint) from error
