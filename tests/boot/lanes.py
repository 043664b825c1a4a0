"""Stories of machines, told side by side: as many at a time as there are processors."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
LANES: Final = len(os.sched_getaffinity(0))


def side_by_side(stories: Iterable[Callable[[], T]]) -> list[T]:
    """Tell all of them, those first that come first; return what comes of each.

    Raises:
        ExceptionGroup: with what was raised, by one of them or by several.
    """
    with ThreadPoolExecutor(LANES) as pool:
        told = [pool.submit(story) for story in stories]
    failures = [one.exception() for one in told]
    wrong = [failure for failure in failures if isinstance(failure, Exception)]
    if wrong:
        raise ExceptionGroup("what machines did", wrong)
    return [one.result() for one in told]
