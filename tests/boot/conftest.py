"""Where the stores of these tests are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.boot.system import system_disk

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def memory() -> Iterator[Path]:
    """Give a directory in memory: some ten thousand files are made."""
    with tempfile.TemporaryDirectory(prefix="rootman-boot-", dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def system() -> Path:
    """Return the disk with the system that is booted, to be copied."""
    return system_disk()


@pytest.fixture
def disk(scratch: Path) -> Iterator[Path]:
    """Give a name for the disk of a test, in a directory where it may make others."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        yield Path(name, "disk")
