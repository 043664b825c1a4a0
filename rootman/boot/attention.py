"""What somebody should see to about how a store boots, in lines with a way out."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rootman.boot.first import is_due
from rootman.boot.running import booted_name, kernel_command_line

if TYPE_CHECKING:
    from rootman.state import StoreState

UNIT: Final = "rootman-health.service"
# Where systemd looks for what is enabled (systemd.unit(5)).
_UNITS: Final = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_ENABLED: Final = (".wants", ".requires", ".upholds")


def boot_hint(state: StoreState, problem: str) -> str | None:
    """Return what to do about one of the problems of a store, None where it is not of its boots."""
    if problem.startswith("the boot state"):
        return "rootman boot init"
    if problem.startswith("the boot menu") and state.settings.loader is not None:
        return state.settings.loader.hint
    return None


def boot_warnings(state: StoreState, store: str) -> list[str]:
    """Return what the user of the store at the path ``store`` should know of its boots."""
    return [*_first_boot(state), *_trial(state, store)]


def _first_boot(state: StoreState) -> list[str]:
    """Tell of a first boot that was not tested, or did not pass (BT-63)."""
    if not is_due(state.settings.first_boot, kernel_command_line()):
        return []
    return ["this first boot has not passed its test (hint: rootman health says why)"]


def _trial(state: StoreState, store: str) -> list[str]:
    """Tell of a tree on trial that nothing has marked good, or will: it would not last (BT-65)."""
    boot = state.boot
    if boot is None or boot.pending not in state.sealed_names:
        return []
    hint = "(hint: rootman boot mark-good, once it runs as it should)"
    runs = booted_name() == boot.pending
    # What runs may be changed, in an overlay for example.
    is_alone = not marks_good("/" if runs else os.path.join(store, boot.pending))
    alone = f"{UNIT} is not enabled in it"
    if runs:
        said = f"{boot.pending} runs, and nothing has marked it good yet"
        left = f"attempts to boot it left: {boot.tries}"
        return [f"{said}{f', for {alone}' if is_alone else ''}; {left} {hint}"]
    if is_alone:
        return [f"{boot.pending} is on trial, and nothing will mark it good: {alone} {hint}"]
    return []


def marks_good(root: str) -> bool:
    """Return whether the system in the directory ``root`` marks itself good when it is up."""
    for folder in _UNITS:
        with suppress(OSError):
            names = os.listdir(os.path.join(root, folder))
            for name in names:
                if name.endswith(_ENABLED) and os.path.lexists(
                    os.path.join(root, folder, name, UNIT)
                ):
                    return True
    return False
