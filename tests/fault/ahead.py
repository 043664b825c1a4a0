"""The forks that read ahead of an upgrade: without them where they cost more than all else.

What they read is in memory anyway in the rigs, where an upgrade is done a hundred thousand
times. Where a process is killed they are there: they must leave nothing behind.
"""

from __future__ import annotations

import sys
from typing import Final

from rootman import foresight

_FEW: Final = "_FEW"
_USUAL: Final = vars(foresight)[_FEW]


def read_nothing_ahead() -> None:
    """Have no upgrade in this process fork for that, whatever it is about to touch."""
    vars(foresight)[_FEW] = sys.maxsize


def read_ahead() -> None:
    """Have them do so as on a device."""
    vars(foresight)[_FEW] = _USUAL
