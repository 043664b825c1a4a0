"""What is told of a fetch on a terminal."""

from __future__ import annotations

import pytest

from cli.progress import _fetched


@pytest.mark.parametrize(
    ("done", "total", "rate", "text"),
    [
        (0, 1 << 30, 0, "0 B of 1.0 GiB, 0 B/s"),
        (1 << 20, 3 << 20, 1 << 20, "1.0 MiB of 3.0 MiB, 1.0 MiB/s, 0:02 left"),
        (1 << 20, 1 << 30, 1 << 20, "1.0 MiB of 1.0 GiB, 1.0 MiB/s, 17:03 left"),
        (4 << 20, 3 << 20, 1024, "4.0 MiB of 3.0 MiB, 1.0 KiB/s, 0:00 left"),
    ],
)
def test_bytes_rate_and_time_left(done: int, total: int, rate: float, text: str) -> None:
    assert _fetched(done, total, rate) == text
