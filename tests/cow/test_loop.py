"""The loop that drives the handlers, where a thread works for one of them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from cow.disk import Disk
from cow.loop import _Job
from tests.cow.served import serving

if TYPE_CHECKING:
    from pathlib import Path


def _at_once() -> Disk:
    """Have the thread of a job be done before the loop looks for it the first time."""
    _Job.start = _Job.run  # type: ignore[method-assign, assignment]
    return Disk()


def test_work_that_is_done_at_once_goes_on_once(tmp_on_ext4: Path) -> None:
    """GD-10: a handler that went on twice had the guard spin and answer nobody."""
    one, mnt = tmp_on_ext4 / "one", tmp_on_ext4 / "mnt"
    one.mkdir()
    mnt.mkdir()
    for number in range(3):
        (one / f"{number}").write_bytes(os.urandom(5 << 20))
    subprocess.run(("cp", "-al", one, tmp_on_ext4 / "other"), check=True)

    with serving(one, mnt, _at_once) as end:
        for number in range(3):
            (mnt / f"{number}").chmod(0o600)
        assert sorted(os.listdir(mnt)) == ["0", "1", "2"]
        assert end()

    assert {path.stat().st_mode & 0o777 for path in one.iterdir()} == {0o600}
