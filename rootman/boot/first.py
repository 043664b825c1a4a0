"""The first boot of a store that was written to a device as a whole: tested once. Pure.

``rootman.firstboot`` on the kernel command line asks for it; what came of it is in the settings of
the store. Out of scope: the tests (``checks``) and what else follows from them (``verdict``).
"""

from __future__ import annotations

from typing import Final, Literal

from rootman.boot.commandline import option

# Not yet, passed and about to be proved by another boot, passed.
Trial = Literal["", "rebooting", "passed"]
TRIALS: Final[tuple[Trial, ...]] = ("", "rebooting", "passed")
_OPTION: Final = "rootman.firstboot"
_NO_REBOOT: Final = "noreboot"


def is_due(trial: Trial, command_line: str) -> bool:
    """Return whether this is a first boot, of which nothing has said yet that it went well."""
    return trial == "" and option(command_line, _OPTION) is not None


def after_passing(trial: Trial, command_line: str) -> Trial:
    """Return what is kept when all required checks have passed (BT-63).

    There is no way back from what it returns: so there is one reboot at the most.
    """
    if trial == "rebooting":
        return "passed"
    if not is_due(trial, command_line):
        return trial
    return "passed" if option(command_line, _OPTION) == _NO_REBOOT else "rebooting"
