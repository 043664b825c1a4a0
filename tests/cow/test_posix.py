"""POSIX in the mount: each case of ``posix_*`` sees what it sees on plain ext4 (issue 4, line 4).

Every case has its directory in one guarded tree, whose files are all linked with another
tree, which must be at the end what it was.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cow import (
    posix_attributes,
    posix_directories,
    posix_files,
    posix_links,
    posix_names,
    posix_opening,
    posix_permissions,
    posix_privileges,
    posix_processes,
)
from tests.cow.guarding import guarding, snapshot
from tests.cow.posix_limits import LIMITS
from tests.cow.seeing import CASES, furnish, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.filesystems import LoopFilesystem

_MODULES = (
    posix_attributes, posix_directories, posix_files, posix_links, posix_names, posix_opening,
    posix_permissions, posix_privileges, posix_processes,
)  # fmt: skip


@pytest.fixture(scope="module")
def homes(ext4: LoopFilesystem) -> Iterator[tuple[Path, Path]]:
    """Return a plain directory and a mount, in both a directory for each case."""
    with tempfile.TemporaryDirectory(dir=ext4.path, ignore_cleanup_errors=True) as name:
        home = Path(name)
        home.chmod(0o755)
        one, other, plain = home / "one", home / "other", home / "plain"
        one.mkdir()
        for case in CASES:
            furnish(one / case)
        subprocess.run(("cp", "-al", one, other), check=True)
        subprocess.run(("cp", "-a", one, plain), check=True)
        before = snapshot(other)
        with guarding(one, home / "mnt") as guard:
            yield plain, guard.mnt
        assert snapshot(other) == before


@pytest.mark.parametrize("name", CASES)
def test_as_on_ext4(name: str, homes: tuple[Path, Path]) -> None:
    plain, mnt = homes

    expected = run(CASES[name], plain / name)
    found = run(CASES[name], mnt / name)

    assert expected
    assert expected.keys() == found.keys()
    different = {one: (expected[one], found[one]) for one in found if found[one] != expected[one]}
    assert different == LIMITS.get(name, {})


def test_every_limit_is_one_of_a_case() -> None:
    assert set(LIMITS) <= set(CASES)
    assert {name.partition(".")[0] for name in CASES} == {
        module.__name__.rpartition("posix_")[2] for module in _MODULES
    }
