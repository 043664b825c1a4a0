"""Where the stores of these tests are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def memory() -> Iterator[Path]:
    """Give a directory in memory: some ten thousand files are made."""
    with tempfile.TemporaryDirectory(prefix="rootman-boot-", dir="/dev/shm") as name:
        yield Path(name)
