"""Every test here has real parts; those with a store want a loop filesystem, too."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    """HT-8: nobody who forks later has a thread beside it."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before
