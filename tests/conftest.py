"""Markers for what a test needs, and filesystems of its own for each that needs one."""

from __future__ import annotations

import contextlib
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import hypothesis
import pytest

from tests.capabilities import MEANINGS, require
from tests.filesystems import Kind, LoopFilesystem, loop_filesystem, scratch_directory, thaw

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in MEANINGS:
        if item.get_closest_marker(name) is not None:
            require(name)


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """Return a directory outside the checkout for images and mount points."""
    with scratch_directory() as path:
        yield path


@pytest.fixture(scope="session")
def ext4(scratch: Path) -> Iterator[LoopFilesystem]:
    """Return the ext4 that the tests of this session share; most want ``tmp_on_ext4``."""
    require("loopfs")
    with loop_filesystem(scratch, "ext4", size_mib=2048) as filesystem:
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
def make_fs(scratch: Path) -> Iterator[MakeFs]:
    """Return a function that makes filesystems which live as long as this test."""
    require("loopfs")
    with contextlib.ExitStack() as stack:

        def make(
            kind: Kind = "ext4",
            *,
            size_mib: int = 512,
            inodes: int | None = None,
            options: str = "",
        ) -> LoopFilesystem:
            return stack.enter_context(
                loop_filesystem(scratch, kind, size_mib=size_mib, inodes=inodes, options=options)
            )

        yield make
