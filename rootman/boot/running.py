"""Which tree this machine has booted, as the initramfs and the kernel command line say it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rootman.boot.commandline import TREE, option
from rootman.errors import NotFound
from rootman.names import parse_tree_name

if TYPE_CHECKING:
    from rootman.names import TreeNumber

# The initramfs writes it; it knows the tree where the command line names but a version (BT-9).
BOOTED: Final = "/run/rootman/booted"
COMMAND_LINE: Final = "/proc/cmdline"


def booted_name(*, said: str = BOOTED, command_line: str = COMMAND_LINE) -> str:
    """Return the name of the tree that was booted, "" where nothing says so."""
    with suppress(OSError), open(said, encoding="utf-8", errors="replace") as file:
        return file.readline().strip()
    return option(kernel_command_line(command_line), TREE) or ""


def kernel_command_line(path: str = COMMAND_LINE) -> str:
    """Return what the kernel that runs was told, "" where that cannot be read."""
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
    return ""


def require_booted(os_name: str) -> TreeNumber:
    """Return the number of the tree that was booted.

    Raises:
        NotFound: this machine did not boot one, or not by rootman.
    """
    number = parse_tree_name(os_name, booted_name())
    if number is None:
        raise NotFound(f"this machine has not booted a tree of {os_name}", hint="name it: N")
    return number
