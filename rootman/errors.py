"""The errors rootman raises on purpose, each with its exit code.

Anything else that escapes is a bug and shows its traceback. Only ``cli/main.py``
prints these and exits.
"""

from __future__ import annotations

from typing import Final

# What verify and repair exit with when they worked and found something.
EXIT_MODIFIED: Final = 10
EXIT_DAMAGED: Final = 11


class RootmanError(Exception):
    """A failure that is the world's or the input's, not a bug.

    ``str(error)`` is one line that names the thing and the cause; ``hint`` is
    the way out, usually a command to type.
    """

    exit_code = 7

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class InvalidInput(RootmanError):
    """A manifest, release, object or repository is not what it must be."""

    exit_code = 3


class InvalidManifest(InvalidInput):
    """A manifest violates its format (spec/20-manifest.md)."""


class Refused(RootmanError):
    """The request is understood and would break a promise."""

    exit_code = 4


class Busy(RootmanError):
    """Somebody else holds the store or uses the tree."""

    exit_code = 5


class NoSpace(RootmanError):
    """Bytes or inodes would not suffice."""

    exit_code = 6


class SystemFailure(RootmanError):
    """The operating system refused an operation."""

    exit_code = 7


class NotFound(RootmanError):
    """There is no such store, version or release."""

    exit_code = 8


class Unreachable(RootmanError):
    """A server cannot be reached, or does not do its part."""

    exit_code = 9


class NotRebooted(RootmanError):
    """All is done but the reboot that was asked for."""

    exit_code = 14
