"""Markers for what a test needs, and filesystems of its own for each that needs one."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import hypothesis
import pytest

from tests.capabilities import MEANINGS, require
from tests.filesystems import (
    Kind,
    LoopFilesystem,
    image_directory,
    loop_filesystem,
    scratch_directory,
    thaw,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


_M_MMAP_THRESHOLD: Final = -3  # malloc.h
_LARGE: Final = 1 << 20


class MakeFs(Protocol):
    """The type of the fixture ``make_fs``; see ``tests.filesystems.loop_filesystem``."""

    def __call__(
        self,
        kind: Kind = "ext4",
        *,
        size_mib: int = 512,
        inodes: int | None = None,
        options: str = "",
    ) -> LoopFilesystem: ...


def pytest_configure(config: pytest.Config) -> None:
    # A shell's job in the background is started with this ignored, and what it starts, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long an example takes says something about the machine, not about rootman. What
    # fails is printed so that it can be pasted above the test.
    hypothesis.settings.register_profile("rootman", deadline=None, print_blob=True)
    hypothesis.settings.load_profile("rootman")
    for name, meaning in MEANINGS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_collection_finish() -> None:
    # Tests fork a hundred thousand times, and each fork costs what this process is large: the
    # garbage collector need not write to all that was collected, in parent and child, and
    # what is large and freed goes back to the kernel, which malloc would learn not to do.
    gc.collect()
    gc.freeze()
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in MEANINGS:
        if item.get_closest_marker(name) is not None:
            require(name)


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """Return a directory outside the checkout for disks, images and mount points."""
    with scratch_directory() as path:
        yield path


@pytest.fixture(scope="session")
def images(scratch: Path) -> Path:
    """Return a directory for ``loop_filesystem``, in memory if there is plenty of it."""
    require("loopfs")
    return image_directory(scratch)


@pytest.fixture(scope="session")
def ext4(images: Path) -> Iterator[LoopFilesystem]:
    """Return the ext4 that the tests of this session share; most want ``tmp_on_ext4``."""
    # What a test deleted would else be in memory to the end.
    with loop_filesystem(images, "ext4", size_mib=2048, options="discard") as filesystem:
        yield filesystem


@pytest.fixture
def tmp_on_ext4(ext4: LoopFilesystem) -> Iterator[Path]:
    """Return a fresh directory, for this test alone, on the session's ext4."""
    with tempfile.TemporaryDirectory(dir=ext4.path, ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
        # Before the directory is removed, which would wait for ever.
        if thaw(path):
            pytest.fail("the test left the filesystem frozen")


@pytest.fixture
def make_fs(images: Path) -> Iterator[MakeFs]:
    """Return a function that makes filesystems which live as long as this test."""
    with contextlib.ExitStack() as stack:

        def make(
            kind: Kind = "ext4",
            *,
            size_mib: int = 512,
            inodes: int | None = None,
            options: str = "",
        ) -> LoopFilesystem:
            return stack.enter_context(
                loop_filesystem(images, kind, size_mib=size_mib, inodes=inodes, options=options)
            )

        yield make
