"""A device for the tests that type commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.commands import Machine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def machine(tmp_on_ext4: Path) -> Machine:
    """Return a device without a store yet, on ext4."""
    return Machine(tmp_on_ext4)
