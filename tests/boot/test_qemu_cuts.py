"""Power cuts of a machine that boots for real, with the write cache of its disk lost."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from tests.boot.lanes import side_by_side
from tests.boot.lives import PHASES, record_life
from tests.boot.plug import pull_the_plug

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.debian, pytest.mark.loopfs]
CUTS: Final = 4  # in each phase


@pytest.mark.timeout(1800)
def test_after_a_power_cut_it_boots_what_was_or_what_is_to_be(system: Path, disk: Path) -> None:
    """S4 BT-4: somewhere in an upgrade, a rollback, the first boot of a version, a shutdown."""
    recording = record_life(system, disk)
    cuts = [(phase, seed) for seed in range(CUTS) for phase in PHASES]
    side_by_side(
        [
            partial(pull_the_plug, recording, phase, disk.with_name(f"cut{n}"), Random(seed))
            for n, (phase, seed) in enumerate(cuts)
        ]
    )
