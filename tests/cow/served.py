"""A guard that serves in a fork of the test, so that its calls can be made to fail.

Out of scope: what is done in the mount. Whoever uses it is another process than the one
that serves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Final

from cow.disk import Disk
from cow.guard import Subject, mounted
from cow.seal import SealedInodes
from tests.fault.faulty import Forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_PATIENCE: Final = 60  # seconds until a guard that hangs is killed, and its callers freed


class Served:
    """A guard of ``tree``, mounted at ``mnt``."""

    def __init__(
        self, tree: Path, mnt: Path, make_disk: Callable[[], Disk], sealed: Sequence[int]
    ) -> None:
        self._mnt = mnt
        reading, writing = os.pipe()
        self._process = Forked(partial(_serve, tree, mnt, make_disk, sealed, writing))
        os.close(writing)
        with open(reading, "rb") as pipe:
            self.is_ready = pipe.read() == b"ready"

    def end(self) -> bool:
        """Unmount; return whether the guard had lived until then."""
        subprocess.run(("umount", "--lazy", self._mnt), check=False, capture_output=True)
        return self._process.result() is not None


def _serve(
    tree: Path, mnt: Path, make_disk: Callable[[], Disk], sealed: Sequence[int], writing: int
) -> bool:
    signal.alarm(_PATIENCE)
    with open(2, "w", closefd=False) as log:
        logging.getLogger().addHandler(logging.StreamHandler(log))
        _guard(tree, mnt, make_disk, sealed, writing)
    return True


def _guard(
    tree: Path, mnt: Path, make_disk: Callable[[], Disk], sealed: Sequence[int], writing: int
) -> None:
    subject = Subject(str(tree.parent), tree.name, f".{tree.name}.rootman-guard", str(tree))

    def ready() -> None:
        os.write(writing, b"ready")
        os.close(writing)

    with mounted(subject, str(mnt), SealedInodes(sealed), disk=make_disk()) as serve:
        serve(ready)


@contextlib.contextmanager
def serving(
    tree: Path, mnt: Path, make_disk: Callable[[], Disk] = Disk, *, sealed: Sequence[int] = ()
) -> Iterator[Callable[[], bool]]:
    """Guard ``tree`` at ``mnt``; yield what unmounts it, which is called at the end, too.

    ``sealed`` are the inodes of its seal record.
    """
    served = Served(tree, mnt, make_disk, sealed)
    ended: list[bool] = []

    def end() -> bool:
        if not ended:
            ended.append(served.end())
        return ended[0]

    try:
        assert served.is_ready
        yield end
    finally:
        end()


def few_descriptors(number: int) -> Disk:
    """Return a disk for a guard that may have so many descriptors."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    return Disk()
