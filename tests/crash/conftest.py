"""The table of the crash states, at the end of the run that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_TABLE = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> list[str]:
    """Return the lines that are printed at the end."""
    return pytestconfig.stash.setdefault(_TABLE, [])


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(_TABLE, []):
        terminalreporter.section("crash states")
        terminalreporter.write_line("\n".join(lines))
