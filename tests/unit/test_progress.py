"""What is told of a fetch on a terminal."""

from __future__ import annotations

import pytest

from cli import progress
from cli.progress import Progress, _fetched


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


@pytest.mark.parametrize("width", [80, 0])
def test_the_making_of_a_pack_moves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    """It moves also where nothing new is done: by the time since the phase began."""
    now = 100.0
    monkeypatch.setattr(progress, "_terminal_width", lambda: width)
    monkeypatch.setattr("time.monotonic", lambda: now)
    reporter = Progress("publish")
    for seconds, phase, done in ((0, "compare", 0), (1, "compare", 3), (1, "compress", 0)):
        now += seconds
        reporter.pack("from 1", phase, done, 4)
    for _ in range(2):
        now += 61
        reporter.pack("from 1", "compress", 1, 4)

    told = capsys.readouterr().err.split("\r\x1b[K")[1:]

    assert told == (
        [
            "publish: pack from 1: compare: 0%, 0:00",
            "publish: pack from 1: compare: 75%, 0:01",
            "publish: pack from 1: compress: 0%, 0:00",
            "publish: pack from 1: compress: 25%, 1:01",
            "publish: pack from 1: compress: 25%, 2:02",
        ]
        if width
        else []
    )
