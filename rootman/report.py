"""What a long command tells while it works. The command line renders it."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Listens to a command."""

    def step(self, text: str) -> None:
        """Tell that the step ``text`` begins."""

    def progress(self, done: int, total: int) -> None:
        """Tell how much of the step is done, in whatever the step counts."""

    def fetched(self, done: int, total: int) -> None:
        """Tell how many bytes came over a network, of how many."""

    def said(self, text: str) -> None:
        """Tell a line that a program said, which this step runs."""

    def warn(self, text: str) -> None:
        """Tell of something that does not stop the command."""


class Silent:
    """A reporter that says nothing."""

    def step(self, text: str) -> None:
        """Say nothing."""

    def progress(self, done: int, total: int) -> None:
        """Say nothing."""

    def fetched(self, done: int, total: int) -> None:
        """Say nothing."""

    def said(self, text: str) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Say nothing."""
