"""The man pages say what the commands take."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
PAGES = {"rootman-mount.8": ("mount", "umount")}


@pytest.mark.parametrize("page", PAGES)
def test_a_man_page_names_every_option_and_no_other(page: str) -> None:
    text = (ROOT / "cli" / page).read_text()
    options = {
        name
        for command in PAGES[page]
        for parameter in import_module(f"cli.{command}").command.params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
    }

    named = set(re.findall(r"--[a-z-]+", text.replace("\\-", "-")))

    assert named - {"--rootfs"} == options


@pytest.mark.parametrize("page", PAGES)
def test_a_man_page_has_no_mistakes(page: str) -> None:
    assert shutil.which("groff"), "apt-get install groff-base"

    done = subprocess.run(
        ("groff", "-man", "-Tutf8", "-ww", "-z", ROOT / "cli" / page),
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stderr == ""


def test_every_man_page_is_installed() -> None:
    setup = (ROOT / "setup.cfg").read_text()

    assert {path.name for path in (ROOT / "cli").glob("*.[1-9]")} == set(PAGES)
    assert all(f"cli/{page}" in setup for page in PAGES)
