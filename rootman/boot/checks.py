"""Running the checks that say whether a booted tree works (spec/50-boot.md).

Checks are programs in ``required.d`` and ``wanted.d``; those in ``green.d`` or ``red.d`` are
told how it went. The directories are rootman's own, the administrator's, and greenboot's, whose
conventions these are. Out of scope: what follows from it (``verdict``).
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Final, Literal

from rootman.store import DEFAULT_ROOTFS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Kind = Literal["required", "wanted", "green", "red"]

TIMEOUT: Final = 60.0  # seconds for each check
# In a later one, a program replaces one of the same name in an earlier one.
OURS: Final = ("/usr/lib/rootman/health.d", "/etc/rootman/health.d")
GREENBOOT: Final = ("/usr/lib/greenboot", "/etc/greenboot")
_SAID_LIMIT: Final = 4096  # bytes of what a check said last


@dataclass(frozen=True, slots=True)
class Check:
    """A program that says by its exit code whether all is well."""

    kind: Kind
    path: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a check: ``said`` is the last line that it printed, or why it did not run."""

    check: Check
    passed: bool
    said: str
    seconds: float


def find_checks(kind: Kind, folders: Sequence[str] | None = None) -> list[Check]:
    """Return the checks of a kind in the order of their names.

    ``folders`` are looked at in place of the usual ones. What is a symlink to /dev/null, or no
    file, is none: so an administrator takes a check of the same name away.
    """
    if folders is not None:
        return sorted(_merged(kind, [(one, ()) for one in folders]), key=_order)
    with as_file(files("rootman.boot") / "data" / "health.d") as shipped:
        # What pip installed need not be executable.
        places: list[tuple[str, tuple[str, ...]]] = [(str(shipped), ("sh",))]
        places += [(one, ()) for one in OURS]
        found = _merged(kind, places)
    for greenboot in GREENBOOT:
        inner = f"{greenboot}/check" if kind in ("required", "wanted") else greenboot
        found += _merged(kind, [(inner, ())])
    return sorted(found, key=_order)


def _order(check: Check) -> tuple[str, str]:
    return os.path.basename(check.path), check.path


def _merged(kind: Kind, places: Iterable[tuple[str, tuple[str, ...]]]) -> list[Check]:
    found: dict[str, Check] = {}
    for folder, interpreter in places:
        with suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(f"{folder}/{kind}.d"):
                path = f"{folder}/{kind}.d/{name}"
                if not name.startswith(".") and not name.endswith("~"):
                    found[name] = Check(kind, path, (*interpreter, path))
    return [check for check in found.values() if _is_file(check.path)]


def _is_file(path: str) -> bool:
    """Return whether it is to be run; a link that leads nowhere is: it shall fail, and be told."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def run_check(check: Check, *, timeout: float = TIMEOUT, store: str = DEFAULT_ROOTFS) -> Result:
    """Run a check; one that takes longer than ``timeout`` seconds is ended, and has failed.

    It is told of the store as a user tells rootman, by ``ROOTMAN_ROOTFS``.
    """
    began = time.monotonic()
    # A file, no pipe: what a check leaves running behind it would keep that open. In memory: a
    # tree that nothing can be changed in may have no other place (BT-42).
    with open(os.memfd_create("check"), "rb") as output:
        try:
            process = subprocess.Popen(
                check.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ROOTMAN_ROOTFS": store},
                start_new_session=True,
            )
        except OSError as error:
            reason = error.strerror or str(error)
            return Result(check, passed=False, said=reason, seconds=time.monotonic() - began)
        try:
            code = process.wait(timeout)
            said = _last_line(output.fileno())
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            said = f"no answer in {timeout:g} s"
    return Result(check, passed=code == 0, said=said, seconds=time.monotonic() - began)


def _last_line(fd: int) -> str:
    size = os.fstat(fd).st_size
    data = os.pread(fd, _SAID_LIMIT, max(size - _SAID_LIMIT, 0))
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
