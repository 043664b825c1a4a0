"""A thread that keeps ahead of who uses what it makes, within a limit.

For work that does not hold Python's lock: reading, decompressing, hashing. Out of scope:
the order of several at work (``parallel``, ``workers``).
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from threading import Condition, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Item = TypeVar("_Item")


@contextmanager
def ahead(
    items: Iterator[_Item], size: Callable[[_Item], int], room: int
) -> Iterator[Iterator[_Item]]:
    """Give ``items``, made in a thread that has ended when the context has.

    Those that wait come to at most ``room`` by their ``size``, but for one that is larger
    by itself. The thread is not disturbed in the middle of one: whoever leaves early sees
    to it that it does not wait for ever.

    Raises:
        BaseException: in the caller, whatever ``items`` raises.
    """
    belt = Belt[_Item](room)

    def produce() -> None:
        try:
            for item in items:
                if not belt.put(item, size(item)):
                    return
            belt.end(None)
        except BaseException as error:  # noqa: BLE001  raised again by the consumer
            belt.end(error)

    thread = Thread(target=produce, daemon=True)
    thread.start()
    try:
        yield iter(belt)
    finally:
        belt.stop()
        thread.join()


class Belt(Generic[_Item]):
    """The items between a thread and another: at most ``room``, by what each is said to take."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._items = deque[tuple[_Item, int]]()
        self._used = 0
        self._changed = Condition()
        self._ended = self._stopped = False
        self._error: BaseException | None = None

    def put(self, item: _Item, size: int) -> bool:
        """Wait for room, and add one; return whether anybody wants more."""
        with self._changed:
            while self._used and self._used + size > self._room and not self._stopped:
                self._changed.wait()
            self._items.append((item, size))
            self._used += size
            self._changed.notify()
            return not self._stopped

    def end(self, error: BaseException | None) -> None:
        """Say that no more will come, and why."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify()

    def stop(self) -> None:
        """Say that nobody wants more."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def __iter__(self) -> Iterator[_Item]:
        """Yield the items until the end; raise what it came with."""
        while True:
            with self._changed:
                while not self._items and not self._ended:
                    self._changed.wait()
                if not self._items:
                    break
                item, size = self._items.popleft()
                self._used -= size
                self._changed.notify()
            yield item
        if self._error is not None:
            raise self._error
