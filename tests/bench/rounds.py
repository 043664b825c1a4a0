"""Interleaved rounds: each side in turn, each time on a fresh copy of its image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench.measure import execute, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.bench.images import Images

    # Does what is measured on the filesystem; returns the seconds of its parts by name.
    Action = Callable[[Path], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Side:
    """One way to do it: on a copy of ``image``."""

    image: Path
    action: Action


@dataclass(slots=True)
class Samples:
    """What the rounds of one side gave: seconds by part, and MiB written to the disk."""

    parts: dict[str, list[float]] = field(default_factory=dict)
    written: list[float] = field(default_factory=list)


def measure(
    images: Images, sides: Mapping[str, Side], rounds: int, *, warm: bool = False
) -> dict[str, Samples]:
    """Measure all ``sides`` ``rounds`` times, every second round in reverse order.

    With ``warm``, the kernel has every inode of the filesystem in memory before.
    """
    samples = {name: Samples() for name in sides}
    for number in range(rounds):
        names = list(sides)
        for name in names if number % 2 == 0 else reversed(names):
            side, sample = sides[name], samples[name]
            with images.fresh(side.image) as filesystem:
                if warm:
                    execute("find", filesystem.path, "-links", "0")
                with settled(filesystem) as written:
                    parts = side.action(filesystem.path)
                sample.written.append(written[0] / (1 << 20))
            for part, seconds in parts.items():
                sample.parts.setdefault(part, []).append(seconds)
            shown = ", ".join(f"{part} {seconds:.3f} s" for part, seconds in parts.items())
            print(
                f"  round {number + 1}: {name}: {shown}, {sample.written[-1]:.2f} MiB", flush=True
            )
    return samples
