"""Booting a tree without firmware and loader: kexec(8) loads it into the kernel that runs.

What a loader does is done here then: the choice is made, and the attempt counted before
anything is loaded (BT-61). Out of scope: ending what runs (``restart``).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rootman.boot import programs
from rootman.boot.commandline import for_tree
from rootman.boot.label import read_label
from rootman.boot.running import booted_name, kernel_command_line
from rootman.errors import InvalidInput, NotFound, RootmanError, SystemFailure
from rootman.execute import Executor
from rootman.session import read_state
from rootman.steps import SaveBoot
from rootman.switching import choose_next

if TYPE_CHECKING:
    from rootman.boot.label import Label
    from rootman.session import Session

PROGRAM: Final = "kexec"
# The kernel has it where it can do kexec at all; the other forbids it until the next boot.
LOADED: Final = "/sys/kernel/kexec_loaded"
FORBIDDEN: Final = "/proc/sys/kernel/kexec_load_disabled"
_NO_KEXEC: Final = "this machine cannot kexec"


def require(*, has_systemd: bool) -> None:
    """Refuse to begin where a tree cannot be booted so.

    Raises:
        SystemFailure: what is missing.
    """
    if not programs.is_there(PROGRAM):
        raise SystemFailure(
            f"{_NO_KEXEC}: there is no program {PROGRAM}",
            hint="apt-get install kexec-tools, or --reboot",
        )
    if not has_systemd:
        # kexec --exec would end nothing that runs and unmount nothing.
        raise SystemFailure(f"{_NO_KEXEC}: systemd does not run here", hint="--reboot")
    if not os.path.exists(LOADED) or _read(FORBIDDEN) not in ("", "0"):
        raise SystemFailure(f"{_NO_KEXEC}: its kernel does not allow it", hint="--reboot")
    if not booted_name():
        raise SystemFailure(
            f"{_NO_KEXEC}: it has not booted by rootman, so what to tell the kernel is not known",
            hint="--reboot",
        )


def _read(path: str) -> str:
    with suppress(OSError), open(path, encoding="ascii") as file:
        return file.read().strip()
    return ""


def load(opened: Session) -> None:
    """Load the tree that boots next, with its attempt counted; or change nothing.

    Raises:
        RootmanError: it cannot be loaded, or the boot state not be written.
    """
    state = read_state(opened)
    choice = choose_next(state)
    executor = Executor(opened.store, opened.fs, opened.reporter, state)
    before = state.boot if choice.after != state.boot else None
    if before is not None:
        executor.run((SaveBoot(choice.after),))
    try:
        _load(opened.store.path, choice.tree)
    except RootmanError:
        unload()
        if before is not None:
            executor.run((SaveBoot(before),))
        raise


def _load(store: str, tree: str) -> None:
    label = _label(store, tree)
    if label is None:
        raise NotFound(
            f"{tree} has no boot/rootman.cfg that names its kernel",
            hint="reboot it by hand; rootman boot label, before it is published",
        )
    running = _label(store, booted_name())
    text = for_tree(
        kernel_command_line(), running.args.split() if running else (), tree, label.args.split()
    )
    initrd = (f"--initrd={_inside(store, tree, label.initrd)}",) if label.initrd else ()
    programs.run(
        PROGRAM, "--kexec-syscall-auto", "--load", _inside(store, tree, label.linux),
        *initrd, f"--command-line={text}",
    )  # fmt: skip


def _label(store: str, tree: str) -> Label | None:
    if not tree:
        return None
    with suppress(RootmanError, OSError):
        return read_label(os.path.join(store, tree))
    return None


def _inside(store: str, tree: str, path: str) -> str:
    """Return the path of a file of a tree, which a link in it must not lead out of it."""
    root = os.path.realpath(os.path.join(store, tree))
    found = os.path.realpath(os.path.join(root, path.lstrip("/")))
    if not found.startswith(f"{root}/"):
        raise InvalidInput(f"{path} of {tree} leads out of it")
    return found


def unload() -> None:
    """Forget what was loaded, so that nothing boots it uncounted later."""
    with suppress(SystemFailure):
        programs.run(PROGRAM, "--unload")
