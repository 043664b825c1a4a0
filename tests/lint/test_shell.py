"""What runs before Python is written for every POSIX shell and for GRUB's script."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "rootman" / "boot" / "data"
SHELL = sorted(DATA.rglob("*.sh"))
GRUB = sorted(DATA.glob("*.cfg"))
UNITS = sorted((DATA / "units").iterdir())


def test_both_are_there() -> None:
    assert SHELL
    assert GRUB


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    assert shutil.which("shellcheck"), "apt-get install shellcheck"

    done = subprocess.run(
        ("shellcheck", "--norc", "--severity=style", path),
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.stdout == ""


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
@pytest.mark.parametrize("shell", [("dash",), ("busybox", "sh")], ids=lambda words: words[0])
def test_each_shell_reads_it(path: Path, shell: tuple[str, ...]) -> None:
    subprocess.run((*shell, "-n", path), check=True)


@pytest.mark.parametrize("path", GRUB, ids=lambda path: path.name)
def test_grub_reads_it(path: Path) -> None:
    assert shutil.which("grub-script-check"), "apt-get install grub-common"

    subprocess.run(("grub-script-check", path), check=True)


def test_systemd_reads_the_units(tmp_path: Path) -> None:
    assert shutil.which("systemd-analyze"), "apt-get install systemd"
    for unit in UNITS:
        text = unit.read_text().replace("/usr/bin/rootman ", f"{sys.executable} ")
        (tmp_path / unit.name).write_text(text)
        (tmp_path / unit.name).chmod(0o644)

    done = subprocess.run(
        ("systemd-analyze", "verify", "--man=no", *sorted(tmp_path.iterdir())),
        check=False,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_all_of_it_is_installed() -> None:
    setup = (ROOT / "setup.cfg").read_text()

    patterns = {line.strip() for line in setup.splitlines() if line.startswith("    data/")}
    installed = {path for pattern in patterns for path in DATA.parent.glob(pattern)}
    assert {path for path in DATA.rglob("*") if path.suffix in {".sh", ".cfg"}} <= installed
    for unit in UNITS:
        assert str(unit.relative_to(ROOT)) in setup
