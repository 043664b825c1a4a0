"""What is installed on a device is all that is here: packages, their data, units, man pages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
CODE = ("rootman", "cow", "cli")
METADATA = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def test_the_wheel_has_every_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in CODE:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in METADATA:
        shutil.copy(ROOT / name, source)
    files = {path.relative_to(source) for name in CODE for path in (source / name).rglob("*.*")}
    files = {path for path in files if (source / path).is_file()}

    command = (sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps")
    subprocess.run(
        (*command, "--no-index", "--wheel-dir", tmp_path, source), check=True, capture_output=True
    )

    with ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    there = {Path(name) for name in names}
    elsewhere = {Path(name).name for name in names if ".data/data/" in name}
    assert {path for path in files - there if path.name not in elsewhere} == set()
