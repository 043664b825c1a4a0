"""Programs of the system that this machine is rebooted with."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

from rootman.errors import SystemFailure

# Where they are, also for whom cron or su gave a PATH without.
_SYSTEM: Final = ("/usr/sbin", "/sbin")


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM))


def is_there(name: str) -> bool:
    """Return whether there is a program of that name."""
    return shutil.which(name, path=_path()) is not None


def run(*command: str) -> None:
    """Run a program to its end; what it says is only of interest where it fails.

    Raises:
        SystemFailure: it did, or there is none; with the last line that it said.
    """
    environment = {**os.environ, "PATH": _path()}
    try:
        subprocess.run(
            command, check=True, stdin=subprocess.DEVNULL, capture_output=True, env=environment
        )
    except OSError as error:
        raise SystemFailure(f"{command[0]}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        said: bytes = error.stderr or error.stdout
        lines = said.decode("utf-8", "backslashreplace").strip().splitlines()
        reason = lines[-1] if lines else f"exit code {error.returncode}"
        raise SystemFailure(f"{command[0]}: {reason}") from error
